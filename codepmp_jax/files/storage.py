"""Files on a disk or in a Google Cloud Storage bucket, by the same paths: `runs/a` and `gs://bucket/runs/a`.

What is written appears whole. Requests to a bucket are tried again with back-off: for half a minute (gcsfs),
and for ten minutes where this module asks for more than gcsfs does (append, lock). STORAGE_EMULATOR_HOST names
another server than Google's.
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import functools
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import fsspec.config
import google_crc32c
from etils import epath

from codepmp_jax.cli.errors import StoreError, UserError
from codepmp_jax.files.arrivals import arrived

if TYPE_CHECKING:
    from google.cloud.storage import Bucket, Client

# epath takes TensorFlow for gs:// where it is installed; gcsfs does it without.
os.environ.setdefault("EPATH_USE_TF", "false")
# Asks about every bucket by gRPC, with credentials that the rest does not need.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
# Other hosts write too, so that a listing is good only once.
fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False


def without_traceback(record: logging.LogRecord) -> bool:
    """A filter for loggers that log errors which are raised and reported too: drops the traceback."""
    record.exc_info = None
    return True


logging.getLogger("gcsfs").addFilter(without_traceback)

RETRY_SECONDS = 600.0
_BLOCK_BYTES = 8 << 20
_THREADS = 8


class Stored(NamedTuple):
    """What the store says of a file."""

    num_bytes: int
    crc32c: str | None
    """Base64, as Google writes it; None on a disk, which keeps none."""


def is_bucket(path: str | os.PathLike[str]) -> bool:
    """Whether the path is in a bucket."""
    return os.fspath(path).startswith("gs://")


def to_path(path: str | os.PathLike[str]) -> epath.Path:
    """The path, with pathlib's methods. Raises UserError for another scheme, or gs:// without gcsfs."""
    text = os.fspath(path)
    if is_bucket(text):
        try:
            import gcsfs  # noqa: F401
        except ImportError as error:
            raise UserError(
                f"{text}: gcsfs is not installed. Remedy: pip install 'codepmp_jax[gcs]'."
            ) from error
        if os.environ.get("STORAGE_EMULATOR_HOST"):
            fsspec.config.conf["gcs"]["token"] = "anon"
    elif "://" in text:
        raise UserError(
            f"{text}: no such kind of address. Remedy: give a path, or gs://BUCKET/FOLDER."
        )
    return epath.Path(text)


