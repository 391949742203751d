"""Values that no one should write end in one sentence: run files, URIs, checkpoints, records, names on a terminal."""

import copy
import io
import itertools
import json
import os
import pickle
import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import CONTEXT, protect, save_photo

from onlymymodel.cli.main import main
from onlymymodel.errors import UserError
from onlymymodel.evaluate.folders import Evaluation, evaluate_folders
from onlymymodel.evaluate.judges import judges_for
from onlymymodel.evaluate.verify import verify_folder
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.photo_record import MANIFEST
from onlymymodel.settings_file import BUDGET_TYPES, FILE_TYPES, read_run_file
from onlymymodel.surrogates.black_box import ClassifierBlackBox
from onlymymodel.surrogates.load import load_black_box, load_model

LONG = "x" * 5000
TOML_VALUES = (
    '""', '"x"', r'"\u0000"', "0", "-1", "10000000000000000000000000000", "nan", "inf", "-inf", "1e400", "1.5", "true",
    "[]", "[1]", '["x"]', "[[]]", "{}", "{a=1}", '{uri="zoo:x",a={}}', "1979-05-27", "07:32:00", f'"{LONG}"',
    f'"checkpoint:{LONG}"',
)  # fmt: skip
MODELS = 'authorized="zoo:identity-plain"\nsurrogates=["zoo:identity-deep"]\n'
JSON_VALUES: tuple[Any, ...] = (None, "x", -1, 10**30, 1.5, True, [], {}, {"a": 1}, "../x", "\ud800")


@pytest.mark.parametrize("table", ["", "recipe", "budget", "models"])
def test_every_value_of_a_run_file_is_read_or_refused(table: str, tmp_path: Path) -> None:
    keys = {
        "": [key for key in FILE_TYPES if key not in ("authorized", "surrogates")],
        "recipe": [setting.name for setting in fields(Recipe)],
        "budget": [*BUDGET_TYPES, "linf"],
        "models": ["m", '""'],
    }
    path, read = tmp_path / "run.toml", 0
    for key, value in itertools.product(keys[table], TOML_VALUES):
        path.write_text(MODELS + (f"[{table}]\n" if table else "") + f"{key} = {value}\n")
        try:
            settings = read_run_file(path).complete()
            assert settings.masks is None or settings.masks.exists()
        except UserError:
            continue
        read += 1
        settings.to_toml(tmp_path)
        json.dumps([settings.recipe.to_json(), settings.budget.to_json()], allow_nan=False)
    assert read > 0


def uris() -> Iterator[str]:
    for scheme in ("checkpoint", "onnx", "recorded", "zoo", "timm", "torchvision", "facenet", "python"):
        yield f"{scheme}:{LONG}"
    yield f"checkpoint:{LONG}?arch=timm:test_vit"
    for option in ("labels", "gallery", "parent"):
        yield f"zoo:identity-plain?{option}={LONG}"
    for size in ("100000", "100000x100000", "224&crop_pct=0.001", "99999999999999999999", "9" * 5000, "-1", "0x5", "x"):
        yield f"zoo:identity-plain?size={size}"
    for classes in ("1000000000", "100000000000000", "-5", "nan", "9" * 5000):
        yield f"checkpoint:/etc/hostname?arch=timm:test_vit&classes={classes}"
        yield f"zoo:identity-plain?classes={classes}"


@pytest.mark.parametrize("load", [load_model, load_black_box])
def test_every_uri_is_refused_in_a_sentence(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in uris():
        if not uri.startswith("zoo:identity-plain?parent"):
            with pytest.raises(UserError):
                load(uri)


def checkpoints() -> Iterator[bytes]:
    """Files of torch, in the format of today and in that of 2019, that hold something else, or are damaged."""
    matrix = torch.ones(4, 4)
    contents: list[object] = [
        None, [1], {}, {0: matrix}, {"a": matrix, 0: matrix}, {(1, 2): matrix}, {b"a": matrix},
        {"a": matrix.to_sparse()},
        {"a": torch.quantize_per_tensor(matrix, 0.1, 0, torch.qint8)}, {"a": matrix.to("meta")}, {"state_dict": {1: 2}},
    ]  # fmt: skip
    generator = random.Random(0)
    for content, zipped in itertools.product(contents, (True, False)):
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=zipped)
        whole = file.getvalue()
        yield whole
        for _ in range(5):
            damaged = bytearray(whole)
            damaged[generator.randrange(len(whole))] = generator.randrange(256)
            yield bytes(damaged[: generator.choice([len(whole), generator.randrange(len(whole))])])
    yield pickle.dumps({"a": [1]}, 2)
    yield from (b"\x80\x02" + generator.randbytes(generator.randrange(60)) for _ in range(50))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about quantized tensors
