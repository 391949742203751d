"""No copy of the unprotected picture leaves in the metadata of a written file, whatever its encoding and its place."""

import base64
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from picture_scan import LEAK, leaked, metadata_of
from PIL import Image

from onlymymodel.data.image_io import PhotoError, decode, encode
from onlymymodel.data.portraits import render

PHOTO = render(identity=3, emotion=2, seed=5, size=96)[:64]
PREVIEW = np.asarray(Image.fromarray(PHOTO).resize((48, 32), Image.Resampling.BOX))


def coded(pixels: NDArray[np.uint8], format: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, **options)
    return out.getvalue()


def with_exif(exif: bytes, format: str = "JPEG") -> bytes:
    return coded(PHOTO, format, exif=b"Exif\0\0" + exif)


JPEG = coded(PREVIEW, "JPEG")
BARE = JPEG[JPEG.index(b"\xff\xda") + 14 :]  # the coded pixels alone
ENCODINGS: dict[str, bytes] = {
    "JPEG": JPEG,
    "JPEG without its first bytes": JPEG[2:],
    "JPEG with other first bytes": b"\x00\x01" + JPEG[2:],
    "JPEG with bytes between its markers": JPEG[:2] + b"\xff\xff" + JPEG[2:],
    "bare scan": BARE,
    "PNG": coded(PREVIEW, "PNG"),
    "PNG without its signature": coded(PREVIEW, "PNG")[8:],
    "WebP": coded(PREVIEW, "WEBP"),
    "GIF": coded(PREVIEW, "GIF"),
    "base64": base64.b64encode(coded(PREVIEW, "WEBP")),
    "base64 in lines": base64.encodebytes(coded(PREVIEW, "WEBP")),
    "hexadecimal": coded(PREVIEW, "WEBP").hex().encode(),
    "raw pixels": PREVIEW.tobytes(),
}
# tag, EXIF type, and the tag of the directory that holds it (0: the first)
PLACES = {
    "MakerNote": (0x927C, 7, 0x8769),
    "UserComment": (0x9286, 7, 0x8769),
    "CFAPattern": (0xA302, 7, 0x8769),
    "unknown entry": (0xC001, 7, 0x8769),
    "PrintIM": (0xC4A5, 7, 0),
    "ImageDescription": (0x010E, 2, 0),
    "XPComment": (0x9C9C, 1, 0),
    "Software of numbers": (0x0131, 3, 0),
    "GPSProcessingMethod": (0x001B, 7, 0x8825),
    "InteropIndex": (0x0001, 2, 0xA005),
}