@contextlib.contextmanager
def storage_errors(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Turns an error of a store into a StoreError: `path` cannot be `what`, e.g. written.

    Those of JAX stay: hosts meet where they save, and miss one that is gone.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each client library has errors of its own
        if type(error).__module__ == "jax.errors":
            raise
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise StoreError(
            f"{os.fspath(path)}: cannot be {what} ({said[:500]}). Remedy: check that the place is there and "
            f"not full, and that it may be {what}."
        ) from error


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a file that is either the old one or the whole new one."""
    target = to_path(path)
    if is_bucket(path):
        target.write_text(text)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """PATH.partial on a disk, whose file takes the place of `path` at the end, and goes where an error comes."""
    partial = pathlib.Path(f"{os.fspath(path)}.partial")
    try:
        yield partial
        # Else a power cut may leave the new name with no bytes.
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = os.fspath(path)  # a full disk names none
        # Else the error that counts would be that of a place that is no folder.
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def append(path: str | os.PathLike[str], data: bytes) -> None:
    """Adds to the end of a file, all or nothing in a bucket; makes it where there is none.

    One process appends to a file at a time. In a bucket PATH.tail keeps what was appended last.
    """
    if not data:
        return
    if not is_bucket(path):
        with open(path, "ab") as file:
            file.write(data)
        return
    from google.api_core.exceptions import PreconditionFailed

    bucket, name = bucket_and_name(path)
    found = bucket.get_blob(name, **retry_options())
    blob = found or bucket.blob(name)
    size = blob.size or 0
    try:
        if found is None:
            blob.upload_from_string(data, if_generation_match=0, **retry_options())
            return
        tail = bucket.blob(f"{name}.tail")
        tail.upload_from_string(data, **retry_options())
        blob.compose([blob, tail], if_generation_match=blob.generation, **retry_options())
    except PreconditionFailed:
        # The answer to an attempt that had succeeded may have been lost.
        written = bucket.get_blob(name, **retry_options())
        if written is None or written.size != size + len(data):
            raise UserError(
                f"{os.fspath(path)}: another process writes to it. Remedy: stop one."
            ) from None


def read_range(path: str | os.PathLike[str], start: int, stop: int) -> bytes:
    """The bytes from `start` to before `stop` of an object in a bucket."""
    bucket, name = bucket_and_name(path)
    with storage_errors(path, "read"):
        return bucket.blob(name).download_as_bytes(start=start, end=stop - 1, **retry_options())


def files(folder: str | os.PathLike[str]) -> dict[str, Stored]:
    """All files below a folder, by their path in it; none where there is no such folder."""
    text = os.fspath(folder).rstrip("/")
    if not is_bucket(text):
        root = pathlib.Path(text)
        found = (path for path in root.rglob("*") if path.is_file())
        return {
            path.relative_to(root).as_posix(): Stored(path.stat().st_size, None) for path in found
        }
    entries = fsspec.filesystem("gcs").find(text, detail=True)
    start = len(text.removeprefix("gs://")) + 1
    return {
        name[start:]: Stored(int(entry["size"]), entry.get("crc32c"))
        for name, entry in entries.items()
        if not name.endswith("/")
    }


def checksums(folder: str | os.PathLike[str], names: list[str]) -> dict[str, str]:
    """crc32c of files below a folder, read by several threads where the store does not keep it.

    Raises OSError where one cannot be read.
    """
    if is_bucket(folder):
        known = files(folder)
        return {name: known[name].crc32c or _crc32c(to_path(folder) / name) for name in names}
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        return dict(
            zip(
                names, threads.map(lambda name: _crc32c(to_path(folder) / name), names), strict=True
            )
        )


def _crc32c(path: epath.Path) -> str:
    checksum = google_crc32c.Checksum()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            checksum.update(block)
            arrived(len(block))
    return base64.b64encode(checksum.digest()).decode()


def move(source: epath.Path, target: epath.Path) -> None:
    """Renames a file or folder; in a bucket copies its objects, on the server, and deletes them."""
    if not is_bucket(source):
        source.rename(target)
        return
    client = fsspec.filesystem("gcs")
    if client.isfile(str(source)):
        client.mv(str(source), str(target))
        return
    for name in files(source):
        client.copy(f"{source}/{name}", f"{target}/{name}")
    client.rm(str(source), recursive=True)


def free_bytes(folder: str | os.PathLike[str]) -> int | None:
    """What fits on the disk of a folder that exists; None in a bucket."""
    return None if is_bucket(folder) else shutil.disk_usage(folder).free


@contextlib.contextmanager
def written_locally(folder: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A folder on the disk for what cannot write to a bucket; at the end its files are below `folder`."""
    if not is_bucket(folder):
        path = pathlib.Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with tempfile.TemporaryDirectory() as temporary:
        path = pathlib.Path(temporary)
        yield path
        for name in files(path):
            (to_path(folder) / name).write_bytes((path / name).read_bytes())


# --- Google's client, for what needs conditions ---------------------------------------------------


def bucket_and_name(path: str | os.PathLike[str]) -> tuple[Bucket, str]:
    """The bucket of a gs:// path, and the object's name in it."""
    bucket, _, name = os.fspath(path).removeprefix("gs://").partition("/")
    return _client(os.getpid(), os.environ.get("STORAGE_EMULATOR_HOST")).bucket(bucket), name


def require_metadata(path: str | os.PathLike[str]) -> None:
    """Raises UserError where the metadata of the bucket of `path` may not be read (storage.buckets.get).

    Orbax asks for them wherever it lists or deletes checkpoints; roles/storage.objectAdmin does not include that.
    """
    from google.api_core.exceptions import Forbidden

    bucket, _ = bucket_and_name(path)
    try:
        with storage_errors(f"gs://{bucket.name}", "read"):
            bucket.reload(**retry_options())
    except StoreError as error:
        if not isinstance(error.__cause__, Forbidden):
            raise
        said = " ".join(str(error.__cause__).split())
        raise UserError(
            f"gs://{bucket.name}: its metadata may not be read ({said[:300]}), without which checkpoints can be neither "
            "listed nor deleted. Remedy: gcloud storage buckets add-iam-policy-binding "
            f"gs://{bucket.name} --member=serviceAccount:ACCOUNT --role=roles/storage.legacyBucketReader, beside "
            "roles/storage.objectAdmin."
        ) from error


@functools.lru_cache
def _client(process: int, server: str | None) -> Client:
    """A process's client of a server: connections do not survive a fork."""
    from google.cloud import storage

    return storage.Client()


def retry_options() -> dict[str, Any]:
    """How requests are tried again."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return {"retry": DEFAULT_RETRY.with_timeout(RETRY_SECONDS)}
