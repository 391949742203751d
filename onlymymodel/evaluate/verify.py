"""Verification of a protected folder, from the bytes on disk."""

from collections.abc import Collection, Container, Iterator, Sequence
from pathlib import Path

from onlymymodel.data.folder_lock import LOCK
from onlymymodel.data.manifest import BrokenLine, sha256
from onlymymodel.data.source import Source, open_source
from onlymymodel.data.stores.address import is_remote
from onlymymodel.data.stores.stamps import RESULTS as STAMPS_OF_RESULTS
from onlymymodel.data.stores.stamps import SOURCES
from onlymymodel.data.stores.store import LocalStore, Store
from onlymymodel.errors import UserError, number_of
from onlymymodel.evaluate.folders import CSV, MARKDOWN, PAGE, RESULTS
from onlymymodel.evaluate.verify_file import check_file
from onlymymodel.evaluate.verify_originals import MISSING, Originals, lines_without_original, unlisted_originals
from onlymymodel.evaluate.verify_report import Fault, VerifyReport
from onlymymodel.evaluate.verify_seal import check_seal
from onlymymodel.evaluate.verify_surrogates import AskedSurrogates, find_surrogates, load_surrogates
from onlymymodel.progress import track
from onlymymodel.protect import run_record, seal
from onlymymodel.protect.context import Context
from onlymymodel.protect.output_folder import DATASET_CARD
from onlymymodel.protect.photo_record import MANIFEST, WRITTEN, PhotoManifest, PhotoRecord
from onlymymodel.protect.run_record import RunRecord
from onlymymodel.protect.shards import find_shards
from onlymymodel.surrogates.answer_cache import DATABASE_FILES, EXPORT
from onlymymodel.surrogates.load import load_model

STAMPED = (SOURCES, STAMPS_OF_RESULTS)  # what is known of files in stores, and its parts
OURS = {LOCK, MANIFEST, DATASET_CARD, run_record.NAME, seal.NAME, RESULTS, CSV, MARKDOWN, PAGE, EXPORT, *DATABASE_FILES}


def verify_folder(
    place: Path | Store,
    *,
    source: Source | None = None,
    without_originals: bool = False,
    authorized: str | None = None,
    surrogates: Sequence[str] = (),
    ask_surrogates: bool = True,
    public_key: bytes | None = None,
    allow_python: bool = False,
    device: str = "cpu",
    progress: bool = True,
) -> VerifyReport:
    """Check a protected folder: its seal and records, that nothing is missing, and every file.

    A file has to have the recorded bytes, to be read by the authorized model by the margin, to mislead the surrogates
    that it is recorded to mislead, to differ from its original by the recorded largest change and to be inside the
    budget. What cannot be checked because originals are missing is a fault, unless `without_originals` says so.

    Args:
        place: a folder that `omm protect` made, or such a folder of a store.
        source: the originals; those of the run if None.
        without_originals: leave out what needs the originals.
        authorized: URI of the authorized model, if it has moved; its weights have to be the recorded ones.
        surrogates: URIs of the surrogates, if they have moved; those of the run, as far as they load, if empty.
        ask_surrogates: whether surrogates are asked at all.
        public_key: 32 bytes (Ed25519) of the key that has to have signed the seal; None where none is known.
        allow_python: see `load_model`.
        device: of the models.
        progress: show a progress bar.

    Raises:
        UserError: no such folder, broken records, the authorized model or a named surrogate is not one of the run, or
            both originals and `without_originals` are given.
    """
    if source is not None and without_originals:
        raise UserError("the originals are given, and are to be left out: give one of --source and --without-originals")
    if isinstance(source, Path) and not source.exists():
        raise UserError(f"{source} does not exist")
    store = LocalStore(place) if isinstance(place, Path) else place
    out = store.records
    run = run_record.read(out)
    sealed = check_seal(out, public_key)
    context = _context(store.base, run, authorized, allow_python, device)
    if surrogates:
        asked = find_surrogates(run, surrogates, allow_python=allow_python, device=device)
    elif ask_surrogates:
        asked = load_surrogates(store.base, run, allow_python=allow_python, device=device)
    else:
        asked = AskedSurrogates({}, len(run.surrogates), ("the stand-ins, as was asked for",))
    originals = None if without_originals else Originals.at(source or _recorded_source(run, store))
    try:
        records = PhotoManifest(out).by_source()
    except BrokenLine as error:
        fault = Fault(MANIFEST, f"line {error.number} {error.fault}, so that no file was checked")
        return VerifyReport(0, 0, 0, (*sealed.faults, fault), (), (), sealed.proven, sealed.remark)
    protected = [record for record in records.values() if record.status in WRITTEN]
    faults = [*sealed.faults, *_faults_of_records(run, records.values())]
    if originals is not None and not originals.present:
        faults.append(Fault(run.source, "the originals are not there: give --source SRC, or --without-originals"))
        originals = None
    elif originals is not None:
        faults += unlisted_originals(originals, records.values(), run.exclude)
    if originals is None:
        asked = asked.without_originals()
    asked_files = compared_files = 0
    for record in (task := track(protected, "checking", progress=progress)):
        original = None
        if originals is not None:
            original = originals.read(record.source, run.max_pixels)
            if original is None:
                faults.append(Fault(record.source, MISSING))
            elif sha256(original) != record.source_sha256:
                faults.append(Fault(record.source, "the original has changed since it was protected"))
                original = None
        file = check_file(store, record, original, context, asked)
        asked_files += file.asked
        compared_files += file.compared
        faults += file.faults
        task.photo(record.source, "fault" if file.faults else "ok", "; ".join(fault.reason for fault in file.faults))
    if not protected:
        faults.append(Fault(MANIFEST, "has no line of a protected file, so that no file was checked"))
    recorded = {record.output for record in records.values()} | OURS
    faults += _faults_of_other_files(store, recorded)
    return VerifyReport(
        checked=len(protected),
        already_misread=sum(record.status == "already-misread" for record in protected),
        without_source=len(protected) - compared_files,
        faults=tuple(faults),
        measured=tuple(_measured(asked_files, compared_files, originals, asked)),
        not_checked=(*_not_checked(protected, without_originals, asked), *_gone(originals, records.values())),
        proven=sealed.proven,
        remark=sealed.remark,
    )


