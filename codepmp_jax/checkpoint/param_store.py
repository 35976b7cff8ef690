"""The parameters of a checkpoint piece by piece: read without the rest, and written while they are made.

Parameters are stored in chunks of at most CHUNK_BYTES, none of which holds two layers, so that a part is read
without much around it. A checkpoint in other chunks is read too, each chunk whole.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from etils import epath
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint import future

from codepmp_jax.cli.errors import UserError

Index = tuple[slice, ...]

CHUNK_BYTES = 64 * 2**20
# What is written together: each time the index of all chunks of an item is written anew.
_COMMIT_BYTES = 128 * 2**20


class Pieces:
    """A float32 array that is made piece by piece while it is saved."""

    def __init__(
        self,
        shape: tuple[int, ...],
        read: Callable[[Index], np.ndarray],
        shard: tuple[int, ...] | None = None,
    ):
        """`read` gives the piece at an index; each is asked for once. They are those of a checkpoint whose hosts hold
        parts of the shape `shard`, so that such hosts read little but their own parts."""
        self.shape = shape
        self.shard = shard or shape
        self.dtype = np.dtype(np.float32)
        self.read = read

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))


def chunks(shape: Sequence[int], chunk: Sequence[int]) -> Iterator[Index]:
    """The indices of the chunks that make up an array."""
    for starts in itertools.product(
        *(range(0, size, step) for size, step in zip(shape, chunk, strict=True))
    ):
        yield tuple(
            slice(start, min(start + step, size))
            for start, step, size in zip(starts, chunk, shape, strict=True)
        )


class _PiecesHandler(ocp.type_handlers.NumpyHandler):
    """Writes Pieces, a chunk at a time, as Orbax writes a numpy array."""

    async def serialize(
        self,
        values: Sequence[Any],
        infos: Sequence[ocp.type_handlers.ParamInfo],
        args: Sequence[ocp.SaveArgs] | None = None,
    ) -> Sequence[future.Future]:
        """Starts to write."""
        args = args or [ocp.SaveArgs()] * len(values)
        return [
            future.CommitFutureAwaitingContractedSignals(
                self._write_all(values, infos, args), name="pieces"
            )
        ]

    async def _write_all(self, values: Any, infos: Any, args: Any) -> None:
        for value, info, arg in zip(values, infos, args, strict=True):
            await info.await_path_creation()
            spec = ocp.type_handlers.get_json_tspec_write(
                info,
                use_ocdbt=info.is_ocdbt_checkpoint,
                global_shape=value.shape,
                local_shape=value.shard,
                dtype=value.dtype,
                process_index=jax.process_index(),
                arg=arg,
            )
            store = await ts.open(ts.Spec(spec), create=True, open=True, context=info.ts_context)
            chunk: Any = store.chunk_layout.write_chunk.shape
            per_commit = max(1, _COMMIT_BYTES // (4 * int(np.prod(chunk))))
            every = chunks(value.shape, chunk)
            while batch := [*itertools.islice(every, per_commit)]:
                transaction = ts.Transaction()
                written = store.with_transaction(transaction)
                for index in batch:
                    await written[index].write(value.read(index))
                await transaction.commit_async()


def handler() -> ocp.PyTreeCheckpointHandler:
    """The handler of a checkpoint's parameters: arrays of JAX or numpy, and Pieces."""
    registry = ocp.type_handlers.create_type_handler_registry(
        (Pieces, _PiecesHandler()),
        *(
            (kind, ocp.type_handlers.get_type_handler(kind))
            for kind in (np.ndarray, jax.Array, int, float)
        ),
    )
    return ocp.PyTreeCheckpointHandler(type_handler_registry=registry)


def save_args(params: Any) -> ocp.args.PyTreeSave:
    """How parameters are saved: in chunks of which none holds two layers."""

    def chunked(path: tuple[Any, ...], leaf: Any) -> ocp.SaveArgs:
        is_stacked = any(getattr(key, "key", None) == "layers" for key in path)
        return ocp.SaveArgs(chunk_byte_size=CHUNK_BYTES, shard_axes=(0,) if is_stacked else ())

    return ocp.args.PyTreeSave(params, jax.tree_util.tree_map_with_path(chunked, params))


def restore_args(abstract: Any, *, partial_restore: bool = False) -> ocp.args.PyTreeRestore:
    """How arrays are restored: onto the shardings of abstract arrays, by default the first device.

    With `partial_restore` the checkpoint may hold others too, which are not read.
    """
    default = SingleDeviceSharding(jax.devices()[0])
    shardings = jax.tree.map(lambda leaf: leaf.sharding or default, abstract)
    restore = ocp.checkpoint_utils.construct_restore_args(abstract, shardings)
    return ocp.args.PyTreeRestore(abstract, restore_args=restore, partial_restore=partial_restore)


