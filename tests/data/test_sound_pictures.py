"""Sound pictures that strict readers refuse: long or damaged descriptions in PNG, a missing end marker in JPEG."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from onlymymodel.data.image_io import Header, PhotoError, decode, probe
from onlymymodel.data.portraits import render

PIXELS = render(identity=2, emotion=3, seed=4, size=80)[:56]


def coded(format: str, pixels: NDArray[np.uint8] = PIXELS, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, **options)
    return out.getvalue()


def chunk(name: bytes, content: bytes, *, sound: bool = True) -> bytes:
    return (
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content) ^ (not sound))
    )


def png(*chunks: bytes, late: bool = False) -> bytes:
    data = coded("PNG")
    at = len(data) - 12 if late else 33
    return data[:at] + b"".join(chunks) + data[at:]


ORIENTATION = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("added", "notes"),
    [
        (chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(40 << 20))), ("PNG text was not carried over",)),
        (chunk(b"iTXt", b"prompt\0\0\0\0\0" + bytes(3 << 20)), ("PNG text was not carried over",)),
        (chunk(b"tEXt", b"Comment\0hello", sound=False), ("PNG text was not carried over",)),
        (chunk(b"zTXt", b"Comment\0\0rubbish"), ("PNG text was not carried over",)),
        (chunk(b"tIME", b"", sound=False), ()),
        (chunk(b"pHYs", b"123"), ()),
        (chunk(b"gAMA", b"\0\0\0\1", sound=False), ("PNG chunk gAMA (wrong checksum) was not carried over",)),
        (chunk(b"eXIf", ORIENTATION, sound=False), ("PNG chunk eXIf (wrong checksum) was not carried over",)),
        (chunk(b"prVt", bytes(9)), ("PNG chunk prVt was not carried over",)),
    ],
)
def test_descriptions_in_a_png_do_not_spoil_its_pixels(
    added: bytes, notes: tuple[str, ...], late: bool, tmp_path: Path
) -> None:
    data = png(added, late=late)
    photo = decode(data)
    assert np.array_equal(photo.pixels, PIXELS)
    assert photo.notes == notes
    (tmp_path / "photo").write_bytes(data)
    assert probe(tmp_path / "photo") == Header(80, 56, 3)


def test_only_some_of_very_many_parts_are_named() -> None:
    names = [bytes((97 + i // 17576 % 26, 97 + i // 676 % 26, 65 + i // 26 % 26, 97 + i % 26)) for i in range(100_000)]
    photo = decode(png(b"".join(chunk(name, b"") for name in names)))
    assert photo.notes[9:] == ("PNG chunk aaAj was not carried over", "99990 other parts were not carried over")


def test_what_the_pixels_of_a_png_need_must_be_sound() -> None:
    data = coded("PNG")
    for damaged in (data[:-12], data[:-1], data[:29] + b"\0\0\0\0" + data[33:], data[:33] + data[-12:]):
        with pytest.raises(PhotoError):
            decode(damaged)


def variants() -> list[bytes]:
    """Return a JPEG in every way that Pillow can code one."""
    gray = PIXELS[..., 0].copy()
    options: list[dict[str, Any]] = [
        {}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}, {"optimize": True}, {"quality": 30},
    ]  # fmt: skip
    return [coded("JPEG", pixels, **option) for option in options for pixels in (PIXELS, gray)]


def test_a_jpeg_is_read_without_its_end_marker_only_if_no_pixel_is_missing() -> None:
    for data in variants():
        whole = decode(data).pixels
        scans = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
        ends = [at + shift for at in scans for shift in (-40, 0, 14)]
        for end in {*range(len(data) - 60, len(data) - 2), *ends}:
            with pytest.raises(PhotoError, match="damaged"):
                decode(data[:end])
        for end in (len(data) - 1, len(data) - 2):
            photo = decode(data[:end])
            assert np.array_equal(photo.pixels, whole)
            assert photo.notes == ("its end marker is missing, but no pixel is",)


def test_an_empty_area_at_the_end_of_a_jpeg_is_not_taken_for_missing_pixels() -> None:
    """A decoder fills what is missing with the last color, which must not be taken for the picture."""
    pixels = PIXELS.copy()
    pixels[20:] = 128
    data = coded("JPEG", pixels)
    start = data.index(b"\xff\xda") + 14
    for end in range(start + (len(data) - start) // 2, len(data) - 2):
        try:
            photo = decode(data[:end])
        except PhotoError:
            continue
        assert np.array_equal(photo.pixels, decode(data).pixels)


def test_the_shared_cases_are_read(cases: Path) -> None:
    for name in ("big_icc.png", "big_ztxt.png", "b_badcrc_text.png", "a_noeoi_at_end.jpg"):
        photo = decode((cases / name).read_bytes())
        assert photo.pixels.shape == (64, 96, 3)
        assert len(photo.notes) == 1
    turned = decode((cases / "orient6_ifd_count_too_big.jpg").read_bytes())
    assert turned.pixels.shape == (96, 64, 3)
    assert turned.notes[0] == "turned upright (orientation 6)"
