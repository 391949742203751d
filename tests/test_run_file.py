"""Run files: models named once, with their roles, beside the settings of a run."""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from onlymymodel.arguments import masks_of, photo_settings_of, recipe_of
from onlymymodel.cli import build_parser
from onlymymodel.data.image_io import MAX_PIXELS
from onlymymodel.errors import UserError
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.recipe import RECIPES, Recipe, make_recipe
from onlymymodel.roles import Roles
from onlymymodel.run_file import PhotoSettings, RunFile, read_run_file, toml_lines
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
        (
            'authorized = "plian"',
            "there is no model 'plian': write its URI, or name it under [models] (omm models lists the kinds)",
        ),
        ('authorized = "mine"\n[models]\nmine = "a.onnx"', "model 'a.onnx' has no scheme; did you mean 'onnx:a.onnx'"),
        ("strip-metadata = true", "unknown key 'strip-metadata'; did you mean 'strip_metadata'"),
        ("strip_metadata = 1", "strip_metadata must be true or false, not 1"),
        ("max_pixels = 0", "max_pixels must be a whole number from 1, not 0"),
        ("max_pixels = 4e7", "max_pixels must be a whole number from 1, not 40000000.0"),
        ("max_pixels = true", "max_pixels must be a whole number from 1, not True"),
        ('format = "jpeg"', "format must be one of png, webp, not 'jpeg'"),
        ('faces = ["all"]', "faces must be one of all, largest, not ['all']"),
        ("no_face = false", "no_face must be one of skip, image, not False"),
        ("region = 3", "region must be image, face, or the path of a mask or of a folder of masks, not 3"),
        ('region = ""', "region must be image, face, or the path of a mask or of a folder of masks, not ''"),
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
    run = read(tmp_path, run_file(tmp_path, Roles("zoo:a", ("zoo:b",), ()), tuned, Budget(8 / 255), PhotoSettings()))
    assert recipe(run) == recipe(run, "--recipe", "default") == tuned
    assert recipe(run, "--recipe", "robust") == RECIPES["robust"]
    assert recipe(run, "--recipe", "robust", "--steps", "3") == make_recipe("robust", steps=3)


def test_settings_of_no_named_recipe_are_for_any(tmp_path: Path) -> None:
    run = read(tmp_path, "[recipe]\nsteps = 7")
    assert recipe(run) == make_recipe("default", steps=7)
    assert recipe(run, "--recipe", "robust") == make_recipe("robust", steps=7)


def photo_settings(run: RunFile, *flags: str) -> PhotoSettings:
    """What `omm protect` does with photos, with flags over a run file."""
    return photo_settings_of(build_parser().parse_args(["protect", "photos", "--out", "out", *flags]), run)


OTHER = PhotoSettings("face", "image", "largest", "webp", strip_metadata=True, max_pixels=40_000_000)
FLAGS = {
    "region": ["--region", "image"],
    "no_face": ["--no-face", "skip"],
    "faces": ["--faces", "all"],
    "format": ["--format", "png"],
    "strip_metadata": ["--no-strip-metadata"],
    "max_pixels": ["--max-pixels", str(MAX_PIXELS)],
}


def test_what_is_done_with_photos_is_flags_over_the_run_file_over_the_defaults(tmp_path: Path) -> None:
    usual = PhotoSettings()
    assert photo_settings(RunFile()) == photo_settings(read(tmp_path, "epsilon = 8")) == usual
    assert toml_lines(usual.changes(tmp_path)) == []
    assert set(OTHER.changes(tmp_path)) == set(FLAGS)
    run = read(tmp_path, "\n".join(toml_lines(OTHER.changes(tmp_path))))
    assert photo_settings(run) == OTHER
    for name, flags in FLAGS.items():
        assert photo_settings(run, *flags) == replace(OTHER, **{name: getattr(usual, name)})
    assert photo_settings(run, *(word for flags in FLAGS.values() for word in flags)) == usual


@pytest.mark.parametrize("name", ["masks", "face"])
def test_masks_are_relative_to_the_run_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of masks may even be called as one of the words is."""
    runs = tmp_path / "runs"
    (runs / name).mkdir(parents=True)
    for here in (tmp_path, runs, runs / name):
        monkeypatch.chdir(here)
        settings = photo_settings(read(runs, f'region = "./{name}"'))
        assert settings.kind == "mask"
        masks = masks_of(argparse.Namespace(region=None), settings)
        assert masks is not None
        assert masks.samefile(runs / name)
        written = toml_lines(settings.changes(tmp_path))
        assert written == [f'region = "runs/{name}"']
        assert photo_settings(read(tmp_path, written[0])) == settings


def test_a_mask_that_is_not_there_is_told_with_the_run_file_that_names_it(tmp_path: Path) -> None:
    run = read(tmp_path, 'region = "fase"')
    arguments = argparse.Namespace(region=None, run_file=tmp_path / "run.toml")
    with pytest.raises(UserError, match=r"run\.toml: region is image, face, or .*; there is no .*fase$"):
        masks_of(arguments, PhotoSettings(**run.photos))
