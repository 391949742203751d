"""Decoding and probing of real files."""

import io
import pickle
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, MpoImagePlugin, PngImagePlugin, TiffImagePlugin

from onlymymodel.data.image_io import Header, PhotoError, decode, probe

Pixels = NDArray[np.uint8]
LOSSLESS: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("WEBP", {"lossless": True, "exact": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("BMP", {}),
]


def noise(height: int = 20, width: int = 30, channels: int = 3, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def saved(image: Image.Image | Pixels, format: str = "PNG", **options: Any) -> bytes:
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def exif_bytes(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Camera maker", orientation
    exif.get_ifd(0x8769)[0x9003] = "2024:01:02 03:04:05"
    return exif.tobytes().removeprefix(b"Exif\x00\x00")


def same(left: Pixels | None, right: Pixels | None) -> bool:
    return np.array_equal(left, right) if left is not None and right is not None else left is right


def error(data: bytes, **options: Any) -> PhotoError:
    with pytest.raises(PhotoError) as caught:
        decode(data, **options)
    return caught.value


@pytest.fixture
def photo_file(tmp_path: Path) -> Any:
    def write(data: bytes) -> Path:
        path = tmp_path / "photo"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(("format", "options"), LOSSLESS)
def test_lossless_pixels_are_unchanged(format: str, options: dict[str, Any]) -> None:
    photo = decode(saved(noise(), format, **options))
    assert same(photo.pixels, noise())
    assert (photo.alpha, photo.exif, photo.icc, photo.notes) == (None, None, None, ())
    assert photo.source_format == format
    assert photo.pixels.flags.writeable


def test_jpeg_pixels_equal_those_of_pillow() -> None:
    data = saved(noise(), "JPEG", quality=90)
    assert same(decode(data).pixels, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(format: str, orientation: int, photo_file: Any) -> None:
    options: dict[str, Any] = {"exif": b"Exif\x00\x00" + exif_bytes(orientation)}
    if format == "TIFF":
        options = {"tiffinfo": {274: orientation}}
    data = saved(noise(), format, **({"lossless": True} if format == "WEBP" else {}), **options)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    photo = decode(data)
    assert same(photo.pixels, upright)
    assert probe(photo_file(data)) == Header(upright.shape[1], upright.shape[0], 3)
    assert photo.exif == (None if format == "TIFF" else exif_bytes(1))
    assert photo.notes == (() if orientation == 1 else (f"turned upright (orientation {orientation})",))


def test_orientation_6_by_hand() -> None:
    pixels = noise()
    photo = decode(saved(pixels, exif=exif_bytes(6)))
    assert all(same(photo.pixels[x, -1 - y], pixels[y, x]) for y in range(20) for x in range(30))


def test_orientation_turns_alpha_and_16_bit_too() -> None:
    rgba = noise(channels=4)
    photo = decode(saved(rgba, exif=exif_bytes(5)))
    assert same(photo.alpha, rgba[..., 3].T)
    wide = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    assert decode(saved(Image.fromarray(wide), "TIFF", tiffinfo={274: 8})).pixels.shape == (30, 20, 1)


def test_exif_after_the_pixels_of_a_png_is_read(photo_file: Any) -> None:
    plain, raw = saved(noise()), exif_bytes(6)
    chunk = struct.pack(">I", len(raw)) + b"eXIf" + raw + struct.pack(">I", zlib.crc32(b"eXIf" + raw))
    data = plain[:-12] + chunk + plain[-12:]
    assert decode(data).exif == exif_bytes(1)
    assert decode(data).pixels.shape == (30, 20, 3)
    assert probe(photo_file(data)) == Header(20, 30, 3)


def test_malformed_exif_is_dropped_and_noted() -> None:
    photo = decode(saved(noise(), exif=b"II*\x00\xff\xff\xff\xff"))
    assert photo.exif is None
    assert photo.notes == ("malformed EXIF was dropped: its first directory lies outside the block",)


def test_exif_of_a_tiff_is_rebuilt_from_its_tags() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x010F], tags[0x8769], tags[0x8825] = "Maker", {0x9003: "2024:01:02 03:04:05"}, {1: "N"}
    photo = decode(saved(noise(), "TIFF", tiffinfo=tags))
    assert photo.exif is not None
    exif = Image.Exif()
    exif.load(photo.exif)
    assert (exif[0x010F], exif.get_ifd(0x8769), exif.get_ifd(0x8825)) == (
        "Maker", {0x9003: "2024:01:02 03:04:05"}, {1: "N"},
    )  # fmt: skip
    assert 256 not in exif
    assert photo.notes == ("EXIF was rebuilt from the tags of the TIFF file",)


def test_dropped_metadata_is_noted() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "somebody")
    text.add_itxt("XML:com.adobe.xmp", "<x/>")
    png = decode(saved(noise(), pnginfo=text))
    assert png.notes == ("PNG text was not carried over", "XMP was not carried over")
    jpeg = decode(saved(noise(), "JPEG", comment=b"hello", xmp=b"<x/>"))
    assert jpeg.notes == ("XMP was not carried over", "the JPEG comment was not carried over")


def test_first_picture_of_an_mpo() -> None:
    first, second = Image.fromarray(noise()), Image.fromarray(noise(seed=1))
    data = saved(first, "MPO", save_all=True, append_images=[second])
    assert isinstance(Image.open(io.BytesIO(data)), MpoImagePlugin.MpoImageFile)
    photo = decode(data)
    assert same(photo.pixels, np.asarray(Image.open(io.BytesIO(data))))
    names = "an index of further pictures (MPF)", "data after the end of the picture", "a second picture (MPO)"
    assert (photo.source_format, photo.notes) == ("MPO", tuple(f"{name} was not carried over" for name in names))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (saved(noise(32, 32), "JPEG2000"), "JPEG 2000"),
        (saved(noise(32, 32), "PDF"), "PDF"),
        (b"\xff\x0a" + bytes(100), "JPEG XL"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(100), "JPEG XL"),
        (b"\x00\x00\x00\x18ftypcrx " + bytes(100), "camera RAW"),
        (b"II*\x00\x10\x00\x00\x00CR\x02\x00" + bytes(100), "camera RAW"),
        (b"FUJIFILMCCD-RAW " + bytes(100), "camera RAW"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(100), "video"),
    ],
)
def test_other_formats_are_skipped_by_name(data: bytes, name: str) -> None:
    caught = error(data)
    assert (caught.status, str(caught)) == ("skipped", f"not a supported format ({name})")


