"""EXIF blocks, built byte by byte: what is kept and what is dropped, broken blocks, and malicious ones."""

import io
import struct
import time

import numpy as np
import pytest
from patience import PATIENCE
from PIL import Image

from onlymymodel.data.exif import ExifError, clean, orientation_of

Entry = tuple[int, int, int, bytes]  # tag, type, count, the 4 bytes of the value field
CAMERA: Entry = (0x010F, 2, 4, b"Cam\x00")


def directory(order: str, entries: list[Entry], following: int = 0) -> bytes:
    packed = b"".join(struct.pack(order + "HHI4s", *entry) for entry in entries)
    return struct.pack(order + "H", len(entries)) + packed + struct.pack(order + "I", following)


def block(order: str, first: list[Entry], second: list[Entry] | None = None, tail: bytes = b"") -> bytes:
    """Return a block with one or two directories, followed by `tail`."""
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


def with_value(kind: int, count: int, value: bytes, tag: int = 0x010E) -> bytes:
    """Return a block with one long value in its first directory."""
    return block("<", [(tag, kind, count, struct.pack("<I", 26))], tail=value)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_only_the_orientation_changes(order: str, value: int) -> None:
    before = block(order, [CAMERA, short(order, 0x0112, value)])
    after = block(order, [CAMERA, short(order, 0x0112, 1)])
    cleaned = clean(before)
    assert (cleaned.data, cleaned.orientation, cleaned.dropped, cleaned.damaged) == (after, value, (), False)
    assert orientation_of(before) == value
    assert clean(after).data == after
    read = Image.Exif()
    read.load(after)
    assert dict(read) == {0x010F: "Cam", 0x0112: 1}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "form"), [(1, "B3x"), (6, "b3x"), (3, "H2x"), (8, "h2x"), (4, "I"), (9, "i")])
def test_orientation_is_read_from_every_integer_type(order: str, kind: int, form: str) -> None:
    cleaned = clean(block(order, [(0x0112, kind, 1, struct.pack(order + form, 6))]))
    assert cleaned.orientation == 6
    assert cleaned.data == block(order, [short(order, 0x0112, 1)])


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_invalid_orientation_is_upright(value: int) -> None:
    cleaned = clean(block("<", [short("<", 0x0112, value)]))
    assert (cleaned.orientation, cleaned.data) == (1, block("<", [short("<", 0x0112, 1)]))


def test_every_prefix_is_removed() -> None:
    bare = block("<", [CAMERA])
    assert clean(b"Exif\x00\x00" * 2 + bare).data == bare


@pytest.mark.parametrize("order", ["<", ">"])
def test_directories_in_directories_are_kept_and_everything_around_them_is_not(order: str) -> None:
    at = 8 + 2 + 12 * 3 + 4
    exif = directory(order, [(0x9000, 7, 4, b"0230"), long(order, 0xA005, at + 30 + 18 + 99)])
    gps = directory(order, [(0x0001, 2, 2, b"N\x00\x00\x00")])
    interop = directory(order, [(0x0001, 2, 4, b"R03\x00")])
    first = [CAMERA, long(order, 0x8769, at), long(order, 0x8825, at + 30)]
    cleaned = clean(block(order, first, tail=exif + gps + b"secret" * 16 + b"end" + interop + b"more"))
    read = Image.Exif()
    assert cleaned.data is not None
    read.load(cleaned.data)
    assert read[0x010F] == "Cam"
    assert read.get_ifd(0x8769)[0x9000] == b"0230"
    assert read.get_ifd(0x8825) == {1: "N"}
    assert read.get_ifd(0xA005) == {1: "R03"}
    assert len(cleaned.data) == at + 30 + 18 + 18
    assert clean(cleaned.data) == cleaned
    without = clean(block(order, first, tail=exif + gps + b"secret" * 16 + b"end" + interop), location=False)
    assert without.data is not None
    read.load(without.data)
    assert (read.get_ifd(0x8825), read.get_ifd(0xA005)) == ({}, {1: "R03"})


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        (with_value(7, 40, bytes(range(40)), 0xC4A5), ("PrintImageMatching",)),
        (with_value(2, 501, b"a word " * 72, 0x010E), ("ImageDescription",)),
        (with_value(2, 62, b"x" * 61 + b"\0", 0x010E), ("ImageDescription",)),
        (with_value(2, 8, b"a\x01word\0\0", 0x010E), ("ImageDescription",)),
        (with_value(3, 5, bytes(10), 0x0131), ("Software",)),
        (with_value(7, 40, bytes(40), 0xC001), ("another entry",)),
        (block("<", [short("<", tag, 1) for tag in range(0xC001, 0xC009)]), ("8 other entries",)),
        (block("<", [], [short("<", 0x0103, 6)]), ("a thumbnail",)),
        (block("<", [short("<", tag, 1) for tag in (0x0100, 0x0102, 0x0103, 0x0213)]), ()),
    ],
)
def test_what_is_not_known_to_be_harmless_is_dropped_by_name(raw: bytes, names: tuple[str, ...]) -> None:
    assert (clean(raw).data, clean(raw).dropped) == (None, names)


