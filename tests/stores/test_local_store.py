from pathlib import Path

import pytest

from onlymymodel.data.manifest import sha256
from onlymymodel.data.stores.store import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    (tmp_path / "out").mkdir()
    return LocalStore(tmp_path / "out")


def test_a_written_file_is_read_held_listed_and_removed(store: LocalStore, tmp_path: Path) -> None:
    original = tmp_path / "photos" / "trip" / "a.jpg"
    original.parent.mkdir(parents=True, mode=0o750)
    original.touch(0o640)
    store.write("trip/a.png", b"photo", original)
    assert store.read("trip/a.png", 5) == b"photo"
    assert store.holds("trip/a.png", sha256(b"photo"))
    assert not store.holds("trip/a.png", sha256(b"other"))
    assert not store.holds("trip/b.png", None)
    assert list(store.names()) == ["trip/a.png"]
    assert (store.records / "trip").stat().st_mode & 0o777 == 0o750
    assert (store.records / "trip" / "a.png").stat().st_mode & 0o777 == 0o640
    with pytest.raises(OSError, match="limit is 4"):
        store.read("trip/a.png", 4)
    store.remove("trip/a.png")
    store.remove("trip/a.png")
    assert list(store.names()) == []


def test_a_link_is_neither_read_nor_written_through(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "a.png").write_bytes(b"photo")
    (store.records / "trip").symlink_to(tmp_path / "private")
    assert not store.holds("trip/a.png", sha256(b"photo"))
    for act in (
        lambda: store.check("trip/a.png"),
        lambda: store.read("trip/a.png", 9),
        lambda: store.remove("trip/a.png"),
        lambda: store.write("trip/a.png", b"", tmp_path / "a.png"),
    ):
        with pytest.raises(OSError, match="symbolic link"):
            act()
    assert (tmp_path / "private" / "a.png").read_bytes() == b"photo"
