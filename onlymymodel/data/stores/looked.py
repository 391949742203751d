"""Recall what earlier scans and runs found in the files of a source, as long as their stamps are the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onlymymodel.data.file_kinds import Status
from onlymymodel.data.image_io import Header
from onlymymodel.data.stores.stamps import Stamps


@dataclass(frozen=True, slots=True)
class Looked:
    """Kind of a file by its first bytes; see `Entry`.

    Attributes:
        stamp: of the file, see `StoredFile`.
        status, reason, header: see `Entry`.
    """

    stamp: str | None
    status: Status
    reason: str | None
    header: Header | None


def look_back(looked_at: Mapping[str, Looked], known: Stamps | None, key: str, stamp: str | None) -> Looked | None:
    """Return what a file is that was looked at before and has not changed; None for any other.

    Args:
        looked_at: by this process, by key.
        known: by earlier runs.
        key, stamp: of the file.
    """
    looked = looked_at.get(key)
    if looked is not None and looked.stamp == stamp is not None:
        return looked
    found = None if known is None else known.get(key, stamp)
    if found is None or found.header is None:
        return None
    return Looked(stamp, "photo", None, Header(*found.header))
