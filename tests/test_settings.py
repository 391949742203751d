"""Settings of a run: flags over a run file over the defaults."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_files import MODELS, protect, read

from onlymymodel.cli.tune import to_toml
from onlymymodel.data.image_io import MAX_PIXELS
from onlymymodel.errors import UserError
from onlymymodel.protect.attack.recipe import OURS, RECIPES, make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.strengths import STRENGTHS
from onlymymodel.settings import PHOTO_DEFAULTS, RunSettings


def test_another_recipe_replaces_the_whole_recipe_of_the_run_file(tmp_path: Path) -> None:
    """A tuning writes every setting down, and a flag must not be recorded over the settings of another recipe."""
    tuned = make_recipe("default", steps=7, kappa=0.5)
    written = to_toml(RunSettings("zoo:a", ("zoo:b",), recipe=tuned), tmp_path)
    assert protect(tmp_path, written).recipe == protect(tmp_path, written, "--recipe", "default").recipe == tuned
    assert protect(tmp_path, written, "--recipe", "robust").recipe == RECIPES["robust"]
    changed = protect(tmp_path, written, "--recipe", "robust", "--steps", "3").recipe
    assert changed == make_recipe("robust", steps=3)


def test_settings_of_no_named_recipe_apply_to_any(tmp_path: Path) -> None:
    written = MODELS + "[recipe]\nsteps = 7"
    assert protect(tmp_path, written).recipe == make_recipe("default", steps=7)
    assert protect(tmp_path, written, "--recipe", "robust").recipe == make_recipe("robust", steps=7)


LOW, MEDIUM, HIGH = (Budget.from_json(STRENGTHS[name].bounds) for name in ("low", "medium", "high"))
BALL = Budget(16 / 255)  # the budget of the published methods


@pytest.mark.parametrize(
    ("text", "flags", "budget"),
    [
        ("", [], MEDIUM),
        ('strength = "low"', [], LOW),
        ("[budget]\nssim = 0.9", [], replace(BALL, ssim=0.9, shape="texture")),
        ("", ["--l2", "3"], replace(BALL, l2=3.0, shape="texture")),
        ("", ["--shape", "even"], replace(MEDIUM, shape="even")),
        ("epsilon = 3", [], Budget(3 / 255, shape="texture")),
        ("epsilon = 3", ["--l2", "3"], Budget(3 / 255, l2=3.0, shape="texture")),
        ("epsilon = 3", ["--shape", "even"], Budget(3 / 255)),
        ('strength = "low"', ["--epsilon", "5"], Budget(5 / 255, shape="texture")),
        ('strength = "low"\nepsilon = 3', ["--epsilon", "5"], Budget(5 / 255, shape="texture")),
        ("epsilon = 3", ["--strength", "high"], HIGH),
        ('strength = "high"', ["--flip", "0.05"], replace(HIGH, flip=0.05)),
        ("", ["--recipe", "fmd"], BALL),
        ("", ["--recipe", "ens", "--ssim", "0.9"], replace(BALL, ssim=0.9)),
        ("", ["--recipe", "ens", "--epsilon", "4"], Budget(4 / 255)),
        ("", ["--recipe", "ens", "--strength", "low"], LOW),
    ],
)
def test_the_budget_is_the_flags_over_the_run_files_over_the_recipes(
    text: str, flags: list[str], budget: Budget, tmp_path: Path
) -> None:
    settings = protect(tmp_path, MODELS + text, *flags)
    assert settings.budget == budget
    assert read(tmp_path, settings.to_toml(tmp_path)).complete().budget == budget


@pytest.mark.parametrize("recipe", RECIPES)
def test_only_the_published_methods_change_every_pixel_as_much(recipe: str, tmp_path: Path) -> None:
    assert protect(tmp_path, MODELS, "--recipe", recipe).budget == (MEDIUM if recipe in OURS else BALL)


def test_a_stronger_change_is_more_visible_by_every_measure() -> None:
    low, medium, high = STRENGTHS.values()
    assert low.ssim > medium.ssim > high.ssim
    assert low.flip < medium.flip < high.flip


def test_bounds_are_flags_over_the_run_file_one_by_one(tmp_path: Path) -> None:
    text = MODELS + "epsilon = 3\n[budget]\nssim = 0.9\nluma = 2"
    assert protect(tmp_path, text, "--ssim", "0.8", "--l2", "3").budget == Budget(
        3 / 255, 3, ssim=0.8, luma=2 / 255, shape="texture"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('strength = "low"\nepsilon = 3', "strength 'low' and epsilon 3 are both given; give one"),
        ('metadata = "none"\nkeep_makernotes = true', "metadata none and keep_makernotes are both given; give one"),
    ],
)
def test_settings_that_are_not_valid_are_named(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        protect(tmp_path, MODELS + text)


def test_a_wrong_value_of_a_flag_is_not_said_to_be_in_the_run_file(tmp_path: Path) -> None:
    for flags, sentence in (
        (("--epsilon", "-8"), "the budget must lie between 0 and 255 steps, not -8"),
        (("--kappa", "-1"), "kappa must not be negative"),
    ):
        with pytest.raises(UserError) as caught:
            protect(tmp_path, MODELS + "epsilon = 8\n[recipe]\nkappa = 1", *flags)
        assert str(caught.value) == sentence


def test_a_missing_gallery_is_said_to_be_in_the_run_file_if_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = 'authorized = "zoo:a?gallery="\nsurrogates = ["zoo:b"]\ngallery = "people"\n'
    with pytest.raises(UserError, match=r"run\.toml: there is no gallery folder people; it needs one folder of"):
        protect(tmp_path, text)
    with pytest.raises(UserError, match=r"^there is no gallery folder others;"):
        protect(tmp_path, text, "--gallery", "others")
    (tmp_path / "others").mkdir()
    assert "others" in protect(tmp_path, text, "--gallery", "others").authorized


def test_models_are_the_flags_over_the_run_files(tmp_path: Path) -> None:
    settings = protect(
        tmp_path, MODELS + 'heldout = ["zoo:c"]', "--surrogate", "zoo:d", "zoo:e", "--surrogate", "zoo:f"
    )
    assert settings.models == ("zoo:a", "zoo:d", "zoo:e", "zoo:f", "zoo:c")
    assert protect(tmp_path, MODELS, "--authorized", "zoo:x", "--heldout", "zoo:y").models == (
        "zoo:x",
        "zoo:b",
        "zoo:y",
    )


OTHER: dict[str, Any] = {
    "region": "face",
    "no_face": "image",
    "faces": "largest",
    "format": "webp",
    "metadata": "no-location",
    "max_pixels": 40_000_000,
    "keep_makernotes": True,
    "first_frame": True,
    "exclude": ("*.gif", "drafts/*"),
}
FLAGS = {
    "region": ["--region", "image"],
    "no_face": ["--no-face", "skip"],
    "faces": ["--faces", "all"],
    "format": ["--format", "png"],
    "metadata": ["--metadata", "keep"],
    "max_pixels": ["--max-pixels", str(MAX_PIXELS)],
    "keep_makernotes": ["--no-keep-makernotes"],
    "first_frame": ["--no-first-frame"],
}


def test_photo_settings_are_flags_over_the_run_file_over_the_defaults(tmp_path: Path) -> None:
    usual = RunSettings("zoo:a", ("zoo:b",))
    assert set(OTHER) == {*FLAGS, "exclude"} == set(PHOTO_DEFAULTS)
    other = replace(usual, **OTHER)
    written = other.to_toml(tmp_path)
    assert protect(tmp_path, MODELS) == usual
    assert protect(tmp_path, written) == other
    for name, flags in FLAGS.items():
        assert protect(tmp_path, written, *flags) == replace(other, **{name: getattr(usual, name)})
    flagged = protect(
        tmp_path, written, "--exclude", "a", "--exclude", "b", *(w for flags in FLAGS.values() for w in flags)
    )
    assert flagged == replace(usual, exclude=("a", "b"))


@pytest.mark.parametrize("name", ["masks", "face"])
def test_masks_are_relative_to_the_run_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of masks may even have the name of a region."""
    runs = tmp_path / "runs"
    (runs / name).mkdir(parents=True)
    for here in (tmp_path, runs, runs / name):
        monkeypatch.chdir(here)
        settings = protect(runs, f'{MODELS}region = "./{name}"')
        assert settings.masks is not None
        assert settings.masks.samefile(runs / name)
        written = settings.to_toml(tmp_path)
        assert f'region = "runs/{name}"' in written.splitlines()
        assert protect(tmp_path, written) == settings


