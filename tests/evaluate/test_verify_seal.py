"""`omm verify` against somebody who can write to the folder: one row for each kind of change."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from keys import write_keys
from paths import ROOT
from PIL import Image
from toys import read_portrait

from onlymymodel.data.manifest import sha256_file
from onlymymodel.evaluate.verify import verify_folder
from onlymymodel.evaluate.verify_report import VerifyReport
from onlymymodel.evaluate.verify_seal import CLAIMED, PROVEN
from onlymymodel.protect import run_record, seal
from onlymymodel.protect.attack.recipe import Recipe, make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.folder import Job, protect_folder
from onlymymodel.protect.photo import Context
from onlymymodel.protect.photo_record import MANIFEST
from onlymymodel.protect.seal import seal_folder
from onlymymodel.protect.signing import read_public_key, read_signer
from onlymymodel.surrogates.load import load_model

Forgery = Callable[[Path], None]
# the seal: left as it is, removed, made again without a key or with a key of the forger's own
SealForgery = Literal["left", "removed", "remade", "signed by another"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos`, the signed `out` that was made of them, and keys."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "photos").mkdir()
    for index in range(3):
        Image.fromarray(read_portrait(index)).save(folder / "photos" / f"{index}.png")
    models = [load_model(f"python:toys:{name}", allow_python=True) for name in ("mine", "theirs", "others")]
    recipe = make_recipe("default", steps=4, kappa=0.5, views=("center",))
    context = Context(models[0], tuple(models[1:]), Budget(16 / 255), recipe)
    uris = {"authorized": "python:toys:mine", "surrogates": ["python:toys:theirs", "python:toys:others"]}
    assert protect_folder(Job(folder / "photos", folder / "out", context, uris), progress=False).all_protected
    for name in ("key", "another"):
        write_keys(folder, name)
    seal_folder(folder / "out", read_signer(folder / "key.pem"))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def verify(folder: Path, *, key: str | None = "key", originals: bool = True) -> VerifyReport:
    return verify_folder(
        folder / "out",
        without_originals=not originals,
        public_key=None if key is None else read_public_key(folder / f"{key}.pub"),
        allow_python=True,
        progress=False,
    )


def edit_lines(folder: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    path = folder / "out" / MANIFEST
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def put_original_back(folder: Path) -> None:
    """The original in the place of the file, with its hash in the manifest."""
    shutil.copy(folder / "photos" / "0.png", folder / "out" / "0.png")
    digest = sha256_file(folder / "out" / "0.png")
    edit_lines(folder, lambda lines: lines[0].update(output_sha256=digest))


def remove_line_and_file(folder: Path) -> None:
    (folder / "out" / "1.png").unlink()
    edit_lines(folder, lambda lines: lines.pop(1))


def remove_last_line_and_file(folder: Path) -> None:
    (folder / "out" / "2.png").unlink()
    edit_lines(folder, lambda lines: lines.pop(2))


def remove_line_file_and_original(folder: Path) -> None:
    remove_line_and_file(folder)
    (folder / "photos" / "1.png").unlink()


def swap_lines(folder: Path) -> None:
    edit_lines(folder, lambda lines: lines.reverse())


def edit_settings(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the settings of run.json, with every hash of them that the folder has."""
    path = folder / "out" / run_record.NAME
    content = json.loads(path.read_text())
    settings = content["settings"]
    change(settings)
    bare = json.loads(json.dumps(settings))
    for card in (bare["authorized"], *bare["surrogates"]):
        card.pop("weights", None)
    content["settings_sha256"] = hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(content))
    recipe = Recipe.from_json(settings["recipe"]).sha256()
    edit_lines(folder, lambda lines: [line.update(recipe_sha256=recipe) for line in lines])


def set_epsilon(epsilon: float) -> Forgery:
    return lambda folder: edit_settings(folder, lambda settings: settings["budget"].update(linf=epsilon))


def set_kappa(kappa: float) -> Forgery:
    return lambda folder: edit_settings(folder, lambda settings: settings["recipe"].update(kappa=kappa))


def forge_seal(folder: Path, how: SealForgery) -> None:
    if how == "left":
        return
    (folder / "out" / seal.NAME).unlink()
    if how != "removed":
        seal_folder(folder / "out", read_signer(folder / "another.pem") if how == "signed by another" else None)


# what was done; whether it is caught without a key where the seal was made again, with and without the originals
TABLE: list[tuple[str, Forgery, bool, bool]] = [
    ("file replaced by the original, hash edited", put_original_back, True, True),
    ("line and file deleted", remove_line_and_file, True, False),
    ("last line and file deleted", remove_last_line_and_file, True, False),
    ("line, file and original deleted", remove_line_file_and_original, False, False),
    ("lines in another order", swap_lines, False, False),
    ("epsilon raised", set_epsilon(32), False, False),
    ("epsilon lowered", set_epsilon(4), True, False),
    ("kappa raised", set_kappa(50.0), True, True),
    ("kappa lowered", set_kappa(0.1), False, False),
]
FORGERIES = pytest.mark.parametrize("forgery", [row[1] for row in TABLE], ids=[row[0] for row in TABLE])


