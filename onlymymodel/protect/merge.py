"""Merge the shards of a destination into one protected folder."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from onlymymodel.data.atomic import refuse_links, remove_partials, sync_folder, write_atomic
from onlymymodel.data.folder import scan
from onlymymodel.data.folder_lock import lock_folder
from onlymymodel.data.manifest import json_bytes, sha256_file
from onlymymodel.data.source import open_source
from onlymymodel.errors import UserError
from onlymymodel.protect import run_record
from onlymymodel.protect.machines import merge_machines
from onlymymodel.protect.photo_record import MANIFEST, PhotoManifest, PhotoRecord
from onlymymodel.protect.run_record import RunRecord
from onlymymodel.protect.shards import Shard, find_shards, parts_of, shard_of


@dataclass(frozen=True)
class Merged:
    """A folder after its shards were merged.

    Attributes:
        records: of all its photos, by path.
        missing: photos of the source that have no record, and the shard that each belongs to; empty if the source is
            not there.
    """

    records: tuple[PhotoRecord, ...]
    missing: tuple[tuple[str, Shard], ...]


def merge_shards(out: Path) -> Merged:
    """Move the files of all shards to the destination, write its manifest, and remove the shards.

    It may be stopped at any moment: the next call goes on. Photos of an earlier merge keep their records unless a shard
    has newer ones.

    Raises:
        UserError: there are no shards, one that has photos without a record is missing, one still runs or has other
            settings; their machines have to be identical and are not, see `merge_machines`; a file is not as its record
            says; or something cannot be written.
    """
    shards = _present(out)
    with ExitStack() as locks:
        for folder in (out, *(shard.folder(out) for shard in shards)):
            locks.enter_context(lock_folder(folder))
        run = run_record.read(out)
        for shard in shards:
            if run_record.read(shard.folder(out)).settings_sha256 != run.settings_sha256:
                raise UserError(f"shard {shard} was made with other models or settings; remove {shard.folder(out)}")
        merge_machines(out, [shard.folder(out) for shard in shards])
        earlier = PhotoManifest(out).by_source()
        found = {shard: PhotoManifest(shard.folder(out)).by_source() for shard in shards}
        records = dict(earlier)
        for of_shard in found.values():
            records |= of_shard
        missing = _missing(out, run, records, shards)
        try:
            remove_partials(out)
            for shard, of_shard in found.items():
                for record in of_shard.values():
                    _move(record, shard, out)
            _remove_outdated(earlier, records, out)
            merged = tuple(records[source] for source in sorted(records))
            write_atomic(out / MANIFEST, b"".join(json_bytes(record.to_json()) for record in merged))
        except OSError as error:
            raise UserError(
                f"{error.filename} cannot be merged: {error.strerror}; what is done so far stays"
            ) from error
    for shard in shards:  # after the locks in them were removed
        shutil.rmtree(shard.folder(out))
    return Merged(merged, missing)


def _present(out: Path) -> list[Shard]:
    """Return the shards of a destination.

    Raises:
        UserError: there are none, or they are parts of different numbers of shards.
    """
    shards = find_shards(out)
    if not shards:
        raise UserError(f"{out} has no shards; omm protect --shard 1/3 makes the first of three")
    if len({shard.count for shard in shards}) > 1:
        raise UserError(f"{out} has {parts_of(shards)}; remove the folders of those that are not used")
    return shards


def _missing(
    out: Path, run: RunRecord, records: Mapping[str, PhotoRecord], shards: Sequence[Shard]
) -> tuple[tuple[str, Shard], ...]:
    """Return the photos of the source that have no record, and their shards; none where the source is not there.

    Raises:
        UserError: a shard that has such photos, or may have, is missing.
    """
    count = shards[0].count
    absent = {Shard(number, count) for number in range(1, count + 1)}.difference(shards)
    place, missing = out / run.source, tuple[tuple[str, Shard], ...]()
    if place.exists():
        missing = tuple(
            (str(entry.relative), shard_of(entry.relative, count))
            for entry in scan(open_source(place), exclude=run.exclude)
            if entry.status != "not-a-photo" and str(entry.relative) not in records
        )
        absent = absent.intersection(shard for _, shard in missing)
    if absent:
        names = ", ".join(str(shard) for shard in sorted(absent, key=lambda shard: shard.number))
        raise UserError(f"{out} lacks the shards {names}; run omm protect --shard with them first")
    return missing


def _move(record: PhotoRecord, shard: Shard, out: Path) -> None:
    """Move the file of a record, unless an earlier, stopped merge has done so. Raises OSError and UserError."""
    if record.output is None:
        return
    source, target = shard.folder(out) / record.output, out / record.output
    for path, root in ((source, shard.folder(out)), (target, out)):
        refuse_links(path, root)
    if not source.exists():
        if not target.is_file() or sha256_file(target) != record.output_sha256:
            raise UserError(f"{source} is missing; run omm protect --shard {shard} again")
        return
    for folder in reversed(target.relative_to(out).parents[:-1]):
        (out / folder).mkdir((shard.folder(out) / folder).stat().st_mode & 0o777, exist_ok=True)
    source.replace(target)
    sync_folder(target.parent)


def _remove_outdated(earlier: dict[str, PhotoRecord], records: dict[str, PhotoRecord], out: Path) -> None:
    """Remove files of earlier records that no record names now. Raises OSError."""
    named = {record.output for record in records.values()}
    for record in earlier.values():
        if record.output is not None and record.output not in named:
            refuse_links(out / record.output, out)
            (out / record.output).unlink(missing_ok=True)
