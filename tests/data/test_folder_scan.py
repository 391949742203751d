"""Scanning real folder trees, and the checks of a destination."""

import contextlib
import os
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from patience import PATIENCE

from onlymymodel.data.folder import Entry, check_destination, scan
from onlymymodel.errors import UserError


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def summary(entries: list[Entry]) -> list[tuple[str, str | None, str, str | None]]:
    return [
        (str(entry.relative), str(entry.output) if entry.output else None, entry.status, entry.reason)
        for entry in entries
    ]


def refusal(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        scan(root)
    return str(caught.value)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that other users can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Act as a user for whom permissions count, even where the tests run as root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_every_kind_of_name_has_its_status(tmp_path: Path) -> None:
    make(
        tmp_path, "b.JPG", "a.tiff", "sub/c.v2.webp", "sub/deep/d.jpe", "notes.txt", "README", ".hidden.png",
        ".git/e.png", "folder.png/f.bmp", "Z.png",
    )  # fmt: skip
    (tmp_path / "link.png").symlink_to(tmp_path / "a.tiff")
    (tmp_path / "linked").symlink_to(tmp_path / "sub")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    assert summary(scan(tmp_path)) == [
        (".git", None, "not-a-photo", "a hidden folder"),
        (".hidden.png", None, "not-a-photo", "a hidden file"),
        ("README", None, "not-a-photo", "not a picture"),
        ("Z.png", "Z.png", "photo", None),
        ("a.tiff", "a.png", "photo", None),
        ("b.JPG", "b.png", "photo", None),
        ("broken", None, "refused", "a symbolic link"),
        ("folder.png", None, "refused", "a folder, not a photo"),
        ("folder.png/f.bmp", "folder.png/f.png", "photo", None),
        ("link.png", None, "refused", "a symbolic link"),
        ("linked", None, "refused", "a symbolic link"),
        ("notes.txt", None, "not-a-photo", "not a picture"),
        ("pipe.png", None, "refused", "not a regular file"),
        ("sub/c.v2.webp", "sub/c.v2.png", "photo", None),
        ("sub/deep/d.jpe", "sub/deep/d.png", "photo", None),
    ]


def test_order_is_by_parts_and_paths_can_be_read(tmp_path: Path) -> None:
    make(tmp_path, "a/x.png", "a-b.png", "a.png")  # as text, "-" sorts before "/"
    entries = scan(tmp_path)
    assert [str(entry.relative) for entry in entries] == ["a/x.png", "a-b.png", "a.png"]
    assert all(entry.path == tmp_path / entry.relative and entry.path.is_file() for entry in entries)


def test_other_output_suffix_and_single_files(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "notes.txt")
    assert [entry.output for entry in scan(tmp_path, ".webp")] == [PurePosixPath("a.webp"), None]
    assert scan(tmp_path / "a.jpg") == [
        Entry(PurePosixPath("a.jpg"), tmp_path / "a.jpg", PurePosixPath("a.png"), "photo", None)
    ]
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")  # named by the user, so meant
    assert scan(tmp_path / "b.jpg")[0].status == "photo"


def test_source_without_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert refusal(tmp_path / "gone") == f"{tmp_path / 'gone'} does not exist: name a folder of photos, or one photo."
    assert refusal(tmp_path / "fotos") == f"{tmp_path / 'fotos'} does not exist; did you mean 'photos'?"
    assert refusal(tmp_path) == f"{tmp_path} is empty: name a folder of photos, or one photo."
    make(tmp_path, "notes.txt")
    assert refusal(tmp_path) == (f"{tmp_path} has no photo to work on; it has 1 other file: notes.txt (not a picture).")
    assert "notes.txt (not a picture)" in refusal(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("names", "clash"),
    [
        (("a.jpg", "a.png", "b.png"), "a.jpg and a.png"),
        (("sub/a.jpg", "sub/A.png"), "sub/A.png and sub/a.jpg"),
        (("Sub/a.jpg", "sub/a.jpg"), "Sub/a.jpg and sub/a.jpg"),
        (("straße.png", "STRASSE.png"), "STRASSE.png and straße.png"),
        (("é.png", unicodedata.normalize("NFD", "é.png")), "e\u0301.png and é.png"),
        (("a.jpg", "a.png/b.jpg"), "a.jpg and a folder"),
    ],
)
def test_colliding_outputs_are_refused(tmp_path: Path, names: tuple[str, ...], clash: str) -> None:
    assert refusal(make(tmp_path, *names)) == (
        f"1 output name would be used twice; rename the photos or --exclude some: {clash}."
    )


def test_first_ten_clashes_and_their_count(tmp_path: Path) -> None:
    message = refusal(make(tmp_path, *[f"{i:02}.{suffix}" for i in range(12) for suffix in ("bmp", "png")]))
    assert message.startswith("12 output names")
    assert "09.bmp and 09.png; ..." in message
    assert "10.bmp" not in message


def test_a_name_that_is_not_utf_8_keeps_its_bytes(tmp_path: Path) -> None:
    make(tmp_path, os.fsdecode(b"\xff.jpg"))
    assert [os.fsencode(str(entry.output)) for entry in scan(tmp_path)] == [b"\xff.png"]


def test_unreadable_folder_does_not_stop_the_walk(open_folder: Path) -> None:
    make(open_folder, "a.png", "locked/b.png", "z/c.png")
    (open_folder / "locked").chmod(0o000)
    with ordinary_user():
        entries = scan(open_folder)
    (open_folder / "locked").chmod(0o755)
    assert summary(entries) == [
        ("a.png", "a.png", "photo", None),
        ("locked", None, "refused", "cannot be read: Permission denied"),
        ("z/c.png", "z/c.png", "photo", None),
    ]


def test_unreadable_source(open_folder: Path) -> None:
    make(open_folder, "locked/b.png")
    (open_folder / "locked").chmod(0o000)
    with ordinary_user():
        assert refusal(open_folder / "locked").endswith("locked cannot be read: Permission denied.")
    (open_folder / "locked").chmod(0o755)


@pytest.mark.slow
def test_time_is_linear_in_files(tmp_path: Path) -> None:
    for folder in range(20):
        make(tmp_path, *[f"{folder}/{i}.jpg" for i in range(500)])
    began = time.perf_counter()
    assert len(scan(tmp_path)) == 10_000
    assert time.perf_counter() - began < PATIENCE  # comparing all pairs would take minutes


def test_writable_destinations_are_accepted(tmp_path: Path) -> None:
    source = make(tmp_path / "in", "a.png")
    for out in (tmp_path / "out", tmp_path / "new" / "deep", tmp_path / "in-2"):
        check_destination(source, out)
        assert list(out.iterdir()) == []
    check_destination(source / "a.png", tmp_path / "out")


def test_destination_and_source_must_not_overlap(tmp_path: Path) -> None:
    source = make(tmp_path / "in", "sub/a.png")
    (tmp_path / "link").symlink_to(source)
    for out in (source, source / "sub", source / "new" / "deep", tmp_path / "link", tmp_path / "link" / "x"):
        with pytest.raises(UserError, match="is, or is inside, the source"):
            check_destination(source, out)
        with pytest.raises(UserError, match="is, or is inside, the source"):
            check_destination(tmp_path / "link", out)
    with pytest.raises(UserError, match="is inside the output folder"):
        check_destination(source, tmp_path)
    with pytest.raises(UserError, match="is inside the output folder"):
        check_destination(source / "sub" / "a.png", source)
    assert not (source / "new").exists()


def test_unwritable_destination_is_refused(tmp_path: Path, open_folder: Path) -> None:
    source = make(tmp_path / "in", "a.png")
    make(tmp_path, "file")
    with pytest.raises(UserError, match="is a file; it must be a folder"):
        check_destination(source, tmp_path / "file")
    with pytest.raises(UserError, match="cannot be written to: Not a directory"):
        check_destination(source, tmp_path / "file" / "below")
    inside = make(open_folder / "in", "a.png")
    for name, out in (("locked", "locked"), ("locked", "locked/new")):
        (open_folder / name).mkdir(exist_ok=True)
        (open_folder / name).chmod(0o555)
        with ordinary_user(), pytest.raises(UserError, match="cannot be written to: Permission denied"):
            check_destination(inside, open_folder / out)
