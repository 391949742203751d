"""Recognize photos that an earlier run has written, by the hashes of the manifests around them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

import msgspec

from onlymymodel.data.folder import Entry
from onlymymodel.data.manifest import lines_of, parse_line
from onlymymodel.data.regular_file import Readable
from onlymymodel.data.source import Source, local_path, remote_folder
from onlymymodel.errors import UserError
from onlymymodel.protect.photo_record import MANIFEST


class _Written(msgspec.Struct):
    """The fields of a record that are read."""

    output_sha256: str | None = None
    output: str | None = None


_DECODER = msgspec.json.Decoder(_Written)


def own_outputs(source: Source, entries: Iterable[Entry], outputs: Mapping[str, str]) -> dict[str, str]:
    """Return where each protected file is recorded, in words, by its SHA-256.

    The manifests are those of the output folder, of the source and the folders above it, and of folders below it.

    Args:
        source: the folder that is to be protected, or one photo.
        entries: all files below it.
        outputs: names of the files that the manifest of the output folder records, by their hashes.
    """
    found = {digest: _words(output, "in the output folder") for digest, output in outputs.items()}
    for place, path in _manifests(source, entries):
        # a stranger's file of that name records nothing of ours
        with suppress(UserError, OSError):
            for _, line in lines_of(path):
                written = _written(line)
                if written is not None and written.output_sha256 is not None and written.output is not None:
                    found.setdefault(written.output_sha256, _words(written.output, place))
    return found


def _words(output: str, place: str) -> str:
    return f"{output!r} of the {MANIFEST} {place}"


def _written(line: bytes) -> _Written | None:
    try:
        return _DECODER.decode(line)
    except msgspec.DecodeError:
        fields = parse_line(line)
        if fields is None:
            raise UserError("a line that no run writes") from None
        digest, output = fields.get("output_sha256"), fields.get("output")
        return _Written(digest, output) if isinstance(digest, str) and isinstance(output, str) else None


def _manifests(source: Source, entries: Iterable[Entry]) -> Iterator[tuple[str, Readable]]:
    """Yield the paths at which manifests may be, each with its place in words that name no folder above the source."""
    for entry in entries:
        if entry.relative.name == MANIFEST:
            yield f"in the source's {str(entry.relative.parent)!r}", entry.file
    if (remote := remote_folder(source)) is not None:
        for above in remote.above():
            with suppress(OSError):
                yield "in the source or a folder above it", above.file(MANIFEST)
    if (here := local_path(source)) is None:
        return
    for folder in (here.resolve(), *here.resolve().parents)[0 if here.is_dir() else 1 :]:
        yield "in the source or a folder above it", folder / MANIFEST