@pytest.mark.parametrize(
    ("format", "reason"), [("PNG", "an animation"), ("WEBP", "an animation"), ("TIFF", "several pages")]
)
def test_several_pictures_are_skipped(format: str, reason: str, photo_file: Any) -> None:
    frames = [Image.fromarray(noise(seed=seed)) for seed in range(2)]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:])
    assert (error(data).status, error(data).reason.split(":")[0]) == ("skipped", reason)
    with pytest.raises(PhotoError, match=reason):
        probe(photo_file(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "an empty file"),
        (b"Dear diary, this is no photo.", "not a picture, whatever its name says"),
        (b"\xff\xd8\xff", "a damaged JPEG file, or one of an unusual kind"),
        (b"RIFF\x04\x00\x00\x00WEBP", "a damaged WebP file, or one of an unusual kind"),
    ],
)
def test_broken_files_fail(data: bytes, reason: str, photo_file: Any) -> None:
    assert (error(data).status, error(data).reason) == ("failed", reason)
    with pytest.raises(PhotoError) as caught:
        probe(photo_file(data))
    assert (caught.value.status, caught.value.reason) == ("failed", reason)


def test_probe_of_a_missing_file_fails(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="cannot be read: No such file"):
        probe(tmp_path / "nothing.png")


@pytest.mark.parametrize(("format", "options"), [*LOSSLESS, ("JPEG", {}), ("JPEG", {"progressive": True})])
def test_every_truncation_fails(format: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as a careless program may have it
    data = saved(noise(16, 16), format, **options)
    missing_end = 2 if format == "JPEG" else 0
    for length in range(len(data) - missing_end):
        assert error(data[:length]).status == "failed", length
    for length in range(len(data) - missing_end, len(data)):
        photo = decode(data[:length])
        assert same(photo.pixels, decode(data).pixels)
        assert photo.notes == ("its end marker is missing, but no pixel is",)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_damaged_files_raise_only_photo_error(format: str) -> None:
    data = saved(noise(16, 16), format, **({} if format == "BMP" else {"exif": exif_bytes(6)}))
    random = np.random.default_rng(1)
    for _ in range(400):
        mutant = bytearray(data)
        for at in random.integers(0, min(len(data), 400), size=random.integers(1, 5)):
            mutant[at] = random.integers(0, 256)
        try:
            photo = decode(bytes(mutant), max_pixels=1_000_000)
        except PhotoError:
            continue
        assert photo.pixels.dtype == np.uint8


def claimed(format: str, width: int, height: int) -> bytes:
    """Return a small file whose header claims another size."""
    if format == "PNG":
        data = saved(noise())
        header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    data = saved(noise(), format)
    if format == "BMP":
        return data[:18] + struct.pack("<ii", width, height) + data[26:]
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


@pytest.mark.parametrize("format", ["PNG", "BMP", "JPEG"])
@pytest.mark.parametrize("side", [10_001, 12_000, 60_000])
def test_decompression_bombs_fail_before_decoding(format: str, side: int, photo_file: Any) -> None:
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        caught = error(claimed(format, side, side))
        with pytest.raises(PhotoError, match="too large"):
            probe(photo_file(claimed(format, side, side)))
    assert caught.status == "failed"
    assert caught.reason.startswith("too large")
    assert caught.reason.endswith("the limit is 100,000,000 pixels (--max-pixels)")
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_pixel_limit_is_exact() -> None:
    data = saved(noise(20, 30))
    assert decode(data, max_pixels=600).pixels.shape == (20, 30, 3)
    assert error(data, max_pixels=599).reason == "too large: 30x20, the limit is 599 pixels (--max-pixels)"


@pytest.mark.parametrize(("height", "width"), [(1, 1), (15, 400), (400, 15)])
def test_small_photos_are_skipped(height: int, width: int, photo_file: Any) -> None:
    data = saved(noise(height, width))
    caught = error(data)
    assert str(caught) == f"too small: {width}x{height}, the limit is 16 pixels a side"
    assert caught.status == "skipped"
    with pytest.raises(PhotoError, match="too small"):
        probe(photo_file(data))


@pytest.mark.slow
def test_24_megapixels(photo_file: Any) -> None:
    pixels = np.zeros((4000, 6000, 3), np.uint8)
    pixels[..., 0] = np.arange(6000) % 256
    data = saved(pixels, compress_level=1)
    assert probe(photo_file(data)) == Header(6000, 4000, 3)
    assert same(decode(data).pixels, pixels)


def test_error_can_be_pickled() -> None:
    copy = pickle.loads(pickle.dumps(PhotoError("skipped", "why")))  # noqa: S301 - our own bytes
    assert (copy.status, copy.reason, str(copy)) == ("skipped", "why", "why")


def test_strips_are_skipped() -> None:
    caught = error(saved(noise(321, 16)))
    assert str(caught) == "too narrow: 16x321, a side of more than 20 times the other"
    assert caught.status == "skipped"
    assert decode(saved(noise(320, 16))).pixels.shape == (320, 16, 3)
