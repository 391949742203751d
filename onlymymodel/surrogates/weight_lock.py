"""`weights.lock.json`: what the files of weights were when they were first used, so that others are not taken for them.

Libraries name weights, not bytes. The lock of a cache pins them: the revision of a repository, and the SHA-256 of every
file.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.manifest import sha256_file
from onlymymodel.data.regular_file import read_regular
from onlymymodel.errors import UserError
from onlymymodel.surrogates.weight_files import WeightFiles

NAME = "weights.lock.json"
MAX_BYTES = 16 << 20


class LockedFile(msgspec.Struct, frozen=True):
    """A file as it was: its SHA-256 in hexadecimal digits, and its size in bytes."""

    sha256: str
    bytes: int


class LockEntry(msgspec.Struct, frozen=True):
    """The files of a model's weights as they were.

    Attributes:
        files: by their names.
        since: date on which they were first used.
        revision: of the repository; "" for a file at an address.
    """

    files: dict[str, LockedFile]
    since: str
    revision: str = ""


class WeightLock:
    """The lock of one folder of weights.

    Args:
        folder: the folder; it need not exist.

    Raises:
        UserError: the lock is broken.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.entries = self._read()

    def revision_of(self, files: WeightFiles) -> str:
        """Return the revision at which a repository is pinned; "" if it is not."""
        entry = self.entries.get(files.key)
        return entry.revision if entry else ""

    def check(self, model: str, files: WeightFiles, paths: Mapping[str, Path]) -> None:
        """Check the files of a model, or record them at their first use.

        Args:
            model: URI of the model, for the error.
            files: where they come from.
            paths: the files themselves, by their names.

        Raises:
            UserError: a file is not what it was, or does not have the hash that its publisher wrote into its name.
        """
        found = {name: LockedFile(sha256_file(path), path.stat().st_size) for name, path in paths.items()}
        for name, file in found.items():
            if not file.sha256.startswith(files.hash_prefix):
                raise UserError(
                    f"model {model!r}: {paths[name]} is damaged, or another file: its SHA-256 does not begin with "
                    f"{files.hash_prefix}, as its name says; remove it, so that it is downloaded again"
                )
        entry = self.entries.get(
            files.key, LockEntry({}, datetime.now(UTC).date().isoformat(), _revision(files, paths))
        )
        for name, file in found.items():
            known = entry.files.get(name)
            if known is not None and known.sha256 != file.sha256:
                raise UserError(
                    f"model {model!r}: {paths[name]} is not the file that was first used on {entry.since} (its SHA-256 "
                    f"was {known.sha256[:12]}... and is {file.sha256[:12]}...); remove the file, or, if it was "
                    f"replaced on purpose, its entry in {self.path}"
                )
        if found.keys() - entry.files.keys():  # models of one repository may need other files of it
            self._record(files.key, msgspec.structs.replace(entry, files={**found, **entry.files}))

    def _record(self, key: str, entry: LockEntry) -> None:
        self.entries = {**self._read(), key: entry}  # another run may have added some
        content = {key: msgspec.to_builtins(value) for key, value in sorted(self.entries.items())}
        with suppress(OSError):  # a cache that others look after cannot be written
            write_atomic(self.path, (json.dumps(content, indent=1) + "\n").encode())

    def _read(self) -> dict[str, LockEntry]:
        try:
            content: Any = json.loads(read_regular(self.path, MAX_BYTES))
            return msgspec.convert(content, dict[str, LockEntry])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, msgspec.ValidationError) as error:
            raise UserError(f"{self.path} cannot be read: {error}; remove it to pin the weights anew") from error


def _revision(files: WeightFiles, paths: Mapping[str, Path]) -> str:
    """Return the revision of a repository of which the cache has these files; "" for a file at an address."""
    if not files.repository:
        return ""
    name, path = next(iter(paths.items()))
    return path.parents[len(Path(name).parts) - 1].name  # snapshots/REVISION/name