def _recorded_source(run: RunRecord, store: Store) -> Source:
    """Return where the originals were. Raises UserError."""
    return open_source(run.source if is_remote(run.source) else store.base / run.source)


def _faults_of_other_files(store: Store, recorded: Container[str | None]) -> Iterator[Fault]:
    """Yield the shards that are not merged, and the files that are neither recorded nor in a shard."""
    shards = dict.fromkeys(str(shard.folder(store.records)) for shard in find_shards(store.records))
    yield from (Fault(Path(folder).name, f"is not merged: omm merge {store.records}") for folder in shards)
    within = tuple(f"{Path(folder).name}/" for folder in shards)
    for name in store.names():
        if name not in recorded and not name.startswith((*within, *STAMPED)):
            yield Fault(name, "is not in the manifest")


def _faults_of_records(run: RunRecord, records: Collection[PhotoRecord]) -> Iterator[Fault]:
    """Yield where the settings of run.json are not those that it, or the manifest, has a hash of."""
    if not run.intact:
        yield Fault(run_record.NAME, "its settings are not those that it has the hash of")
    recipe = run.recipe.sha256()
    if others := [record.source for record in records if record.recipe_sha256 not in ("", recipe)]:
        yield Fault(run_record.NAME, f"its recipe is not that of {len(others)} lines of the manifest")


def _measured(files: int, compared: int, originals: Originals | None, asked: AskedSurrogates) -> Iterator[str]:
    """Yield in words what was measured now."""
    if files:
        yield f"{number_of(files, 'file')}: the bytes, and the authorized model's answer and margin"
    if compared:
        against = f"{number_of(compared, 'file')} against the originals"
        yield f"{against}: that they differ, by the recorded largest change, budget and region"
    if originals is not None:
        yield "that every picture of the source has a line"
    if files and asked.models:
        yield f"{len(asked.models)} of {asked.total} stand-ins: that they are misled as recorded"


def _not_checked(protected: Sequence[PhotoRecord], without_originals: bool, asked: AskedSurrogates) -> Iterator[str]:
    """Yield in words what was not checked, besides what is a fault."""
    if without_originals:
        yield (
            "the originals: whether files differ from them, by the recorded largest change, budget and region, and "
            "whether each of them has a line"
        )
    yield from asked.missing
    if masked := sum(record.region is not None and record.region.kind == "mask" for record in protected):
        yield f"the masks of {number_of(masked, 'photo')}, which are not kept"


def _gone(originals: Originals | None, records: Collection[PhotoRecord]) -> Iterator[str]:
    if originals is not None and (gone := lines_without_original(originals, records)):
        yield f"{number_of(len(gone), 'line')} without a file, where the original is gone, too, such as {gone[0]}"


def _context(out: Path, run: RunRecord, uri: str | None, allow_python: bool, device: str) -> Context:
    base = out if uri is None else None
    model = load_model(uri or run.authorized_uri, base=base, allow_python=allow_python, device=device)
    if model.card.sha256 != run.authorized.sha256:
        raise UserError(f"{model.card.uri} has other weights than the authorized model that this folder was made for")
    if not model.card.same_classes(run.authorized):
        raise UserError(
            f"{model.card.uri} has other classes than in the run: give its gallery, words or keep= as they were"
        )
    return Context(model, (), run.budget, run.recipe, max_pixels=run.max_pixels, first_frame=run.first_frame)
