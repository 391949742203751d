"""EXIF blocks, built byte by byte: what is patched, what stays, and what hostile blocks do."""

import io
import struct
import time

import numpy as np
import pytest
from PIL import Image

from onlymymodel.data.exif import ExifError, clean, orientation_of

Entry = tuple[int, int, int, bytes]  # tag, type, count, the 4 bytes of the value field


def directory(order: str, entries: list[Entry], following: int = 0) -> bytes:
    packed = b"".join(struct.pack(order + "HHI4s", *entry) for entry in entries)
    return struct.pack(order + "H", len(entries)) + packed + struct.pack(order + "I", following)


def block(order: str, first: list[Entry], second: list[Entry] | None = None, tail: bytes = b"") -> bytes:
    """A block with one or two directories and `tail` behind them."""
    head = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(order + "I", 8)
    end = 8 + 2 + 12 * len(first) + 4
    return head + (
        directory(order, first, end) + directory(order, second) + tail
        if second is not None
        else directory(order, first) + tail
    )


def short(order: str, tag: int, value: int) -> Entry:
    return (tag, 3, 1, struct.pack(order + "HH", value, 0))


def long(order: str, tag: int, value: int) -> Entry:
    return (tag, 4, 1, struct.pack(order + "I", value))


def thumbnail() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.arange(32 * 32, dtype=np.uint8).reshape(32, 32)).save(out, "JPEG")
    return out.getvalue()


def with_thumbnail(order: str, picture: bytes) -> tuple[bytes, int]:
    """A block with orientation 6 and `picture` as its thumbnail, and where the picture starts."""
    first = [short(order, 0x0112, 6), (0x010F, 2, 4, b"Cam\x00")]
    start = 8 + 2 + 12 * 2 + 4 + 2 + 12 * 2 + 4
    second = [long(order, 0x0201, start), long(order, 0x0202, len(picture))]
    return block(order, first, second, picture + b"tail"), start


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_only_the_orientation_changes(order: str, value: int) -> None:
    before = block(order, [(0x010F, 2, 4, b"Cam\x00"), short(order, 0x0112, value)], tail=b"maker notes")
    after = block(order, [(0x010F, 2, 4, b"Cam\x00"), short(order, 0x0112, 1)], tail=b"maker notes")
    cleaned = clean(before)
    assert (cleaned.data, cleaned.orientation, cleaned.blanked) == (after, value, 0)
    assert orientation_of(before) == value
    read = Image.Exif()
    read.load(cleaned.data)
    assert dict(read) == {0x010F: "Cam", 0x0112: 1}


@pytest.mark.parametrize("kind", [1, 4])
def test_orientation_in_unusual_types(kind: int) -> None:
    value = {1: b"\x03\x00\x00\x00", 4: b"\x00\x00\x00\x03"}[kind]
    assert clean(block(">", [(0x0112, kind, 1, value)])).orientation == 3


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_nonsense_orientation_is_left_alone(value: int) -> None:
    before = block("<", [short("<", 0x0112, value)])
    assert (clean(before).data, clean(before).orientation) == (before, 1)


def test_prefix_is_taken_off_however_often_it_is_there() -> None:
    bare = block("<", [])
    assert clean(b"Exif\x00\x00" * 2 + bare).data == bare


@pytest.mark.parametrize("order", ["<", ">"])
def test_thumbnail_is_blanked_and_nothing_else(order: str) -> None:
    picture = thumbnail()
    before, start = with_thumbnail(order, picture)
    cleaned = clean(before)
    expected = bytearray(before)
    expected[start : start + len(picture)] = bytes(len(picture))
    assert cleaned.blanked == 1
    assert cleaned.data[start:] == bytes(len(picture)) + b"tail"
    assert clean(cleaned.data).data == cleaned.data
    assert clean(cleaned.data).blanked == 0
    changed = [i for i, (a, b) in enumerate(zip(cleaned.data, expected, strict=True)) if a != b]
    assert len(changed) == 1  # the byte that held orientation 6