def block(tag: int, kind: int, parent: int, content: bytes) -> bytes:
    """Return an EXIF block with a camera's name, and `content` as one more entry."""
    if kind == 3:
        content = content[: len(content) // 2 * 2]
    entry = (tag, kind, len(content) // (2 if kind == 3 else 1))
    head, make = b"II*\0" + struct.pack("<I", 8), struct.pack("<HHI4s", 0x010F, 2, 4, b"Cam\0")
    if parent == 0:
        return head + struct.pack("<H", 2) + make + struct.pack("<HHII4x", *entry, 38) + content
    chain = [0x8769, parent] if parent == 0xA005 else [parent]
    data, at = head + struct.pack("<H", 2) + make, 38
    for index, pointer in enumerate(chain):
        data += struct.pack("<HHII4x", pointer, 4, 1, at) + struct.pack("<H", 1)
        at += 18
        del index
    return data + struct.pack("<HHII4x", *entry, at) + content


def thumbnail_directory(*tags: int, following: int = 1, content: bytes = b"") -> bytes:
    """Return a block whose directory number `following` points to `content` by the tags of an offset and a length."""
    data, at = b"II*\0" + struct.pack("<I", 8), 8
    for _ in range(following):
        at += 6
        data += struct.pack("<HI", 0, at)
    where = at + 2 + 12 * 2 + 4
    data += struct.pack("<HHHIIHHII4x", 2, tags[0], 4, 1, where, tags[1], 4, 1, len(content))
    return data + content


def written_metadata(source: bytes, format: str, **options: str) -> bytes:
    photo = decode(source, **options)  # type: ignore[arg-type]
    return metadata_of(encode(photo.pixels ^ 1, like=photo, format=format))  # type: ignore[arg-type]


def check(source: bytes, hidden: bytes) -> None:
    """Check that a picture is found in the hidden bytes of a file, and none in what is written for that file."""
    assert leaked(hidden, PHOTO) > LEAK, "the scan must see the picture where it is"
    for format in ("png", "webp"):
        assert leaked(written_metadata(source, format), PHOTO) < LEAK


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.slow
def test_no_encoding_of_the_picture_survives_in_a_maker_note(encoding: str) -> None:
    exif = block(*PLACES["MakerNote"], ENCODINGS[encoding])
    check(with_exif(exif), exif)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("encoding", ["WebP", "base64 in lines"])
@pytest.mark.slow
def test_no_entry_of_exif_carries_the_picture(place: str, encoding: str) -> None:
    exif = block(*PLACES[place], ENCODINGS[encoding])
    check(with_exif(exif, "PNG"), exif)
    photo = decode(with_exif(exif, "PNG"))
    assert photo.exif is not None
    assert b"Cam\0" in photo.exif


@pytest.mark.parametrize(
    "exif",
    [
        thumbnail_directory(0x0201, 0x0202, content=JPEG),
        thumbnail_directory(0x0111, 0x0117, content=PREVIEW.tobytes()),
        thumbnail_directory(0x0111, 0x0117, following=2, content=PREVIEW.tobytes()),
        block(0x014A, 4, 0, struct.pack("<I", 38)) + JPEG,
        b"II*\0" + struct.pack("<IHI", 8, 0, 0) + JPEG,  # behind the directories
        b"II*\0" + struct.pack("<I", 8 + len(JPEG)) + JPEG + struct.pack("<HI", 0, 0),  # before them
    ],
    ids=["thumbnail", "strips", "strips in a third directory", "SubIFDs", "behind", "before"],
)
@pytest.mark.slow
def test_no_other_directory_and_no_gap_of_exif_carries_the_picture(exif: bytes) -> None:
    check(with_exif(exif), exif)


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


PLAIN = coded(PHOTO, "JPEG")
PLAIN_PNG = coded(PHOTO, "PNG")
IN_JPEG: dict[str, Callable[[bytes], bytes]] = {
    "JFXX": lambda hidden: PLAIN[:2] + segment(0xE0, b"JFXX\0\x10" + hidden) + PLAIN[2:],
    "XMP": lambda hidden: PLAIN[:2] + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + hidden) + PLAIN[2:],
    "a gain map": lambda hidden: PLAIN[:2] + segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + hidden) + PLAIN[2:],
    "C2PA": lambda hidden: PLAIN[:2] + segment(0xEB, b"JP\0\0" + hidden) + PLAIN[2:],
    "IPTC and Photoshop": lambda hidden: PLAIN[:2] + segment(0xED, b"Photoshop 3.0\x008BIM" + hidden) + PLAIN[2:],
    "APP7": lambda hidden: PLAIN[:2] + segment(0xE7, hidden) + PLAIN[2:],
    "the JPEG comment": lambda hidden: PLAIN[:2] + segment(0xFE, hidden) + PLAIN[2:],
    "data after the end": lambda hidden: PLAIN + hidden,
}
IN_PNG: dict[str, Callable[[bytes], bytes]] = {
    "PNG text": lambda hidden: PLAIN_PNG[:33] + chunk(b"tEXt", b"Comment\0" + hidden) + PLAIN_PNG[33:],
    "XMP": lambda hidden: PLAIN_PNG[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + hidden) + PLAIN_PNG[33:],
    "C2PA": lambda hidden: PLAIN_PNG[:33] + chunk(b"caBX", hidden) + PLAIN_PNG[33:],
    "PNG chunk prVW": lambda hidden: PLAIN_PNG[:33] + chunk(b"prVW", hidden) + PLAIN_PNG[33:],
    "data after the end": lambda hidden: PLAIN_PNG + hidden,
}


