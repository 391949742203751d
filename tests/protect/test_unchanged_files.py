"""A repeated run reads no photo or result that has not changed, and every one that may have."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hostile import files_of, lines_of, protect, save_photo

from onlymymodel.data.stores import stamps as stamps_module
from onlymymodel.data.stores.stamps import RESULTS, SOURCES, Known, Stamps, stamp_of
from onlymymodel.data.stores.store import LocalStore
from onlymymodel.protect import batches as batches_module
from onlymymodel.protect.folder_summary import Summary

NAMES = ("0.png", "1.png", "trip/2.png")


@pytest.fixture(autouse=True)
def no_file_is_recent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps_module, "RECENT", -60.0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index, name in enumerate(NAMES):
        save_photo(tmp_path / "photos" / name, index)
    return tmp_path / "photos"


@pytest.fixture
def out(photos: Path, tmp_path: Path) -> Path:
    """A finished run."""
    assert protect(photos, tmp_path / "out").counts["protected"] == len(NAMES)
    return tmp_path / "out"


def opened(monkeypatch: pytest.MonkeyPatch, photos: Path, out: Path, **changes: Any) -> tuple[set[str], Summary]:
    """Repeat a run; return which pictures it opened, and what became of the photos."""
    found = set[str]()
    system_open = os.open

    def recording(path: Any, *arguments: Any, **keywords: Any) -> int:
        if str(path).endswith(".png"):
            found.add(str(Path(path).relative_to(out.parent)))
        return system_open(path, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", recording)
        summary = protect(photos, out, **changes)
    return found, summary


def both(names: Sequence[str]) -> set[str]:
    return {f"{folder}/{name}" for folder in ("photos", "out") for name in names}


def test_nothing_is_read_again(photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, lines = files_of(out), lines_of(out)
    found, summary = opened(monkeypatch, photos, out)
    assert found == set()
    assert summary.counts == {"protected": len(NAMES)}
    assert (files_of(out), lines_of(out)) == (before, lines)


@pytest.mark.parametrize("lost", ["removed", "torn", "of another program", "a link", "of other files"])
def test_what_is_known_may_be_lost(
    lost: str, photos: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(out)
    for name in (SOURCES, RESULTS):
        path = out / name
        content = path.read_bytes()
        path.unlink()
        if lost == "torn":
            path.write_bytes(content[:30])
        elif lost == "of another program":
            path.write_bytes(b'[1]\n\xff\n{"name": 3}\n{"name": "0.png"}\n' + b"[" * 100_000 + b"\n")
        elif lost == "a link":
            (tmp_path / name).write_bytes(content)
            path.symlink_to(tmp_path / name)
        elif lost == "of other files":
            path.write_bytes(content.replace(b'"stamp":"', b'"stamp":"0'))
    found, _ = opened(monkeypatch, photos, out)
    assert found == both(NAMES)
    assert files_of(out) == before
    if lost == "torn":  # the first line after it is lost with it
        assert len(opened(monkeypatch, photos, out)[0]) < len(both(NAMES))
    if lost != "a link":
        assert opened(monkeypatch, photos, out)[0] == set()
    else:
        assert (tmp_path / SOURCES).read_bytes().count(b"\n") == len(NAMES)


def test_a_finished_photo_is_not_computed_again_where_nothing_can_be_kept(
    photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a folder of another user, or on a full disk."""
    for name in (SOURCES, RESULTS):
        (out / name).unlink()
        (out / name).mkdir()
    monkeypatch.setattr(batches_module, "protect_photos", lambda *_: pytest.fail("computed again"))
    assert protect(photos, out).counts == {"protected": len(NAMES)}


def test_a_photo_of_the_same_size_and_time_is_read(photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time at which its inode changed tells."""
    first, before = photos / "0.png", (photos / "0.png").stat()
    content = bytearray(first.read_bytes())
    content[-5] ^= 1  # in the checksum of the last chunk, which is not read
    first.write_bytes(content)
    os.utime(first, ns=(before.st_atime_ns, before.st_mtime_ns))
    digest = lines_of(out)[0]["source_sha256"]
    found, _ = opened(monkeypatch, photos, out)
    assert "photos/0.png" in found
    assert lines_of(out)[0]["source_sha256"] != digest


def test_a_damaged_result_is_written_again(photos: Path, out: Path) -> None:
    reference, before = files_of(out), (out / "1.png").stat()
    content = bytearray(reference["1.png"])
    content[len(content) // 2] ^= 1
    (out / "1.png").write_bytes(content)
    os.utime(out / "1.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    protect(photos, out)
    assert files_of(out) == reference


def test_a_link_to_a_result_is_none(photos: Path, out: Path, tmp_path: Path) -> None:
    (out / "1.png").rename(tmp_path / "elsewhere.png")
    (out / "1.png").symlink_to(tmp_path / "elsewhere.png")
    protect(photos, out)
    assert not (out / "1.png").is_symlink()


def test_checksum_reads_all_again(photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [(out / name).stat().st_size for name in (SOURCES, RESULTS)]
    found, _ = opened(monkeypatch, photos, out, results=LocalStore(out, checksum=True))
    assert found == both(NAMES)
    assert [(out / name).stat().st_size for name in (SOURCES, RESULTS)] == sizes  # known already


def test_what_has_just_changed_is_not_known(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A further change in the same tick of the clock would leave the times as they are."""
    monkeypatch.setattr(stamps_module, "RECENT", 3600.0)
    assert stamp_of(photos / "0.png") is None
    out = tmp_path / "out"
    protect(photos, out)
    assert not (out / SOURCES).exists()
    assert not (out / RESULTS).exists()
    assert opened(monkeypatch, photos, out)[0] == both(NAMES)


def test_the_stamp_is_of_what_was_read(photos: Path, tmp_path: Path) -> None:
    """A photo that changes while it is read is read again."""
    path = photos / "0.png"
    store = LocalStore(tmp_path)
    with store.lock(photos=1, offset=0):
        before = stamp_of(path)
        assert store.sources.sha256("0.png", path) == store.sources.sha256("0.png", path)
        path.write_bytes(b"other")
        assert stamp_of(path) != before
        assert store.sources.get("0.png", stamp_of(path)) is None


def test_nothing_is_kept_without_the_lock(photos: Path, out: Path) -> None:
    (out / SOURCES).unlink()
    store = LocalStore(out)
    store.sources.sha256("0.png", photos / "0.png")
    store.holds("0.png", None)
    assert not (out / SOURCES).exists()


def test_the_last_line_of_a_name_counts(tmp_path: Path) -> None:
    stamps = Stamps(tmp_path / SOURCES)
    stamps.writable = True
    first, second = Known("a", "1", "x", (1, 2, 3)), Known("a", "2", "y")
    for known in (first, Known("b", "1", "z"), second, second):
        stamps.add(known)
    stamps.add(Known("\udcff", "1", "z"))  # a name that is no Unicode is not kept
    for reader in (stamps, Stamps(tmp_path / SOURCES)):
        assert reader.get("a", "2") == second
        assert reader.get("a", "1") is None
        assert reader.get("a", None) is None
        assert reader.get("\udcff", "1") is None
    assert (tmp_path / SOURCES).read_bytes().count(b"\n") == 3
    assert Stamps(tmp_path / SOURCES, trusted=False).get("a", "2") is None
