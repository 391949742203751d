"""Merge the shards of a destination into one protected folder."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from onlymymodel.data.atomic import OWN, refuse_links, remove_partials, sync_folder, write_atomic
from onlymymodel.data.folder import scan
from onlymymodel.data.folder_lock import lock_folder
from onlymymodel.data.manifest import json_bytes, sha256_file
from onlymymodel.data.source import open_source
from onlymymodel.data.stores.lines import folder_of_parts
from onlymymodel.errors import UserError
from onlymymodel.protect import run_record
from onlymymodel.protect.dataset_card import write_card
from onlymymodel.protect.machines import merge_machines
from onlymymodel.protect.photo_record import MANIFEST, PhotoManifest, PhotoRecord
from onlymymodel.protect.run_record import RunRecord
from onlymymodel.protect.seal import seal_folder
from onlymymodel.protect.shards import Shard, find_shards, parts_of, shard_of
from onlymymodel.protect.signing import Signer

REMOVED = f"{OWN}merged"  # folder of the shards that were merged, while they are removed


@dataclass(frozen=True)
class Merged:
    """A folder after its shards were merged.

    Attributes:
        records: of all its photos, by path.
        missing: photos of the source that have no record, and the shard that each belongs to; empty if the source is
            not there.
        signature_lost: see `seal_folder`.
    """

    records: tuple[PhotoRecord, ...]
    missing: tuple[tuple[str, Shard], ...]
    signature_lost: bool = False


def merge_shards(out: Path, signer: Signer | None = None) -> Merged:
    """Move the files of all shards to the destination, write its manifest, card and seal, and remove the shards.

    It may be stopped at any moment: the next call goes on. Photos of an earlier merge keep their records unless a shard
    has newer ones.

    Args:
        out: the destination.
        signer: see `seal_folder`.

    Raises:
        UserError: there are no shards, one that has photos without a record is missing, one still runs, has not ended
            in a store or has other settings; their machines have to be identical and are not, see `merge_machines`; a
            file is not as its record says; or something cannot be written.
    """
    shards = _present(out)
    with ExitStack() as locks:
        for folder in (out, *(shard.folder(out) for shard in shards)):
            locks.enter_context(lock_folder(folder))
        run = run_record.read(out)
        for shard in shards:
            if run_record.read(shard.folder(out)).settings_sha256 != run.settings_sha256:
                raise UserError(f"shard {shard} was made with other models or settings; remove {shard.folder(out)}")
            if (shard.folder(out) / folder_of_parts(MANIFEST)).exists():
                raise UserError(
                    f"shard {shard} was copied from a store in which it has not ended: run omm protect --shard {shard} "
                    "there to its end, and copy it again"
                )
        merge_machines(out, [shard.folder(out) for shard in shards])
        earlier = PhotoManifest(out).by_source()
        found = {shard: PhotoManifest(shard.folder(out)).by_source() for shard in shards}
        records = dict(earlier)
        for of_shard in found.values():
            records |= of_shard
        written = (record for of_shard in found.values() for record in of_shard.values() if record.output is not None)
        owners = {record.output: record.source for record in written}
        records = {
            source: record if (owner := owners.get(record.output, source)) == source else record.replaced_by(owner)
            for source, record in records.items()
        }
        missing = _missing(out, run, records, shards, nothing_new=records == earlier)
        try:
            remove_partials(out)
            for shard, of_shard in found.items():
                for record in of_shard.values():
                    _move(record, shard, out)
            _remove_outdated(earlier, records, out)
            merged = tuple(records[source] for source in sorted(records))
            write_atomic(out / MANIFEST, (json_bytes(record.to_json()) for record in merged))
        except OSError as error:
            raise UserError(
                f"{error.filename} cannot be merged: {error.strerror}; what is done so far stays"
            ) from error
        write_card(out, Counter(record.status for record in merged))
        signature_lost = seal_folder(out, signer)
    _remove(shards, out)  # after the locks in them were removed
    return Merged(merged, missing, signature_lost)


def _present(out: Path) -> list[Shard]:
    """Return the shards of a destination; none where a merge was stopped while it removed them.

    Raises:
        UserError: there are none otherwise, or they are parts of different numbers of shards.
    """
    shards = find_shards(out)
    if not shards and not (out / REMOVED).exists():
        raise UserError(f"{out} has no shards; omm protect --shard 1/3 makes the first of three")
    if len({shard.count for shard in shards}) > 1:
        raise UserError(f"{out} has {parts_of(shards)}; remove the folders of those that are not used")
    return shards


def _missing(
    out: Path, run: RunRecord, records: Mapping[str, PhotoRecord], shards: Sequence[Shard], *, nothing_new: bool
) -> tuple[tuple[str, Shard], ...]:
    """Return the photos of the source that have no record, and their shards; none where the source is not there.

    Args:
        out: the destination.
        run: its record.
        records: of all photos, by path.
        shards: those that are there.
        nothing_new: whether all their records were merged before, by a merge that was stopped while it removed shards.

    Raises:
        UserError: a shard that has such photos, or may have, is missing.
    """
    if not shards:
        return ()
    count = shards[0].count
    absent = {Shard(number, count) for number in range(1, count + 1)}.difference(shards)
    missing = tuple[tuple[str, Shard], ...]()
    try:
        entries = scan(open_source(out / run.source), exclude=run.exclude)
    except (OSError, UserError):  # it is not there, cannot be seen, or there is nothing in it any more
        absent = set() if nothing_new else absent
    else:
        missing = tuple(
            (str(entry.relative), shard_of(entry.relative, count))
            for entry in entries
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


def _remove(shards: Sequence[Shard], out: Path) -> None:
    """Remove shards that were merged: none is ever there in part.

    Raises:
        UserError: one cannot be removed.
    """
    removed = out / REMOVED
    try:
        if removed.exists():  # by a merge that was stopped here
            shutil.rmtree(removed)
        removed.mkdir()
        for shard in shards:
            shard.folder(out).replace(removed / shard.folder_name)
        shutil.rmtree(removed)
    except OSError as error:
        raise UserError(
            f"all shards are merged, but {error.filename} cannot be removed: {error.strerror}; call omm merge again"
        ) from error


def _remove_outdated(earlier: dict[str, PhotoRecord], records: dict[str, PhotoRecord], out: Path) -> None:
    """Remove files of earlier records that no record names now. Raises OSError."""
    named = {record.output for record in records.values()}
    for record in earlier.values():
        if record.output is not None and record.output not in named:
            refuse_links(out / record.output, out)
            (out / record.output).unlink(missing_ok=True)