def test_a_mask_that_does_not_exist_is_named(tmp_path: Path) -> None:
    settings = protect(tmp_path, MODELS + 'region = "fase"')
    with pytest.raises(UserError, match=r"the region .* is image, face, or .*; there is no .*fase$"):
        _ = settings.masks


def test_settings_of_python_load_a_checked_context_and_the_held_out_models() -> None:
    settings = RunSettings("python:toys:mine", ("python:toys:theirs",), ("python:toys:others",), Budget(4 / 255))
    context, heldout = settings.load(allow_python=True)
    assert (context.authorized.card.uri, context.budget) == ("python:toys:mine", Budget(4 / 255))
    assert [model.card.uri for model in context.surrogates] == ["python:toys:theirs"]
    assert [model.card.uri for model in heldout] == ["python:toys:others"]
    changes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"surrogates": ()}, "--surrogate URI"),
        ({"surrogates": ("python:toys:mine",)}, "the authorized model itself"),
        ({"surrogates": ("python:toys:blind",)}, "NaN"),
        ({"heldout": ("python:toys:theirs",)}, "took part"),
        ({"region": "nowhere"}, "there is no nowhere"),
    )
    for change, sentence in changes:
        with pytest.raises(UserError, match=sentence):
            replace(settings, **change).load(allow_python=True)


def test_networks_are_known_before_a_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(b"")
    loaded: list[int] = []
    for library in ("timm", "torchvision"):
        uri = f"checkpoint:{tmp_path}/mine.safetensors?arch={library}:resnet500&classes=3"
        with pytest.raises(UserError, match=f"{library} has no 'resnet500'; did you mean"):
            RunSettings("zoo:identity-residual", (uri,)).load(on_model=lambda position, _: loaded.append(position))
    assert not loaded
