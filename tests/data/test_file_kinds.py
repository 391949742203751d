"""Files of a folder are sorted by their content: no picture is passed over in silence."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from onlymymodel.data import opened_image
from onlymymodel.data.folder import scan
from onlymymodel.data.portraits import render

PICTURE = Image.fromarray(render(identity=1, emotion=1, seed=1, size=32))
HEIC_HEAD = b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic"


def coded(format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    PICTURE.save(out, format, **options)
    return out.getvalue()


def statuses(root: Path, files: dict[str, bytes], *exclude: str) -> dict[str, tuple[str, str | None]]:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return {str(entry.relative): (entry.status, entry.reason) for entry in scan(root, exclude=exclude)}


def test_photos_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    files = {
        "a.jfif": coded("JPEG"), "b.HEIC": coded("JPEG"), "c.txt": coded("PNG"), "d": coded("WEBP"),
        "e.avif": coded("AVIF"), "f.gif": coded("GIF"), "g.dat": coded("BMP"), "h.old": coded("TIFF"),
    }  # fmt: skip
    assert statuses(tmp_path, files) == dict.fromkeys(files, ("photo", None))


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.jxl", b"\xff\x0a" + bytes(60), "not a supported format (JPEG XL)"),
        ("a.jpg", b"\xff\x0a" + bytes(60), "not a supported format (JPEG XL)"),
        ("a", b"\x00\x00\x00\x0cJXL \r\n\x87\n", "not a supported format (JPEG XL)"),
        ("a.cr2", b"II*\x00\x10\x00\x00\x00CR\x02\x00", "not a supported format (camera RAW)"),
        ("a.CR3", b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom", "not a supported format (camera RAW)"),
        ("a.NEF", b"MM\x00*\x00\x00\x00\x08", "not a supported format (camera RAW)"),
        ("a.dng", coded("TIFF"), "not a supported format (camera RAW)"),
        ("a.raf", b"FUJIFILMCCD-RAW 0201", "not a supported format (camera RAW)"),
        ("a.jp2", coded("JPEG2000"), "not a supported format (JPEG 2000)"),
        ("a.psd", b"8BPS\x00\x01" + bytes(60), "not a supported format (Photoshop)"),
        ("a.tga", bytes(60), "named like a picture (.tga), but of no known format"),
        ("a.jpg", b"\x00\x00\x00\x18ftypisom" + bytes(60), "not a supported format (video)"),
    ],
)
def test_pictures_that_are_not_read_are_refused_with_a_reason(
    name: str, data: bytes, reason: str, tmp_path: Path
) -> None:
    assert statuses(tmp_path, {name: data, "z.png": coded("PNG")})[name] == ("refused", reason)


def test_results_of_photos_with_odd_names_and_of_pairs_do_not_clash(tmp_path: Path) -> None:
    files = {"scan.001": coded("PNG"), "scan.002": coded("PNG"), "IMG_1.NEF": coded("TIFF"), "IMG_1.JPG": coded("JPEG")}
    statuses(tmp_path, files)
    outputs = {str(entry.relative): entry.output and str(entry.output) for entry in scan(tmp_path)}
    assert outputs == {
        "scan.001": "scan.001.png", "scan.002": "scan.002.png", "IMG_1.NEF": None, "IMG_1.JPG": "IMG_1.png",
    }  # fmt: skip


def test_without_pillow_heif_the_reason_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"a.heic": HEIC_HEAD + bytes(40), "b.jpg": HEIC_HEAD + bytes(40), "a.jpg": coded("JPEG")}
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    opened_image.register_heif.cache_clear()
    refused = ("refused", "HEIC needs pillow-heif: pip install 'onlymymodel[heif]'")
    try:
        assert statuses(tmp_path, files) == {"a.heic": refused, "b.jpg": refused, "a.jpg": ("photo", None)}
    finally:
        opened_image.register_heif.cache_clear()


def test_other_files_are_no_pictures(tmp_path: Path) -> None:
    files = {
        "notes.txt": b"some text", "a.mp4": b"\x00\x00\x00\x18ftypisom" + bytes(60), "a.pdf": b"%PDF-1.7", "empty": b"",
        "BMP": b"BM is short for bitmap", "labels.csv": b"file,label\n",
    }  # fmt: skip
    found = statuses(tmp_path, {**files, "z.png": coded("PNG")})
    assert {name: found[name] for name in files} == dict.fromkeys(files, ("not-a-photo", "not a picture"))


def test_folders_of_systems_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    photo = coded("PNG")
    names = ("@eaDir/a/1.png", ".thumbnails/a.png", "__MACOSX/._b.png", "b/._c.png", "$RECYCLE.BIN/d.png", "b/c.png")
    found = statuses(tmp_path, dict.fromkeys(names, photo))
    assert found == {
        "$RECYCLE.BIN": ("not-a-photo", "a system folder"),
        ".thumbnails": ("not-a-photo", "a hidden folder"),
        "@eaDir": ("not-a-photo", "a system folder"),
        "__MACOSX": ("not-a-photo", "a system folder"),
        "b/._c.png": ("not-a-photo", "a hidden file"),
        "b/c.png": ("photo", None),
    }


def test_excluded_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    photo = coded("PNG")
    names = ("a.png", "b.PNG", "drafts/c.png", "x/drafts/d.png", "x/y/e.png", "x/y/f_small.png", "y/e.png")
    found = statuses(tmp_path, dict.fromkeys(names, photo), "drafts", "*_small.*", "x/y/e.*")
    photos = [name for name, (status, _) in found.items() if status == "photo"]
    assert photos == ["a.png", "b.PNG", "y/e.png"]
    assert {name: reason for name, (status, reason) in found.items() if status != "photo"} == {
        "drafts": "excluded by drafts",
        "x/drafts": "excluded by drafts",
        "x/y/e.png": "excluded by x/y/e.*",
        "x/y/f_small.png": "excluded by *_small.*",
    }
