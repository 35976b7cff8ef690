from __future__ import annotations

import jax
import pytest
from google.cloud.storage import Blob

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files import storage
from tests.gcs import Proxy


@pytest.fixture(params=["disk", "bucket"])
def folder(request, tmp_path) -> str:
    if request.param == "disk":
        return str(tmp_path)
    request.getfixturevalue("bucket")
    return "gs://code/a/b"


def test_files_are_written_listed_and_moved(folder):
    root = storage.to_path(folder)
    storage.write_text(root / "old" / "x" / "one", "1é")
    storage.write_text(root / "old" / "two", "22")
    storage.write_text(root / "old" / "two", "222")
    storage.write_text(root / "older", "")
    found = storage.files(root / "old")
    assert {name: stored.num_bytes for name, stored in found.items()} == {"x/one": 3, "two": 3}
    assert (root / "old" / "two").read_text() == "222"
    storage.move(root / "old", root / "new")
    assert {*storage.files(root)} == {"new/x/one", "new/two", "older"}
    assert storage.files(root / "old") == {}


def test_a_bucket_and_a_disk_have_the_same_checksums(bucket, tmp_path):
    for folder in (storage.to_path(tmp_path), storage.to_path("gs://code/sums")):
        for name, text in (("a", ""), ("b/c", "x" * 100_000)):
            storage.write_text(folder / name, text)
    names = ["a", "b/c"]
    assert storage.checksums("gs://code/sums", names) == storage.checksums(tmp_path, names)


def test_what_is_appended_comes_after_what_was_there(folder):
    path = storage.to_path(folder) / "rows"
    for text in ("one\n", "", "two\n", "three\n"):
        storage.append(path, text.encode())
    assert path.read_text() == "one\ntwo\nthree\n"


@pytest.mark.parametrize("fault", ["error", "reset", "lost"])
def test_appending_is_tried_again_and_adds_once(bucket, proxy, monkeypatch, fault):
    """Also where the bucket has done what was asked, and only its answer was lost."""
    storage.append("gs://code/rows", b"one\n")
    # The requests: what is there, the tail, to compose.
    answers = iter([fault, "none", fault, "none", fault])
    monkeypatch.setattr(Proxy, "fault", property(lambda proxy: next(answers, "none")))
    storage.append("gs://code/rows", b"two\n")
    assert proxy.num_faults == 3
    assert bucket.get("rows") == b"one\ntwo\n"


def test_two_processes_do_not_append_to_the_same_file(bucket, proxy, monkeypatch):
    storage.append("gs://code/rows", b"one\n")

    def late(blob, *arguments, **named):
        bucket.put("rows", b"another's\n")
        return compose(blob, *arguments, **named)

    compose = Blob.compose
    monkeypatch.setattr(Blob, "compose", late)
    with pytest.raises(UserError, match="gs://code/rows: another process writes to it"):
        storage.append("gs://code/rows", b"two\n")
    assert bucket.get("rows") == b"another's\n"


def test_a_range_is_read(bucket):
    bucket.put("x", b"0123456789")
    assert storage.read_range("gs://code/x", 3, 7) == b"3456"
    with pytest.raises(UserError, match=r"gs://code/none: cannot be read \(NotFound"):
        storage.read_range("gs://code/none", 0, 1)


def test_other_addresses_are_refused():
    with pytest.raises(UserError, match="s3://a/b: no such kind of address"):
        storage.to_path("s3://a/b")


def test_a_lost_host_is_no_error_of_the_store(tmp_path):
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="closed by peer"),
        storage.storage_errors(tmp_path, "written"),
    ):
        raise jax.errors.JaxRuntimeError("Connection closed by peer")


def test_a_place_that_cannot_be_written_is_named(bucket, tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "x", "gs://nobody/x"):
        with (
            pytest.raises(UserError, match=f"{path}: cannot be written .*Remedy: "),
            storage.storage_errors(path, "written"),
        ):
            storage.write_text(path, "text")
