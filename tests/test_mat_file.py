"""MATLAB files: the same values as SciPy reads, and an error for whatever is broken (where SciPy may crash)."""

import random
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from dataset_fixtures import synsets
from scipy.io import loadmat, savemat

from onlymymodel.data.imagenet import read_wnids
from onlymymodel.data.mat_file import MatError, read_struct_array
from onlymymodel.errors import UserError

ROWS = [(1, "n02119789", "kit fox", 0), (2, "n01440764", "tench ü 鱼", 0), (3, "n00001740", "entity", 2)]
FIELDS = ("ILSVRC2012_ID", "WNID", "words", "num_children")


@pytest.mark.parametrize("compressed", [True, False])
def test_values_are_those_of_scipy(tmp_path: Path, compressed: bool) -> None:
    savemat(tmp_path / "meta.mat", {"other": np.eye(3), **synsets(ROWS)}, do_compression=compressed)
    read = read_struct_array(tmp_path / "meta.mat", "synsets", FIELDS)
    table = loadmat(tmp_path / "meta.mat", squeeze_me=True)["synsets"]
    assert read == [tuple(row[name] for name in FIELDS) for row in table] == ROWS


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.int64])
def test_every_way_to_store_a_number(tmp_path: Path, kind: type[np.generic]) -> None:
    table = synsets(ROWS)
    for row in table["synsets"][:, 0]:
        row["ILSVRC2012_ID"] = np.asarray(row["ILSVRC2012_ID"]).astype(kind)
    savemat(tmp_path / "meta.mat", table)
    assert [row[0] for row in read_struct_array(tmp_path / "meta.mat", "synsets", FIELDS)] == [1, 2, 3]


def test_the_other_byte_order(tmp_path: Path) -> None:
    def element(kind: int, content: bytes) -> bytes:
        return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    def array(kind: int, *parts: bytes, name: bytes = b"") -> bytes:
        head = element(6, struct.pack(">II", kind, 0)) + element(5, struct.pack(">ii", 1, 1)) + element(1, name)
        return element(14, head + b"".join(parts))

    text = array(4, element(4, "n01440764".encode("utf-16-be")))
    short = struct.pack(">HHB3x", 1, 2, 7)  # one byte in the short form: size, type, content
    table = array(2, element(5, struct.pack(">i", 2)), element(1, b"a\0b\0"), text, array(6, short), name=b"t")
    (tmp_path / "big.mat").write_bytes(bytes(124) + b"\x01\x00MI" + table)
    assert read_struct_array(tmp_path / "big.mat", "t", ("b", "a")) == [(7.0, "n01440764")]


def test_broken_files_are_errors_and_nothing_else(tmp_path: Path) -> None:
    chance, file = random.Random(0), tmp_path / "meta.mat"
    originals = []
    for compressed in (True, False):
        savemat(file, synsets(ROWS), do_compression=compressed)
        originals.append(file.read_bytes())
    refused = 0
    for turn in range(300):
        data = bytearray(originals[turn % 2])
        if turn % 3 == 0:
            data = data[: chance.randrange(len(data))]
        for _ in range(turn % 5):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        file.write_bytes(data)
        try:
            read_struct_array(file, "synsets", FIELDS)
        except MatError:
            refused += 1
    assert refused > 150


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it has no header of level 5"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM\x89HDF", "it is cut short"),
        (bytes(126) + b"IM" + struct.pack("<II", 14, 2**31), "it is cut short"),
        (bytes(126) + b"IM" + struct.pack("<II", 15, 8) + b"not zlib", "its compressed part is broken"),
        (bytes(126) + b"IM", "it has no variable synsets"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "meta.mat").write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"is not the meta.mat of the development kit: {reason}.")):
        read_wnids(tmp_path / "meta.mat")


def test_compressed_bombs_are_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "meta.mat", {"synsets": np.zeros(2**24)}, do_compression=True)  # 128 MiB
    with pytest.raises(MatError, match="cut short or too large"):
        read_struct_array(tmp_path / "meta.mat", "synsets", FIELDS)


def test_other_variables_and_fields(tmp_path: Path) -> None:
    savemat(tmp_path / "meta.mat", {"synsets": np.eye(3)})
    with pytest.raises(MatError, match="synsets is no struct array"):
        read_struct_array(tmp_path / "meta.mat", "synsets", FIELDS)
    savemat(tmp_path / "meta.mat", synsets(ROWS))
    with pytest.raises(MatError, match="synsets has no field Wnid"):
        read_struct_array(tmp_path / "meta.mat", "synsets", ("Wnid", "words"))
    with pytest.raises(MatError, match="no single number"):
        read_struct_array(tmp_path / "meta.mat", "synsets", ("children",))


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([(2, "n01440764", "tench", 0)], "does not number its classes from 1"),
        ([(1, "n01440764", "tench", 0), (1, "n01443537", "goldfish", 0)], "does not number its classes from 1"),
        ([(1, "n01440764", "tench", 3)], "does not number its classes from 1"),
        ([(1, "../../x", "tench", 0)], "does not name its classes by different wnids"),
        ([(1, "n01440764", "a", 0), (2, "n01440764", "b", 0)], "does not name its classes by different wnids"),
    ],
)
def test_tables_of_something_else(tmp_path: Path, rows: list[tuple[int, str, str, int]], problem: str) -> None:
    savemat(tmp_path / "meta.mat", synsets(rows))
    with pytest.raises(UserError, match=problem):
        read_wnids(tmp_path / "meta.mat")


def test_a_kit_of_the_real_size(tmp_path: Path) -> None:
    leaves = [(number, f"n{90_000_000 - number:08d}", "words", 0) for number in range(1, 1001)]
    inner = [(number, f"n{number:08d}", "words", 3) for number in range(1001, 1861)]
    savemat(tmp_path / "meta.mat", synsets(leaves + inner), do_compression=True)
    assert read_wnids(tmp_path / "meta.mat") == tuple(wnid for _, wnid, _, _ in leaves)
