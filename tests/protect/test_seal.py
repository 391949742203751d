"""A seal covers every byte of run.json and of the manifest, and keeps its signature as long as it holds."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from keys import write_keys

from onlymymodel.errors import UserError
from onlymymodel.protect.photo_record import MANIFEST
from onlymymodel.protect.run_record import NAME as RUN
from onlymymodel.protect.seal import NAME, Seal, chain, read_seal, seal_folder
from onlymymodel.protect.signing import is_signature, read_signer

LINES = [b'{"source": "a"}', b'{"source": "b"}', b'{"source": "c"}']


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / RUN).write_bytes(b"{}\n")
    (folder / MANIFEST).write_bytes(b"\n".join(LINES) + b"\n")
    return folder


def sealed(out: Path) -> Seal:
    seal = read_seal(out)
    assert seal is not None
    return seal


def test_each_link_is_the_hash_of_the_one_before_and_of_its_content(out: Path) -> None:
    """Written out once more, so that other programs can check a seal."""
    expected, previous = [], ""
    for content in (b"{}\n", *LINES):
        text = "onlymymodel seal 1\n" + previous + hashlib.sha256(content).hexdigest()
        previous = hashlib.sha256(text.encode()).hexdigest()
        expected.append(previous)
    assert chain(out) == tuple(expected)
    assert not seal_folder(out)
    assert sealed(out) == Seal(1, tuple(expected))


def test_any_byte_changes_the_last_link(out: Path) -> None:
    before = chain(out)
    for name in (RUN, MANIFEST):
        data = (out / name).read_bytes()
        for position in range(len(data)):
            (out / name).write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
            assert chain(out)[-1] != before[-1]
            (out / name).write_bytes(data[:position] + data[position + 1 :])
            if position < len(data) - 1 or name == RUN:  # the manifest's last newline may be missing
                assert chain(out)[-1] != before[-1]
        (out / name).write_bytes(data)
    assert chain(out) == before


def test_a_folder_without_a_manifest_is_sealed_too(out: Path) -> None:
    (out / MANIFEST).unlink()
    seal_folder(out)
    assert len(sealed(out).links) == 1


def test_a_signature_stays_while_the_seal_holds_and_its_loss_is_told(out: Path, tmp_path: Path) -> None:
    signer = read_signer(write_keys(tmp_path)[0])
    assert not seal_folder(out, signer)
    first = sealed(out)
    signature, public_key = bytes.fromhex(first.signature), bytes.fromhex(first.public_key)
    assert public_key == signer.public_key
    assert is_signature(signature, b"onlymymodel seal 1\n" + first.links[-1].encode(), public_key)
    data = (out / NAME).read_bytes()
    assert not seal_folder(out)
    assert (out / NAME).read_bytes() == data
    (out / MANIFEST).write_bytes(b"")
    assert seal_folder(out)
    assert (sealed(out).signature, sealed(out).public_key) == ("", "")
    assert not seal_folder(out, signer)
    assert sealed(out).signature


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is broken"),
        ("[]", "is broken"),
        ('{"schema": 1}', "is broken"),
        ('{"schema": 1, "links": [1]}', "is broken"),
        ('{"schema": 1, "links": []}', "has no links"),
        ('{"schema": 2, "links": ["a"]}', "is of schema 2; this version reads 1"),
    ],
)
def test_a_broken_seal_is_one_sentence_and_is_replaced_by_a_run(out: Path, content: str, sentence: str) -> None:
    (out / NAME).write_text(content)
    with pytest.raises(UserError, match=sentence):
        read_seal(out)
    assert not seal_folder(out)
    assert sealed(out).links == chain(out)


def test_what_cannot_be_read_or_written_is_one_sentence(out: Path, tmp_path: Path) -> None:
    assert read_seal(tmp_path) is None
    with pytest.raises(UserError, match=r"run\.json cannot be read"):
        chain(tmp_path)
    (out / NAME).mkdir()
    with pytest.raises(UserError, match=r"seal\.json cannot be written"):
        seal_folder(out)
    assert json.loads((out / RUN).read_text()) == {}


@pytest.mark.parametrize(("name", "reading"), [(NAME, read_seal), (RUN, chain), (MANIFEST, chain)])
def test_a_file_that_is_too_large_is_one_sentence(out: Path, name: str, reading: Callable[[Path], object]) -> None:
    seal_folder(out)
    with (out / name).open("ab") as file:
        file.truncate(64 << 30)  # sparse
    with pytest.raises(UserError, match=rf"{name} cannot be read: .* bytes"):
        reading(out)
