from pathlib import Path

import pytest

from onlymymodel.errors import UserError
from onlymymodel.protect.memory_limit import MemorySize, _free_in_groups, free_bytes, resident_bytes

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GiB", 8 * GIB),
        ("8gib", 8 * GIB),
        ("8G", 8 * GIB),
        ("1.5 GiB", 1.5 * GIB),
        ("8GB", 8e9),
        ("500MB", 5e8),
        ("64KB", 64e3),
        ("2TiB", 2048 * GIB),
        ("123", 123),
        ("123B", 123),
    ],
)
def test_sizes(text: str, size: float) -> None:
    assert MemorySize.parse(text) == MemorySize(size)
    assert MemorySize.parse(text).in_bytes(resident=5, free=7) == int(size)


def test_a_share_is_of_what_is_free_beside_what_is_taken() -> None:
    assert MemorySize.parse("60%").in_bytes(resident=100, free=1000) == 700


@pytest.mark.parametrize("text", ["", "8 apples", "-1GiB", "GiB", "0", "0%", "101%", "1e3", "8GiB%", "nan"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="memory must be"):
        MemorySize.parse(text)


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def says(root: Path, *lines: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))


def test_the_tightest_group_counts_and_cached_files_are_free(tmp_path: Path) -> None:
    says(tmp_path, "0::/outer/inner")
    mount = tmp_path / "sys/fs/cgroup"
    group(mount / "outer", memory__max=1000, memory__current=900, memory__stat="anon 5\ninactive_file 300")
    group(mount / "outer/inner", memory__max="max", memory__current=800, memory__stat="inactive_file 1")
    assert list(_free_in_groups(tmp_path)) == [400]
    assert free_bytes(tmp_path) == 400


def test_a_container_has_its_own_group_at_the_mount(tmp_path: Path) -> None:
    says(tmp_path, "0::/system.slice/docker-0123.scope")  # the host's path, which the container does not see
    group(tmp_path / "sys/fs/cgroup", memory__max=5000, memory__current=1000, memory__stat="inactive_file 0")
    assert free_bytes(tmp_path) == 4000


def test_groups_of_version_1(tmp_path: Path) -> None:
    says(tmp_path, "4:cpu,cpuacct:/box", "7:memory:/box", "0::/")
    group(
        tmp_path / "sys/fs/cgroup/memory/box",
        memory__limit_in_bytes=2000,
        memory__usage_in_bytes=1500,
        memory__stat="total_inactive_file 100\ninactive_file 7",
    )
    assert free_bytes(tmp_path) == 600


def test_a_group_that_is_full_leaves_nothing(tmp_path: Path) -> None:
    says(tmp_path, "0::/")
    group(tmp_path / "sys/fs/cgroup", memory__max=10, memory__current=20, memory__stat="inactive_file 0")
    assert free_bytes(tmp_path) == 0


def test_without_groups_it_is_the_machine(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) > 0
    assert resident_bytes() > 1 << 20