@pytest.mark.parametrize("text", ["a short text", "Zoë, 東京", "two parts\0of a copyright", "x" * 60, "a word " * 70])
def test_short_texts_of_words_are_kept_without_what_follows_them(text: str) -> None:
    value = text.encode()
    for padding in (b"", b"\0", b"\0" * 300):
        kept = clean(with_value(2, len(value + padding), value + padding)).data
        assert kept is not None
        assert kept[26:].rstrip(b"\0") == value.rstrip(b"\0")
        assert len(kept) <= 26 + len(value) + 2


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"II*\x00",
        b"PK\x03\x04 and more",
        b"II*\x00\xff\xff\xff\xff",
        b"II*\x00\x00\x00\x00\x00",
        b"MM\x00*\x00\x00\x00\x08\x00",
    ],
)
def test_malformed_blocks_are_refused(broken: bytes) -> None:
    with pytest.raises(ExifError):
        clean(broken)
    assert orientation_of(broken) == 1


def test_what_is_fine_in_a_damaged_block_is_kept() -> None:
    fine = [CAMERA, short("<", 0x0112, 6)]
    kept = block("<", [CAMERA, short("<", 0x0112, 1)])
    more_claimed = bytearray(block("<", fine))
    more_claimed[8] = 40
    for damaged in (
        bytes(more_claimed),
        block("<", fine)[:-4] + b"\xff\xff\xff\xff",  # the next directory lies outside
        block("<", [*fine, (0x0131, 2, 4000, b"\x10\x00\x00\x00")]),  # a value lies outside
        block("<", [*fine, long("<", 0x8769, 4000)]),
        block("<", [*fine, (0x8825, 3, 7, b"\x10\x00\x00\x00")]),
    ):
        cleaned = clean(damaged)
        assert (cleaned.data, cleaned.orientation, cleaned.damaged) == (kept, 6, True)


def test_directories_in_a_circle_terminate() -> None:
    looped = b"II*\x00\x08\x00\x00\x00" + directory("<", [short("<", 0x0112, 8), long("<", 0x8769, 8)], following=8)
    assert clean(looped).orientation == 8


def test_huge_counts_are_not_allocated() -> None:
    entries = [(0x0112, 3, 0xFFFFFFFF, b"\x06\x00\x00\x00"), (0x010E, 2, 0xFFFFFFFF, b"\x08\x00\x00\x00")]
    cleaned = clean(block("<", entries))
    assert (cleaned.orientation, cleaned.damaged) == (1, True)


@pytest.mark.slow
def test_large_blocks_take_linear_time() -> None:
    began = time.perf_counter()
    assert clean(b"Exif\x00\x00" * 1_000_000 + block("<", [CAMERA])).data == block("<", [CAMERA])
    for tag in (0x010E, 0x927C):
        entries = [(tag, 2, 30_000_000, struct.pack("<I", 8))] * 65_535
        assert clean(block("<", entries, tail=bytes(30_000_000))).data is None
    assert time.perf_counter() - began < PATIENCE  # quadratic would be hours


def test_mutated_blocks_raise_only_exif_error() -> None:
    out = io.BytesIO()
    Image.fromarray(np.arange(32 * 32, dtype=np.uint8).reshape(32, 32)).save(out, "JPEG")
    first = [short(">", 0x0112, 6), CAMERA, long(">", 0x8769, 50)]
    whole = block(">", first, tail=directory(">", [short(">", 0x8822, 2)]) + out.getvalue())
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
        assert cleaned.orientation in range(1, 9)
        assert len(cleaned.data or b"") < 200
        if cleaned.data is not None:
            again = clean(cleaned.data)
            assert (again.data, again.orientation, again.dropped, again.damaged) == (cleaned.data, 1, (), False)
