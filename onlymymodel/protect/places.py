"""Source and output of a run, each a folder of this machine or of a remote store, opened for the time of the run."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from onlymymodel.data.atomic import OWN
from onlymymodel.data.source import Source, open_source, remote_folder
from onlymymodel.data.stores.address import is_remote
from onlymymodel.data.stores.errors import as_user_errors
from onlymymodel.data.stores.remote import RemoteFolder, open_remote
from onlymymodel.data.stores.remote_store import RemoteStore, load_store
from onlymymodel.data.stores.store import LocalStore, Store
from onlymymodel.errors import UserError
from onlymymodel.protect.output_folder import DATASET_CARD, RUN_RECORD, not_ours
from onlymymodel.protect.run_status import MANIFEST

SEAL = "seal.json"


@dataclass(frozen=True)
class Places:
    """Source and output of a run.

    Attributes:
        source: the originals.
        store: where the results are.
        shown: address or path of the store, as it was given.
    """

    source: Source
    store: Store
    shown: str

    @property
    def in_store(self) -> bool:
        """Return whether source or output is in a store."""
        return is_remote(self.shown) or remote_folder(self.source) is not None

    @property
    def how_to_merge(self) -> str:
        """Return the instruction for merging the shards in the output."""
        if is_remote(self.shown):
            return f"copy {self.shown} to this machine, with its hidden folders, and omm merge the copy"
        return f"omm merge {self.shown}"

    @property
    def out(self) -> Path:
        """The folder of this machine with the records of the run."""
        return self.store.records


@contextmanager
def opened_places(source: str | Path, out: str | Path, *, checksum: bool = False) -> Iterator[Places]:
    """Open source and output, each a path of this machine or the address of a store.

    The records of a store are copied to a temporary folder, which is removed at the end; errors name the store.

    Args:
        source: the originals.
        out: the results.
        checksum: whether originals and results that have not changed are read again, too.

    Raises:
        UserError: see `open_remote` and `load_store`; or one of two stores is inside the other.
    """
    if str(out).lower().startswith("hf://"):
        raise UserError("an output on the Hub would be a commit for each photo: write to a folder, and upload that")
    opened = open_source(source)
    originals = remote_folder(opened)
    with opened_store(out, checksum=checksum) as store:
        if isinstance(store, RemoteStore):
            if originals is not None:
                _check_apart(originals, store.folder)
            _check_ours(store)
        if not isinstance(opened, Path):
            opened = replace(opened, known=store.sources)
        yield Places(opened, store, str(out))


@contextmanager
def opened_store(out: str | Path, *, checksum: bool = False) -> Iterator[Store]:
    """Open the results of a run; see `opened_places`. Raises UserError."""
    if not is_remote(str(out)):
        yield LocalStore(Path(out), checksum)
        return
    folder = open_remote(str(out))
    with tempfile.TemporaryDirectory(prefix=f"{OWN}records-") as temporary:
        records = Path(temporary)
        try:
            whole = (RUN_RECORD, SEAL, DATASET_CARD)
            yield load_store(folder, records, whole=whole, lines=(MANIFEST,), checksum=checksum)
        except UserError as error:  # what reads the copy names the copy
            raise UserError(str(error).replace(str(records), folder.uri)) from error


def _check_ours(store: RemoteStore) -> None:
    """Refuse a folder with objects that no run has written, as `check_ours` does; a new one has none to list."""
    if not (store.records / RUN_RECORD).exists():
        with as_user_errors(str(store)):
            names = [name for name in store.names() if not name.startswith(OWN)]
        if names:
            raise UserError(not_ours(str(store), names[0]))


def _check_apart(source: RemoteFolder, out: RemoteFolder) -> None:
    if out.is_inside(source):
        raise UserError(f"The output folder {out} is, or is inside, the source {source}; choose another.")
    if source.is_inside(out):
        raise UserError(f"The source {source} is inside the output folder {out}; choose another.")