class StoredArray:
    """An array of a checkpoint, of which is read what gets indexed."""

    def __init__(self, store: ts.TensorStore, name: str):
        """`name` is what errors call it."""
        self._store = store
        self._name = name
        self.shape = tuple(store.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        """The part at an index, by numpy's rules, but that numbers do not count from the end."""
        try:
            return self._store[index].read().result()
        except (
            Exception
        ) as error:  # tensorstore raises ValueError for whatever the file system says
            raise _unreadable(self._name, error) from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype)


def _unreadable(name: str, error: Exception) -> UserError:
    return UserError(
        f"{name}: cannot be read: {error}. Remedy: take another checkpoint (--step), or copy this one again."
    )


def _base(directory: str) -> dict[str, str]:
    """TensorStore's key-value store of a folder; as a spec, since in a URL some characters mean others."""
    folder = f"{directory.rstrip('/')}/"
    if folder.startswith("gs://"):
        bucket, _, path = folder.removeprefix("gs://").partition("/")
        return {"driver": "gcs", "bucket": bucket, "path": path}
    return {"driver": "file", "path": folder}


def num_bytes_moved() -> int:
    """Bytes that this process has read from and written to checkpoints so far."""
    found = ts.experimental_collect_matching_metrics("/tensorstore/kvstore/")
    return sum(
        int(value["value"])
        for metric in found
        if metric["name"].rpartition("/")[2] in ("bytes_read", "bytes_written")
        for value in metric["values"]
    )


def array_names(directory: epath.PathLike) -> set[str]:
    """The arrays of an item of a checkpoint by its metadata: the names of a nested dict, joined by dots.

    Raises OSError or ValueError where they cannot be read.
    """
    metadata = json.loads((epath.Path(directory) / "_METADATA").read_text())
    return {
        ".".join(part["key"] for part in entry["key_metadata"])
        for entry in metadata["tree_metadata"].values()
        if not entry["value_metadata"].get("skip_deserialize")
    }


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a nested dict by their names, joined by dots."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def part(tree: dict[str, Any], names: set[str], above: str = "") -> dict[str, Any]:
    """The part of a nested dict whose leaves have these names."""
    kept = {}
    for name, node in tree.items():
        if not isinstance(node, dict):
            kept |= {name: node} if above + name in names else {}
        elif inner := part(node, names, f"{above}{name}."):
            kept[name] = inner
    return kept


def joined(like: Any, *parts: Any) -> Any:
    """A tree like another one, of the leaves of its parts."""
    leaves = {name: leaf for tree in parts for name, leaf in named(tree).items()}
    return jax.tree_util.tree_map_with_path(lambda path, _: leaves[_name(path)], like)


def missing_arrays(directory: epath.PathLike) -> list[str]:
    """The arrays that the metadata of an item of a checkpoint names and of which its store has no shape or no chunk.

    Reads the names only, not the arrays. Raises OSError or ValueError where they cannot be read.
    """
    wanted = array_names(directory)
    store = ts.KvStore.open({"driver": "ocdbt", "base": _base(str(directory))}).result()
    stored = [key.decode().rpartition("/") for key in store.list().result()]
    shapes = {name for name, _, key in stored if key == ".zarray"}
    chunks = {name for name, _, key in stored if key != ".zarray"}
    return sorted(wanted - (shapes & chunks))


def open_params(directory: str, shapes: Any) -> Any:
    """The parameters in the `params` folder of a checkpoint: a tree like `shapes`, of StoredArrays.

    Nothing but their metadata is read. Raises UserError where one is missing or has another shape.
    """
    base = _base(directory)
    context = ts.Context({"cache_pool#ocdbt": {"total_bytes_limit": 100_000_000}})

    def open_array(path: tuple[Any, ...], leaf: Any) -> StoredArray:
        name = ".".join(key.key for key in path)
        spec = {
            "driver": "auto",
            "kvstore": {
                "driver": "ocdbt",
                "base": base,
                "path": f"{name}/",
                "cache_pool": "cache_pool#ocdbt",
            },
        }
        try:
            store = ts.open(spec, context=context, read=True).result()
        except Exception as error:  # as above
            raise _unreadable(f"{directory}: {name}", error) from error
        if tuple(store.shape) != leaf.shape:
            raise UserError(
                f"{directory}: shape of {name} = {tuple(store.shape)}: must be {leaf.shape} by the config "
                "of the checkpoint. Remedy: take another checkpoint (--step)."
            )
        return StoredArray(store, f"{directory}: {name}")

    return jax.tree_util.tree_map_with_path(open_array, shapes)
