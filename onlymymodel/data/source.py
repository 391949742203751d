"""Open the source of a run: a folder or file of this machine, a folder of a store, or rows of Parquet files."""

from __future__ import annotations

from pathlib import Path

from onlymymodel.data.rows.scan import find_rows
from onlymymodel.data.rows.source import RowsFolder
from onlymymodel.data.stores.address import is_remote
from onlymymodel.data.stores.remote import RemoteFolder, open_remote

Source = Path | RemoteFolder | RowsFolder


def open_source(source: str | Path) -> Source:
    """Return originals at a path of this machine or at the address of a store. Raises UserError, see `open_remote`."""
    place = open_remote(str(source)) if is_remote(str(source)) else Path(source)
    return find_rows(place) or place


def local_path(source: Source) -> Path | None:
    """Return the path of originals on this machine; None for those in a store."""
    place = source.place if isinstance(source, RowsFolder) else source
    return place if isinstance(place, Path) else None


def remote_folder(source: Source) -> RemoteFolder | None:
    """Return the folder of originals in a store; None for those of this machine."""
    place = source.place if isinstance(source, RowsFolder) else source
    return None if isinstance(place, Path) else place
