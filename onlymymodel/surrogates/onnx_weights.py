"""Locate the weights of an ONNX file: only in the file and its own folder, and no more than fits into memory.

Both are checked on the parsed graph, before a file that it names is opened and before memory is taken for its tensors.
"""

import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onlymymodel.errors import UserError
from onlymymodel.surrogates.uri import ModelUri

MAX_GRAPH = 2 * 2**30  # bytes of the file; protobuf reads no larger one
MAX_WEIGHTS = 8 * 2**30  # bytes of all tensors


def check_size(uri: ModelUri, path: Path) -> None:
    """Refuse a file that no reader could parse.

    Raises:
        UserError: it is too large.
    """
    if path.stat().st_size > MAX_GRAPH:
        raise UserError(
            f"model {uri.text!r}: {path.name} is larger than {MAX_GRAPH >> 30} GiB; "
            "export its weights to a file beside it"
        )


def external_files(uri: ModelUri, graph: Any, folder: Path) -> list[str]:
    """Return the names of the files in which a graph's weights are, in order; empty if they are all in the graph.

    Args:
        uri: of the model, for errors.
        graph: the parsed file, without the weights of other files.
        folder: the folder of the file.

    Raises:
        UserError: a file is missing or outside the folder, a tensor is not within its file, or the weights are too
            large.
    """
    names, total = set(), 0
    for tensor, dense in _tensors(graph):
        size = dense
        if tensor is not None and tensor.data_location == tensor.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            names.add(entries.get("location", ""))
            size = max(size, _external_bytes(uri, entries, folder))
        total += size
        if total > MAX_WEIGHTS:
            raise UserError(f"model {uri.text!r}: its weights need more than {MAX_WEIGHTS >> 30} GiB of memory")
    return sorted(names)


def _external_bytes(uri: ModelUri, entries: dict[str, str], folder: Path) -> int:
    """Return how many bytes of another file a tensor takes, once it is known to have them."""
    name = entries.get("location", "")
    stored = _regular_file_size(uri, name, folder)
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", stored - offset))
    except ValueError as error:
        raise UserError(f"model {uri.text!r}: a tensor's place in {name!r} is not a number") from error
    if offset < 0 or length < 0 or offset + length > stored:
        raise UserError(f"model {uri.text!r}: {name!r} is shorter than a tensor that it has to hold")
    return length


def _regular_file_size(uri: ModelUri, name: str | bytes, folder: Path) -> int:
    """Return the size of a file of the folder. Links are not followed: they may lead to any file of this machine.

    Args:
        uri: of the model, for errors.
        name: its path below the folder; protobuf gives bytes where it is not UTF-8.
        folder: of the model.
    """
    refused = f"model {uri.text!r}: its weights are to be read from {name!r}, and only"
    relative = Path(name) if isinstance(name, str) and "\0" not in name else Path()
    if not relative.parts or relative.is_absolute() or ".." in relative.parts:
        raise UserError(f"{refused} files in the model's own folder are read")
    path = folder
    for part in relative.parts:
        path /= part
        if path.is_symlink():
            raise UserError(f"{refused} files are read, not links; copy the file into the model's folder")
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise UserError(f"model {uri.text!r}: the file of its weights, {name!r}, is missing") from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{refused} regular files are read")
    return status.st_size


def _tensors(graph: Any) -> Iterator[tuple[Any, int]]:
    """Yield every tensor of a parsed file with its size in bytes, and for each sparse one None with its dense size."""
    for holder in (graph.graph, *graph.functions):
        yield from _tensors_in(holder)


def _tensors_in(holder: Any) -> Iterator[tuple[Any, int]]:
    """Walk a graph or a function."""
    dense, sparse = list(getattr(holder, "initializer", ())), list(getattr(holder, "sparse_initializer", ()))
    for node in holder.node:
        for attribute in node.attribute:
            dense += [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
            sparse += [
                *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
                *attribute.sparse_tensors,
            ]
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _tensors_in(inner)
    for tensor in sparse:
        dense += [tensor.values, tensor.indices]
        yield None, _bytes(tensor.dims, tensor.values.data_type)
    for tensor in dense:
        yield tensor, _bytes(tensor.dims, tensor.data_type)


def _bytes(sides: Any, kind: int) -> int:
    """Return the size of a tensor in memory; a dimension or a type that does not exist counts as nothing."""
    from onnx import TensorProto, helper

    if any(side < 0 for side in sides) or kind in (TensorProto.UNDEFINED, TensorProto.STRING):
        return 0
    try:
        item: int = helper.tensor_dtype_to_np_dtype(kind).itemsize
    except KeyError:
        return 0
    size: int = math.prod(sides) * item
    return size
