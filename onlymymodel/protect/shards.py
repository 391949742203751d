"""Shards: parts of a folder that several machines protect at the same time, each in a folder of its own.

Shard 2 of 3 of the destination OUT is the protected folder `OUT/.omm-shard-2-of-3`; `merge_shards` moves the files of
all shards to OUT. Which photos belong to a shard depends on their paths alone.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from onlymymodel.data.atomic import OWN
from onlymymodel.errors import UserError

AUTO = "auto"
_NAMED = 5  # folders of shards that a message names
_FOLDER = re.compile(rf"{re.escape(OWN)}shard-(\d+)-of-(\d+)")
# variables in which a scheduler tells a process its number and how many there are; the first number is the third
# variable, or that value
_SCHEDULERS = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
    ("JOB_COMPLETION_INDEX", "OMM_SHARDS", "0"),  # Kubernetes does not tell the number of completions
    ("RANK", "WORLD_SIZE", "0"),
)


@dataclass(frozen=True)
class Shard:
    """One part of a folder.

    Attributes:
        number: from 1.
        count: number of parts.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def has(self, path: PurePath) -> bool:
        """Return whether the photo at a path below the source belongs to this shard."""
        return shard_of(path, self.count) == self

    @property
    def folder_name(self) -> str:
        """Name of the folder of the shard in the destination."""
        return f"{OWN}shard-{self.number}-of-{self.count}"

    def folder(self, out: Path) -> Path:
        """Return the folder of the shard in the destination."""
        return out / self.folder_name


def shard_of(path: PurePath, count: int) -> Shard:
    """Return the shard, of `count`, to which the photo at a path below the source belongs."""
    digest = hashlib.sha256(path.as_posix().encode("utf-8", "surrogatepass")).digest()
    return Shard(int.from_bytes(digest[:8], "big") % count + 1, count)


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """Return the shard that a text names.

    Args:
        text: `2/3`, or `auto` for what a scheduler says: Slurm (array jobs), Kubernetes (indexed jobs, with OMM_SHARDS
            set to the number of completions) or torchrun.
        environment: variables of the process.

    Raises:
        UserError: it is neither, or no scheduler says anything.
    """
    if text == AUTO:
        for number, count, first in _SCHEDULERS:
            if number in environment and count in environment:
                values = environment[number], environment[count], environment.get(first, first)
                if not all(value.isascii() and value.isdigit() for value in values):
                    raise UserError(f"--shard auto: {number}={values[0]} and {count}={values[1]} are not whole numbers")
                return _checked(int(values[0]) - int(values[2]) + 1, int(values[1]), f"--shard auto: {number}, {count}")
        known = "; ".join(f"{number} and {count}" for number, count, _ in _SCHEDULERS)
        raise UserError(f"--shard auto needs the variables of a scheduler ({known}); without one write --shard 1/3")
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None:
        raise UserError(f"--shard {text}: write the number of the shard and how many there are, as in 1/3, or auto")
    return _checked(int(match[1]), int(match[2]), f"--shard {text}")


def find_shards(out: Path) -> list[Shard]:
    """Return the shards that have a folder in a destination, in order."""
    names = (match for path in out.glob(f"{OWN}shard-*") if (match := _FOLDER.fullmatch(path.name)) and path.is_dir())
    return sorted(
        (Shard(int(match[1]), int(match[2])) for match in names), key=lambda shard: (shard.count, shard.number)
    )


def check_shards(out: Path, shard: Shard | None) -> None:
    """Check that a run can write into a destination beside the shards that are there.

    Args:
        out: the destination.
        shard: the shard that the run protects; None for all photos.

    Raises:
        UserError: there are shards of another count, or any where all photos are to be protected.
    """
    there = find_shards(out)
    if shard is None and there:
        raise UserError(f"{out} has shards that are not merged: omm merge {out}")
    others = [other for other in there if shard is not None and other.count != shard.count]
    if others:
        raise UserError(
            f"--shard {shard}: {out} has {parts_of(others)}; go on with --shard I/{others[0].count}, or remove these "
            "folders"
        )


def parts_of(shards: Sequence[Shard]) -> str:
    """Return in words of how many parts there are shards, with the names of their folders."""
    by_count: dict[int, list[str]] = {}
    for shard in shards:
        by_count.setdefault(shard.count, []).append(shard.folder_name)
    parts = []
    for count, names in by_count.items():
        more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
        parts.append(f"shards of {count} parts ({', '.join([*names[:_NAMED], *more])})")
    return " and ".join(parts)


def _checked(number: int, count: int, place: str) -> Shard:
    if not 1 <= number <= count:
        raise UserError(f"{place}: there is no shard {number} of {count}; they are numbered from 1")
    return Shard(number, count)