def test_uncompressed_thumbnail_is_blanked() -> None:
    start = 8 + 2 + 4 + 2 + 12 * 2 + 4
    second = [long("<", 0x0111, start), long("<", 0x0117, 30)]
    cleaned = clean(block("<", [], second, b"\x07" * 30 + b"tail"))
    assert (cleaned.data[start:], cleaned.blanked) == (bytes(30) + b"tail", 1)


def test_preview_hidden_in_maker_notes_is_blanked() -> None:
    notes = b"notes " + thumbnail() + b" more notes"
    cleaned = clean(block("<", [], tail=notes))
    assert cleaned.data.endswith(b"notes " + bytes(len(thumbnail())) + b" more notes")
    assert cleaned.blanked == 1


def test_bytes_that_only_look_like_a_jpeg_stay() -> None:
    before = block("<", [], tail=b"\xff\xd8\xff\xe0 just maker notes \xff\xd9")
    assert clean(before).data == before


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"II*\x00",
        b"PK\x03\x04 and more",
        b"II*\x00\xff\xff\xff\xff",
        b"II*\x00\x00\x00\x00\x00",
        b"II*\x00\x08\x00\x00\x00\xff\xff",
        b"MM\x00*\x00\x00\x00\x08\x00",
    ],
)
def test_malformed_blocks_are_refused(broken: bytes) -> None:
    with pytest.raises(ExifError):
        clean(broken)
    assert orientation_of(broken) == 1


def test_a_picture_that_claims_the_tables_is_refused() -> None:
    with pytest.raises(ExifError, match="overlaps"):
        clean(block("<", [], [long("<", 0x0201, 0), long("<", 0x0202, 9999)]))


def test_second_directory_that_is_the_first_ends() -> None:
    looped = b"II*\x00\x08\x00\x00\x00" + directory("<", [short("<", 0x0112, 8)], following=8)
    assert clean(looped).orientation == 8


def test_thumbnail_outside_the_block_is_no_thumbnail() -> None:
    before = block("<", [], [long("<", 0x0201, 5000), long("<", 0x0202, 5000)])
    assert (clean(before).data, clean(before).blanked) == (before, 0)


def test_claimed_counts_of_billions_are_not_believed() -> None:
    second = [(0x0111, 4, 0xFFFFFFFF, b"\x00" * 4), (0x0117, 4, 0xFFFFFFFF, b"\x00" * 4)]
    before = block("<", [(0x0112, 3, 0xFFFFFFFF, b"\x06\x00\x00\x00")], second)
    assert (clean(before).data, clean(before).orientation) == (before, 1)


def test_megabytes_of_hostile_starts_take_linear_time() -> None:
    starts = b"\xff\xd8\xff\xe0\x00\x02" * 200_000
    count = 100_000
    end = 8 + 2 + 4 + 2 + 12 * 2 + 4
    second = [
        (0x0111, 4, count, struct.pack("<I", end)),
        (0x0117, 4, count, struct.pack("<I", end + 4 * count)),
    ]
    strips = struct.pack(f"<{count}I", *[end] * count) + struct.pack(f"<{count}I", *[8 * count] * count)
    began = time.perf_counter()
    assert clean(block("<", [], tail=starts)).blanked == 0
    assert clean(b"Exif\x00\x00" * 1_000_000 + block("<", [])).data == block("<", [])
    assert clean(block("<", [], second, strips)).blanked == 1
    assert time.perf_counter() - began < 20  # quadratic would be hours


def test_no_mutation_of_a_block_does_more_than_refuse() -> None:
    whole, _ = with_thumbnail(">", thumbnail())
    random = np.random.default_rng(0)
    for _ in range(3000):
        mutant = bytearray(whole[: random.integers(0, len(whole) + 1)])
        for at in random.integers(0, 80, size=random.integers(1, 6)):
            if at < len(mutant):
                mutant[at] = random.integers(0, 256)
        try:
            cleaned = clean(bytes(mutant))
        except ExifError:
            continue
        assert len(cleaned.data) == len(mutant)
        assert cleaned.orientation in range(1, 9)
        assert thumbnail() not in cleaned.data