def in_webp(name: bytes) -> Callable[[bytes], bytes]:
    def build(hidden: bytes) -> bytes:
        plain = coded(PHOTO, "WEBP", lossless=True, exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0")
        added = name + struct.pack("<I", len(hidden)) + hidden + bytes(len(hidden) % 2)
        return b"RIFF" + struct.pack("<I", len(plain) - 8 + len(added)) + plain[8:] + added

    return build


IN_WEBP = {"XMP": in_webp(b"XMP "), "C2PA": in_webp(b"C2PA"), "WebP chunk prvw": in_webp(b"prvw")}


@pytest.mark.parametrize(
    ("name", "build"), [*IN_JPEG.items(), *IN_PNG.items(), *IN_WEBP.items()]
)  # fmt: skip
def test_other_parts_of_a_file_are_dropped_and_named(name: str, build: Callable[[bytes], bytes]) -> None:
    source = build(JPEG)
    assert any(name in note and note.endswith("was not carried over") for note in decode(source).notes)
    assert not any("was not carried over" in note for note in decode(PLAIN).notes + decode(PLAIN_PNG).notes)
    check(source, JPEG)


def test_a_photo_keeps_who_when_where_and_how() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x013B], exif[0x8298] = "Camera maker", "Ada", "(c) Ada, https://example.org/licence"
    camera, position = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    camera[0x9003], camera[0x829A], camera[0xA432], camera[0x9286] = "2024:01:02 03:04:05", 0.01, (24.0,) * 4, b"x" * 99
    position[2], position[0x1D] = (52.0, 31.0, 12.0), "2024:01:02"
    source = coded(PHOTO, "JPEG", exif=exif)

    def kept(metadata: str) -> Image.Exif:
        read = Image.Exif()
        photo = decode(source, metadata=metadata)  # type: ignore[arg-type]
        assert (photo.exif is None) == (metadata == "none")
        read.load(photo.exif or b"")
        return read

    for metadata in ("keep", "no-location"):
        read = kept(metadata)
        assert (read[0x010F], read[0x013B], read[0x8298]) == (exif[0x010F], exif[0x013B], exif[0x8298])
        assert read.get_ifd(0x8769) == {key: camera[key] for key in (0x9003, 0x829A, 0xA432)}
        assert read.get_ifd(0x8825) == (position if metadata == "keep" else {})
    assert dict(kept("none")) == {}
    assert decode(source, metadata="none").notes == ()
    assert decode(source).notes == ("dropped from EXIF, since it may hold the unprotected photo: UserComment",)


def test_a_maker_note_is_kept_on_request_with_a_warning() -> None:
    source = with_exif(block(*PLACES["MakerNote"], b"ACME" + bytes(range(99))))
    photo = decode(source, keep_makernotes=True)
    assert photo.exif is not None
    assert b"ACME" + bytes(range(99)) in photo.exif
    assert photo.notes == ("warning: the maker note was kept, and may hold the unprotected photo or the place",)
    assert decode(encode(photo.pixels, like=photo), keep_makernotes=True).exif == photo.exif
    without = decode(source)
    assert b"ACME" not in (without.exif or b"")
    assert without.notes == ("dropped from EXIF, since it may hold the unprotected photo: MakerNote",)
    nothing = decode(source, metadata="none", keep_makernotes=True)
    assert (nothing.exif, nothing.notes) == (None, ())


@pytest.mark.slow
def test_no_file_of_the_shared_cases_leaks(cases: Path) -> None:
    unread = []
    for path in sorted(cases.iterdir()):
        if path.suffix in (".md", ".csv"):
            continue
        try:
            photo = decode(path.read_bytes())
        except PhotoError:
            unread.append(path.name)
            continue
        for format in ("png", "webp"):
            metadata = metadata_of(encode(photo.pixels ^ 1, like=photo, format=format))  # type: ignore[arg-type]
            assert leaked(metadata, photo.pixels) < LEAK, path.name
            assert len(photo.exif or b"") <= 26, path.name  # room for an orientation, and for nothing else
    assert unread == ["g_hevc.jpg"]  # 424 bytes without pixels
