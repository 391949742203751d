"""The machines that computed the photos of a run, by their canaries, in `run.json`."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.manifest import json_bytes
from onlymymodel.data.regular_file import read_regular
from onlymymodel.errors import UserError
from onlymymodel.protect.canary import Canary
from onlymymodel.protect.output_folder import MAX_BYTES, RUN_RECORD

MACHINES, IDENTICAL = "machines", "identical"


def add_machine(out: Path, canary: Canary, *, identical: bool) -> None:
    """Record the canary of a process that computes in `run.json`, once for each kind.

    Args:
        out: the output folder of the run.
        canary: that of the process.
        identical: whether all canaries have to be the same, from now on.

    Raises:
        UserError: they have to be, and it is not; or `run.json` cannot be read or written.
    """
    _add(out, [canary], identical=identical)


def merge_machines(out: Path, folders: Iterable[Path]) -> None:
    """Add the machines of shards to those of the folder into which they are merged.

    Raises:
        UserError: see `add_machine`; a shard's `identical` holds for all.
    """
    contents = [_read(folder) for folder in folders]
    canaries = [canary for content in contents for canary in _canaries(content)]
    _add(out, canaries, identical=any(content.get(IDENTICAL) is True for content in contents))


def _add(out: Path, canaries: Iterable[Canary], *, identical: bool) -> None:
    content = _read(out)
    known = list(_canaries(content))
    identical = identical or content.get(IDENTICAL) is True
    for canary in canaries:
        if identical and known and canary.sha256 != known[0].sha256:
            raise UserError(f"--identical: other numbers come from {canary} than from {known[0]}")
        if canary not in known:
            known.append(canary)
    fields = {MACHINES: [msgspec.to_builtins(canary) for canary in known], **({IDENTICAL: True} if identical else {})}
    if known and {**content, **fields} != content:
        try:
            write_atomic(out / RUN_RECORD, json_bytes({**content, **fields}, indent=1))
        except OSError as error:
            raise UserError(f"{out / RUN_RECORD} cannot be written: {error.strerror}") from error


def _read(folder: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(read_regular(folder / RUN_RECORD, MAX_BYTES, follow_links=False))
        return content
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{folder / RUN_RECORD} cannot be read: {error}") from error


def _canaries(content: dict[str, Any]) -> Iterator[Canary]:
    try:
        yield from msgspec.convert(content.get(MACHINES, []), list[Canary])
    except msgspec.ValidationError as error:
        raise UserError(f"the machines in {RUN_RECORD} are broken, or of a later version: {error}") from error
