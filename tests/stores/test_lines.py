"""Lines in a store survive a kill between any two requests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from onlymymodel.data.stores import lines as stored_lines
from onlymymodel.data.stores.lines import RemoteLines
from onlymymodel.data.stores.remote import RemoteFolder, open_remote

NAME, LINES = "manifest.jsonl", 8


class Killed(BaseException):
    """Ends a run as a kill does."""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteFolder]:
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setattr(stored_lines, "JOINED", 3)
    yield open_remote("memory://bucket/out")
    MemoryFileSystem.store.clear()


def lines(folder: RemoteFolder, place: Path) -> RemoteLines:
    place.mkdir()
    found = RemoteLines(folder, NAME, place / NAME)
    found.load()
    return found


def write(folder: RemoteFolder, place: Path, saved: list[bytes]) -> None:
    """Write all lines that are missing, as a run does; `saved` has those whose `save` has returned."""
    found = lines(folder, place)
    present = found.path.read_bytes().splitlines() if found.path.exists() else []
    for number in range(LINES):
        line = b"%d" % number
        if line not in present:
            with found.path.open("ab") as copy:
                copy.write(line + b"\n")
            found.save()
            saved.append(line)
    # as `drop_superseded` does
    found.path.write_bytes(b"".join(line + b"\n" for line in dict.fromkeys(found.path.read_bytes().splitlines())))
    found.finish()


def test_a_run_that_is_killed_after_any_request_has_lost_no_saved_line(
    folder: RemoteFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [b"%d" % number for number in range(LINES)]
    kills = 0
    while True:
        allowed, saved = kills, list[bytes]()
        with monkeypatch.context() as patch:
            for name in ("put", "upload", "remove"):
                method = getattr(RemoteFolder, name)

                def counted(*words: object, act: object = method) -> object:
                    nonlocal allowed
                    allowed -= 1
                    if allowed < 0:
                        raise Killed
                    assert callable(act)
                    return act(*words)

                patch.setattr(RemoteFolder, name, counted)
            try:
                write(folder, tmp_path / f"killed-{kills}", saved)
                break
            except Killed:
                kills += 1
        found = lines(folder, tmp_path / f"after-{kills}").path
        assert set(saved) <= set(found.read_bytes().splitlines() if found.exists() else [])
        write(folder, tmp_path / f"resumed-{kills}", [])
        assert folder.file(NAME).read_all().splitlines() == expected
        assert [file.key for file in folder.files()] == [NAME]
        folder.client.store.clear()
    assert kills > 2 * LINES
    assert folder.file(NAME).read_all().splitlines() == expected


def test_lines_that_do_not_change_are_not_written_again(folder: RemoteFolder, tmp_path: Path) -> None:
    write(folder, tmp_path / "first", [])
    before = folder.file(NAME).stamp
    write(folder, tmp_path / "second", [])
    assert folder.file(NAME).stamp == before