def test_every_checkpoint_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    for content in checkpoints():
        path.write_bytes(content)
        with pytest.raises(UserError):
            load_model(f"checkpoint:{path}?arch=timm:test_vit&classes=7")


def changed(content: Any, rng: random.Random) -> Iterator[Any]:
    """Copies of a JSON value: each part removed, and each replaced by values of other kinds."""

    def places(value: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            yield (*prefix, key)
            yield from places(inner, (*prefix, key))

    for *parents, last in places(content):
        for value in [..., *rng.sample(JSON_VALUES, 1)]:
            copied = owner = copy.deepcopy(content)
            for key in parents:
                owner = owner[key]
            if value is ...:
                del owner[last]
            else:
                owner[last] = value
            yield copied


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run.json", MANIFEST])
def test_every_record_is_read_or_refused(name: str, tmp_path: Path) -> None:
    """Every field missing or of another kind: `protect`, `verify` and `evaluate` give a result or a sentence."""
    source, out = tmp_path / "photos", tmp_path / "out"
    save_photo(source / "0.png", 0)
    protect(source, out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    content = json.loads(before[out / name])
    heldout = ClassifierBlackBox(load_model("python:toys:others", allow_python=True))
    evaluation = Evaluation(source, (out,), tuple(judges_for(CONTEXT, [heldout])))
    where: dict[str, Any] = {"command": "omm", "device": CONTEXT.device, "progress": False}
    refused = 0
    for number, value in enumerate(changed(content, random.Random(1))):
        for path, data in before.items():
            path.write_bytes(data)
        (out / name).write_text(json.dumps(value) + "\n")
        try:
            verify_folder(out, authorized="python:toys:mine", allow_python=True, progress=False)
            evaluate_folders(evaluation, tmp_path / f"results-{number}", **where)
            protect(source, out)
        except UserError:
            refused += 1
    assert refused > 10


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def words(source: Path, out: Path) -> list[str]:
    return [
        "protect", str(source), "--out", str(out), "--authorized", "python:toys:mine", "--surrogate",
        "python:toys:theirs", "--allow-python", "--quiet", "--device", "cpu", "--steps", "1", "--views", "center",
        "--kappa", "0", "--epsilon", "32", "--push", "own",
    ]  # fmt: skip


def test_a_file_that_grows_too_large_for_the_disk_is_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_photo(tmp_path / "photos" / "0.png", 0)
    with file_size_limit(100):
        assert main(words(tmp_path / "photos", tmp_path / "out")) == 2
    assert capfd.readouterr().err.endswith("cannot be written: File too large; finished work is kept\n")


@pytest.mark.parametrize("option", ["source", "--out", "--run", "--labels", "--region"])
def test_a_path_that_is_too_long_is_a_sentence(option: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_photo(tmp_path / "photos" / "0.png", 0)
    given = words(tmp_path / "photos", tmp_path / "out")
    if option == "source":
        given[1] = LONG
    elif option == "--out":
        given[3] = LONG
    else:
        given += [option, LONG]
    assert main(given) == 2
    message = capfd.readouterr().err
    assert message.startswith("omm: ")
    assert message.count("\n") == 1


def test_names_reach_the_terminal_without_control_characters(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\r\nomm: all protected\x9b31m\u202e" + os.fsdecode(b"\xff") + ".png"
    save_photo(tmp_path / "photos" / "0.png", 0)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / evil.replace(".png", ".txt")).write_text("no photo")
    assert main(words(tmp_path / "text", tmp_path / "out")) == 2
    save_photo(tmp_path / "photos" / evil, 1)
    assert main(words(tmp_path / "photos", tmp_path / "out")) == 0
    (tmp_path / "out" / evil).write_bytes(b"damaged")
    verify = ["verify", str(tmp_path / "out"), "--authorized", "python:toys:mine", "--allow-python", "--quiet"]
    assert main([*verify, "--device", "cpu"]) == 1
    captured = capfd.readouterr()
    text = captured.out + captured.err
    assert "?]0;owned?" in text
    assert "FAULT" in text
    assert not [character for character in text if character != "\n" and not character.isprintable()]
    assert "\nomm: all protected" not in text