def test_the_folder_itself_is_proven(folder: Path) -> None:
    report = verify(folder)
    assert (report.faults, report.proven, report.remark) == ((), True, "")
    claimed = verify(folder, key=None)
    public_key = read_public_key(folder / "key.pub").hex()
    assert (claimed.faults, claimed.proven) == ((), False)
    remark = f"the seal is signed by the key {public_key}; --public-key FILE says whether that is yours"
    assert claimed.remark == remark
    assert len(TABLE) == len({row[0] for row in TABLE})


@FORGERIES
@pytest.mark.parametrize("how", ["left", "removed", "remade", "signed by another"])
def test_with_a_seal_and_a_key_everything_is_caught(folder: Path, forgery: Forgery, how: SealForgery) -> None:
    forgery(folder)
    forge_seal(folder, how)
    for originals in (True, False):
        report = verify(folder, originals=originals)
        assert report.faults
        assert not report.proven


@FORGERIES
def test_without_a_key_everything_is_caught_where_nobody_made_the_seal_again(folder: Path, forgery: Forgery) -> None:
    forgery(folder)
    for originals in (True, False):
        assert verify(folder, key=None, originals=originals).faults


@pytest.mark.parametrize(("name", "forgery", "with_originals", "without"), TABLE, ids=[row[0] for row in TABLE])
def test_without_a_key_a_seal_that_was_made_again_leaves_what_the_files_tell(
    folder: Path, name: str, forgery: Forgery, with_originals: bool, without: bool
) -> None:
    forgery(folder)
    forge_seal(folder, "remade")
    caught = [bool(verify(folder, key=None, originals=originals).faults) for originals in (True, False)]
    assert caught == [with_originals, without], name


def test_a_careless_edit_of_the_settings_is_told_by_the_hashes_beside_them(folder: Path) -> None:
    path = folder / "out" / run_record.NAME
    for section, key, value in (("budget", "linf", 32), ("recipe", "kappa", 0.1)):
        content = json.loads(path.read_text())
        content["settings"][section][key] = value
        path.write_text(json.dumps(content))
        forge_seal(folder, "remade")
        assert verify(folder, key=None).faults, key


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda out: (out / seal.NAME).unlink(), "seal.json is missing, so nothing is proven"),
        (lambda out: seal_folder_without_key(out), "seal.json has no signature, so nothing is proven"),
        (lambda out: seal_folder(out, read_signer(out.parent / "another.pem")), "seal.json is signed by another key ("),
        (lambda out: flip_signature(out), "seal.json its signature is not of this seal"),
        (lambda out: spoil_key(out, "zz"), "seal.json has a signature or a key that is none"),
        (lambda out: spoil_key(out, "ab"), "seal.json is signed by another key (ab)"),
        (lambda out: append(out / run_record.NAME, " "), "run.json is not as it was sealed"),
        (lambda out: append(out / MANIFEST, "{}\n"), "manifest.jsonl 1 line was added after the folder was sealed"),
        (lambda out: cut_last_line(out), "manifest.jsonl 1 of 3 sealed lines are missing at its end"),
        (lambda out: remove_line_and_file(out.parent), "manifest.jsonl line 2 is not as it was sealed"),
    ],
)
def test_the_fault_says_what_is_wrong(folder: Path, spoil: Callable[[Path], object], fault: str) -> None:
    spoil(folder / "out")
    assert any(f"{found.file} {found.reason}".startswith(fault) for found in verify(folder).faults)


def seal_folder_without_key(out: Path) -> None:
    (out / seal.NAME).unlink()
    seal_folder(out)


def edit_seal(out: Path, **fields: str) -> None:
    content = json.loads((out / seal.NAME).read_text())
    (out / seal.NAME).write_text(json.dumps(content | fields))


def flip_signature(out: Path) -> None:
    signature = bytes.fromhex(json.loads((out / seal.NAME).read_text())["signature"])
    edit_seal(out, signature=(bytes([signature[0] ^ 1]) + signature[1:]).hex())


def spoil_key(out: Path, key: str) -> None:
    edit_seal(out, public_key=key)


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def cut_last_line(out: Path) -> None:
    lines = (out / MANIFEST).read_text().splitlines(keepends=True)
    (out / MANIFEST).write_text("".join(lines[:-1]))


def test_a_broken_signature_is_a_fault_without_a_key_too(folder: Path) -> None:
    flip_signature(folder / "out")
    assert [fault.file for fault in verify(folder, key=None).faults] == [seal.NAME]


def test_a_folder_without_a_seal_is_checked_and_only_claimed(folder: Path) -> None:
    (folder / "out" / seal.NAME).unlink()
    report = verify(folder, key=None)
    assert (report.faults, report.proven) == ((), False)
    assert report.remark.startswith("the folder has no seal: ")


@pytest.mark.parametrize("page", ["docs/guide/verify.md", "docs/security.md"])
def test_the_documents_say_it_in_the_same_words(page: str) -> None:
    prose = " ".join((ROOT / page).read_text(encoding="utf-8").replace("`", "").split())
    for sentence in (PROVEN, CLAIMED):
        assert sentence in prose
