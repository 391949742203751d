"""Every pixel mode that a supported file can have, against values computed by hand."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from onlymymodel.data.image_io import PhotoError, decode

Pixels = NDArray[np.uint8]
KEYED = "a transparent color was turned into an alpha channel"


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def same(alpha: Pixels | None, expected: NDArray[Any]) -> bool:
    return alpha is not None and np.array_equal(alpha, expected)


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def png(depth: int, color_type: int, rows: list[bytes], width: int, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG written by hand, for the kinds that Pillow reads but does not write."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, color_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\x00" + row for row in rows))
    chunks = [(b"IHDR", header), *extra, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "JPEG"])
def test_gray_stays_gray(format: str) -> None:
    data = saved(Image.fromarray(noise(20, 30)), format)
    photo = decode(data)
    assert np.array_equal(photo.pixels[..., 0], np.asarray(Image.open(io.BytesIO(data))))
    assert photo.pixels.shape == (20, 30, 1)
    assert photo.notes == ()


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_separated(format: str, channels: int) -> None:
    pixels = noise(20, 30, channels)
    photo = decode(saved(Image.fromarray(pixels), format))
    assert np.array_equal(photo.pixels, pixels[..., :-1])
    assert same(photo.alpha, pixels[..., -1])
    assert photo.notes == ()


def test_palette() -> None:
    indices, palette = noise(20, 30), noise(256, 3)
    image = Image.fromarray(indices).convert("P")
    image.putpalette(palette.tobytes())
    for format in ("PNG", "TIFF", "BMP"):
        photo = decode(saved(image, format))
        assert np.array_equal(photo.pixels, palette[indices])
        assert photo.alpha is None
        assert photo.notes == ("palette colors were converted to RGB",)


@pytest.mark.parametrize("transparency", [7, noise(256).tobytes()])
def test_palette_with_transparency(transparency: int | bytes) -> None:
    indices, palette = noise(20, 30), noise(256, 3)
    image = Image.fromarray(indices).convert("P")
    image.putpalette(palette.tobytes())
    photo = decode(saved(image, transparency=transparency))
    table = np.frombuffer(
        transparency if isinstance(transparency, bytes) else b"\xff" * 7 + b"\x00" + b"\xff" * 248, np.uint8
    )
    assert np.array_equal(photo.pixels, palette[indices])
    assert same(photo.alpha, table[indices])


def test_one_bit() -> None:
    bits = noise(20, 30) > 127
    for format in ("PNG", "TIFF", "BMP"):
        photo = decode(saved(Image.fromarray(bits), format))
        assert np.array_equal(photo.pixels[..., 0], np.where(bits, 255, 0))
        assert photo.notes == ()


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_transparent_gray_of_every_depth(depth: int) -> None:
    top = (1 << depth) - 1
    values = np.random.default_rng(0).integers(0, top + 1, (16, 16))
    values[0, 0] = key = top // 3
    bits = ((values[..., None] >> np.arange(depth)[::-1]) & 1).astype(np.uint8)
    rows = [np.packbits(row.reshape(-1)).tobytes() for row in bits]
    photo = decode(png(depth, 0, rows, 16, (b"tRNS", struct.pack(">H", key))))
    assert np.array_equal(photo.pixels[..., 0], np.floor(values * 255 / top + 0.5))
    assert same(photo.alpha, np.where(values == key, 0, 255))
    assert photo.notes[-1] == KEYED


def test_transparent_rgb() -> None:
    pixels = noise(20, 30, 3)
    pixels[3, 4] = (1, 2, 3)
    photo = decode(saved(Image.fromarray(pixels), transparency=(1, 2, 3)))
    assert np.array_equal(photo.pixels, pixels)
    assert photo.alpha is not None
    assert np.argwhere(photo.alpha == 0).tolist() == [[3, 4]]
    assert photo.notes == (KEYED,)


@pytest.mark.parametrize(("format", "order"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2")])
@pytest.mark.parametrize("compression", [None, "tiff_deflate"])
def test_16_bit_gray_is_rounded_exactly(format: str, order: str, compression: str | None) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    options = {"compression": compression} if format == "TIFF" and compression else {}
    photo = decode(saved(Image.fromarray(values.astype(order)), format, **options))
    assert np.array_equal(photo.pixels[..., 0], np.floor(values / 257 + 0.5))
    assert photo.notes == ("16-bit gray was rounded to 8 bits",)


def test_12_bit_gray_uses_the_whole_range() -> None:
    values = np.arange(4096).reshape(64, 64)
    pairs = values.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
    values_of = {256: 64, 257: 64, 258: 12, 259: 1, 262: 1, 273: 200, 277: 1, 278: 64, 279: 6144}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values_of.items())
    head = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(values_of)) + directory + bytes(4)
    photo = decode(head.ljust(200, b"\x00") + packed.astype(np.uint8).tobytes())
    assert np.array_equal(photo.pixels[..., 0], np.floor(values * 255 / 4095 + 0.5))


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_channels_are_noted(color_type: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (16, 16, channels))
    photo = decode(png(16, color_type, [row.astype(">u2").tobytes() for row in values], 16))
    colors = channels - (channels % 2 == 0)
    assert np.array_equal(photo.pixels, values[..., :colors] >> 8)
    assert (photo.alpha is None) == (color_type == 2)
    assert photo.notes == ("16-bit channels were cut to their upper 8 bits",)


def test_16_bit_rgb_tiff_is_noted() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (16, 16, 3)).astype("<u2")
    shorts = [(256, 16), (257, 16), (259, 1), (262, 2), (277, 3), (278, 16)]
    entries = [struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in shorts]
    entries += [struct.pack("<HHII", 258, 3, 3, 190), struct.pack("<HHII", 273, 4, 1, 200)]
    entries += [struct.pack("<HHII", 279, 4, 1, values.nbytes)]
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry))
    head = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    head = head.ljust(190, b"\x00") + struct.pack("<HHH", 16, 16, 16)
    photo = decode(head.ljust(200, b"\x00") + values.tobytes())
    assert np.array_equal(photo.pixels, values >> 8)
    assert photo.notes == ("16-bit channels were cut to their upper 8 bits",)


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (np.ones((20, 20), np.float32), {}),
        (np.ones((20, 20), np.int32), {}),
        (np.ones((20, 20), np.uint16), {"tiffinfo": {262: 0}}),
    ],
)
def test_values_without_a_fixed_range_are_skipped(values: Any, options: dict[str, Any]) -> None:
    with pytest.raises(PhotoError) as caught:
        decode(saved(Image.fromarray(values), "TIFF", **options))
    assert caught.value.status == "skipped"


def test_transparent_color_in_16_bit_rgb_is_skipped() -> None:
    rows = [bytes(16 * 6)] * 16
    with pytest.raises(PhotoError, match="transparent color in a 16-bit RGB"):
        decode(png(16, 2, rows, 16, (b"tRNS", bytes(6))))


def test_ycbcr_and_lab() -> None:
    source = Image.fromarray(np.full((20, 30, 3), (200, 60, 30), np.uint8))
    photo = decode(saved(source.convert("YCbCr"), "TIFF"))
    assert np.abs(photo.pixels.astype(int) - (200, 60, 30)).max() <= 2
    lab = Image.merge("LAB", [Image.new("L", (30, 20), value) for value in (255, 128, 128)])
    photo = decode(saved(lab, "TIFF", icc_profile=b"\x00" * 16 + b"Lab "))
    assert photo.pixels.min() >= 254  # L = 100 is white
    assert photo.icc is None
    assert photo.notes[0] == "LAB was converted to sRGB"


def cmyk_profile() -> bytes:
    """A CMYK profile whose cyan is a middle gray, unlike that of the naive conversion."""
    lab = np.zeros((2, 2, 2, 2, 3), np.uint8)
    lab[...] = (0, 128, 128)
    lab[0, 0, 0, 0] = (255, 128, 128)
    lab[1, 0, 0, 0] = (137, 128, 128)  # L* = 53.7, that is sRGB 128
    identity = np.arange(256, dtype=np.uint8).tobytes()
    matrix = struct.pack(">9i", *[65536 * (i % 4 == 0) for i in range(9)])
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + lab.tobytes() + identity * 3
    text = b"text" + bytes(4) + b"test\x00" + bytes(3)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    parts = [(b"A2B0", table), (b"cprt", text), (b"desc", text), (b"wtpt", white)]
    body, at = b"", 128 + 4 + 12 * len(parts)
    tags = struct.pack(">I", len(parts))
    for name, part in parts:
        padded = part + bytes(-len(part) % 4)
        tags += name + struct.pack(">II", at + len(body), len(part))
        body += padded
    head = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\x00") + tags + body


@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_cmyk_goes_through_its_profile(format: str) -> None:
    cyan = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    white = Image.new("CMYK", (32, 32), (0, 0, 0, 0))
    photo = decode(saved(cyan, format, icc_profile=cmyk_profile()))
    assert np.abs(photo.pixels.astype(int) - 128).max() <= 2
    assert photo.icc is None
    assert photo.notes == (
        "CMYK was converted to sRGB through its color profile",
        "the color profile was dropped: it does not describe RGB",
    )
    assert decode(saved(white, format, icc_profile=cmyk_profile())).pixels.min() >= 254


@pytest.mark.parametrize("icc", [None, b"no profile at all"])
@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_cmyk_without_a_usable_profile(icc: bytes | None, format: str) -> None:
    image = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    photo = decode(saved(image, format, icc_profile=icc))
    assert np.abs(photo.pixels.astype(int) - (0, 255, 255)).max() <= 2
    assert photo.icc is None
    assert "colors are approximate" in photo.notes[0]


def test_profiles_of_rgb_and_gray_are_kept() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for pixels in (noise(20, 30), noise(20, 30, 3)):
        for format in ("PNG", "JPEG", "TIFF"):
            assert decode(saved(Image.fromarray(pixels), format, icc_profile=profile)).icc == profile


def test_premultiplied_and_extra_channels_are_noted() -> None:
    pixels = noise(20, 30, 4)
    pixels[..., 3] = 255
    for extra, note in (
        (1, "colors multiplied by alpha were divided again, which rounds them"),
        (0, "extra channels were dropped"),
    ):
        data = saved(Image.fromarray(pixels), "TIFF")
        tag, kind = struct.pack("<HHI", 338, 3, 1), struct.pack("<H", 2)
        assert data.count(tag + kind) == 1
        photo = decode(data.replace(tag + kind, tag + struct.pack("<H", extra)))
        assert np.array_equal(photo.pixels, pixels[..., :3])
        assert photo.notes == (note,)
