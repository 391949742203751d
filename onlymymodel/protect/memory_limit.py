"""Memory limit of a run: parse `--memory`, and measure free memory, also in a container.

Importing this module does not import torch.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from onlymymodel.errors import UserError

DEFAULT = "60%"
PREFIXES = ("", "K", "M", "G", "T")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:(%)|([KMGT]?)(iB|B)?)", re.IGNORECASE)


@dataclass(frozen=True)
class MemorySize:
    """A value of `--memory`.

    Attributes:
        size: in bytes, of the process in all; or, if `of_free`, a share of the memory that is free.
        of_free: see `size`.
    """

    size: float
    of_free: bool = False

    @classmethod
    def parse(cls, text: str) -> "MemorySize":
        """Return the size that a text such as `8GiB`, `500MB`, `8G` (GiB) or `60%` names.

        Raises:
            UserError: it names none, or one that is not above 0, or more than 100 %.
        """
        match = _SIZE.fullmatch(text.strip())
        if match is None:
            raise UserError(f"memory must be a size such as 8GiB, or a share of what is free such as 60%, not {text!r}")
        number, percent, prefix, unit = float(match[1]), match[2], (match[3] or "").upper(), (match[4] or "").lower()
        if number <= 0 or (percent and number > 100):
            raise UserError(f"memory must be above 0 and at most 100%, not {text!r}")
        if percent:
            return cls(number / 100, of_free=True)
        # 8GB is decimal; 8GiB is binary, and so is 8G, as for Slurm and Docker
        return cls(number * (1000 if unit == "b" else 1024) ** PREFIXES.index(prefix))

    def in_bytes(self, resident: int, free: int) -> int:
        """Return the limit of this process in bytes.

        Args:
            resident: bytes that it takes already.
            free: bytes that it could take besides.
        """
        return resident + int(self.size * free) if self.of_free else int(self.size)


def resident_bytes() -> int:
    """Return the memory that this process takes."""
    import psutil  # only where photos are protected

    return int(psutil.Process().memory_info().rss)


def free_bytes(root: Path = Path("/")) -> int:
    """Return the memory that this process could take besides: what is free on the machine and in its control groups.

    Args:
        root: of the file system, for tests.
    """
    import psutil

    return max(0, min([int(psutil.virtual_memory().available), *_free_in_groups(root)]))


def _free_in_groups(root: Path) -> Iterator[int]:
    """Yield what is free in each control group of this process that has a limit, of version 1 or 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not on Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            names = "memory.max", "memory.current", "inactive_file"
            mount = root / "sys/fs/cgroup"
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            mount = root / "sys/fs/cgroup/memory"
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        # a container may see the path of the host, where only the mount itself is its own
        for folder in dict.fromkeys((mount / group, *(mount / parent for parent in group.parents))):
            free = _free_in_group(folder, *names)
            if free is not None:
                yield free


def _free_in_group(folder: Path, limit: str, usage: str, cached: str) -> int | None:
    """Return what is free in a control group; None if it has no limit. Files in the cache give way to programs."""
    try:
        largest, used = ((folder / name).read_text().strip() for name in (limit, usage))
        statistics = (folder / "memory.stat").read_text().split()
    except OSError:
        return None
    if not largest.isdecimal() or not used.isdecimal():
        return None  # "max"
    values = dict(zip(statistics[::2], statistics[1::2], strict=False))
    return int(largest) - int(used) + int(values.get(cached, 0))
