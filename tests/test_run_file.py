"""Run files: models named once, with their roles, beside the settings of a run."""

from pathlib import Path

import pytest

from onlymymodel.arguments import recipe_of
from onlymymodel.cli import build_parser
from onlymymodel.errors import UserError
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.recipe import RECIPES, Recipe, make_recipe
from onlymymodel.roles import Roles
from onlymymodel.run_file import RunFile, read_run_file
from onlymymodel.surrogates.uri import parse_uri
from onlymymodel.tune_command import run_file


def read(folder: Path, text: str) -> RunFile:
    (folder / "run.toml").write_text(text, encoding="utf-8")
    return read_run_file(folder / "run.toml")


WHOLE = """
authorized = "mine"
surrogates = ["vit", "zoo:identity-plain"]
heldout = ["judge"]
epsilon = 8

[models]
mine = "checkpoint:mine.safetensors?arch=timm:resnet50"
vit = { uri = "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k", family = "vit" }
judge = { uri = "onnx:deep/judge.onnx?size=112", mean = [0.5, 0.5, 0.25], parent = "A & B", crop_pct = 1 }

[recipe]
name = "default"
steps = 30
views = ["center", "jpeg"]
"""


def test_a_run_file_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    run = read(tmp_path / "runs", WHOLE)
    assert run.authorized == "checkpoint:runs/mine.safetensors?arch=timm:resnet50"
    assert run.surrogates == ("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k?family=vit", "zoo:identity-plain")
    assert run.recipe == {"name": "default", "steps": 30, "views": ("center", "jpeg")}
    assert (run.epsilon, run.strength) == (8, None)
    (judge,) = map(parse_uri, run.heldout)
    assert judge.rest == "runs/deep/judge.onnx"
    assert judge.options == {"size": "112", "mean": "0.5,0.5,0.25", "parent": "A & B", "crop_pct": "1"}


@pytest.mark.parametrize("place", ["runs", ".", "runs/deep"])
def test_files_are_relative_to_the_run_file_wherever_one_stands(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "deep").mkdir(parents=True)
    (tmp_path / "runs" / "deep" / "judge.onnx").touch()
    (tmp_path / "runs" / "names.txt").touch()
    monkeypatch.chdir(tmp_path / place)
    run = read(tmp_path / "runs", 'heldout = ["onnx:deep/judge.onnx?labels=names.txt"]')
    judge = parse_uri(run.heldout[0])
    assert judge.file().samefile(tmp_path / "runs" / "deep" / "judge.onnx")
    assert Path(judge.options["labels"]).samefile(tmp_path / "runs" / "names.txt")


def test_an_empty_run_file_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "") == RunFile()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("authorized = ", "is not TOML"),
        ('authorised = "zoo:a"', "unknown key 'authorised'; did you mean 'authorized'"),
        (
            'authorized = "mime"\n[models]\nmine = "zoo:a"',
            "there is no model 'mime' under [models]; did you mean 'mine'?",
        ),
        ('authorized = "zo:a"', "unknown scheme 'zo'; did you mean 'zoo'"),
        ("authorized = 3", "a model is named by a text, not 3"),
        ('surrogates = "zoo:a"', "surrogates must be a list"),
        ("surrogates = [3]", "a model is named by a text, not 3"),
        ('models = "zoo:a"', "models must be a table, [models]"),
        ("recipe = 3", "recipe must be a table, [recipe]"),
        ('authorized = "a"\n[models]\na = { family = "x" }', "model 'a' must be a URI, or a table with a uri"),
        ("[models]\na = 3", "model 'a' must be a URI"),
        ('surrogates = ["a"]\n[models]\na = { uri = "zoo:a", famly = "x" }', "did you mean 'family'"),
        ('surrogates = ["a"]\n[models]\na = { uri = "zoo:a?size=3", size = 4 }', "option 'size' stands there twice"),
        ('authorized = "zoo:a"\nheldout = ["zoo:a"]', "model 'zoo:a' stands in more than one role"),
        ('surrogates = ["a", "b"]\n[models]\na = "onnx:x.onnx"\nb = "onnx:./y/../x.onnx"', "more than one role"),
        ('epsilon = "8"', "epsilon must be a number, not '8'"),
        ("[budget]\nsim = 0.9", "unknown key 'sim' under [budget]; did you mean 'ssim'"),
        ("[budget]\nlinf = 8", "linf is epsilon, at the top"),
        ('[budget]\nssim = "0.9"', "ssim under [budget] must be a number, not '0.9'"),
        ("budget = 3", "budget must be a table, [budget]"),
        ("epsilon = true", "epsilon must be a number, not True"),
    ],
)
def test_mistakes_are_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)
    assert "run.toml" in str(caught.value) or "unknown" in said or "did you mean" in said or "twice" in said


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b"a = '\xff'")
    for name, said in (("absent.toml", "cannot be read: No such file"), (".", "cannot be read"), ("run.toml", "TOML")):
        with pytest.raises(UserError, match=said):
            read_run_file(tmp_path / name)


def recipe(run: RunFile, *flags: str) -> Recipe:
    """The recipe of `omm protect` with flags over a run file."""
    return recipe_of(build_parser().parse_args(["protect", "photos", "--out", "out", *flags]), run)


def test_another_recipe_than_the_run_files_is_that_recipe_whole(tmp_path: Path) -> None:
    """A tuning writes every setting down, and a flag must not be recorded over the settings of another recipe."""
    tuned = make_recipe("default", steps=7, kappa=0.5)
    run = read(tmp_path, run_file(tmp_path, Roles("zoo:a", ("zoo:b",), ()), tuned, Budget(8 / 255)))
    assert recipe(run) == recipe(run, "--recipe", "default") == tuned
    assert recipe(run, "--recipe", "robust") == RECIPES["robust"]
    assert recipe(run, "--recipe", "robust", "--steps", "3") == make_recipe("robust", steps=3)


def test_settings_of_no_named_recipe_are_for_any(tmp_path: Path) -> None:
    run = read(tmp_path, "[recipe]\nsteps = 7")
    assert recipe(run) == make_recipe("default", steps=7)
    assert recipe(run, "--recipe", "robust") == make_recipe("robust", steps=7)
