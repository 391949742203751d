import json
from dataclasses import replace

import pytest

from onlymymodel.errors import UserError
from onlymymodel.protect.attack.recipe import RECIPES, Recipe, make_recipe
from onlymymodel.surrogates.deployments import KEPT_BY_DEFAULT


def test_names_are_keys() -> None:
    assert all(recipe.name == name for name, recipe in RECIPES.items())


def test_fmd_is_the_papers_setting() -> None:
    fmd = make_recipe("fmd")
    assert (fmd.objective, fmd.steps, fmd.random_start, fmd.momentum) == ("feature", 100, True, 0.0)
    assert fmd.step_share * 16 == 4.0  # alpha at epsilon 16
    assert not fmd.guard
    assert fmd.views == ("center",)


def test_every_setting_changes_the_hash() -> None:
    plain = make_recipe("default")
    assert plain.sha256() == make_recipe("default").sha256()
    assert plain.sha256() != make_recipe("default", seed=1).sha256()
    assert plain.sha256() != make_recipe("default", kappa=1.5).sha256()


def test_a_whole_number_is_the_same_setting_with_and_without_a_point() -> None:
    """Run files may have `momentum = 1`."""
    assert make_recipe("default", momentum=1, kappa=1).to_json() == make_recipe("default").to_json()
    assert make_recipe("default", momentum=1).sha256() == make_recipe("default", momentum=1.0).sha256()


def test_hashes_of_earlier_folders_stay() -> None:
    assert replace(make_recipe("exact"), name="default", step_rule="sign").sha256().startswith("ff60423e8a1aba61")
    earlier = tuple(name for name in KEPT_BY_DEFAULT if name not in ("crop-0.95", "jpeg-50"))
    assert make_recipe("robust", keep_through=earlier, step_rule="sign").sha256().startswith("d666f04c49077dd0")
    assert "smooth" not in make_recipe("default").to_json()
    assert make_recipe("default", against=("blur",)).to_json()["against"] == ["blur"]
    assert make_recipe("default", smooth=1.5).to_json()["smooth"] == 1.5
    assert make_recipe("default", smooth=1.5).sha256() != make_recipe("default").sha256()


@pytest.mark.parametrize(
    ("name", "changes", "meant"),
    [
        ("defualt", {}, "did you mean 'default'"),
        ("default", {"stepz": 3}, "did you mean 'steps'"),
        ("default", {"views": ("blockshuffle",)}, "did you mean 'block_shuffle'"),
        ("default", {"views": ()}, "at least one"),
        ("default", {"steps": -1}, "must not be negative"),
        ("default", {"jpeg_quality": 101}, "between 0 and 100"),
        ("default", {"push": "nothing"}, "label"),
        ("default", {"objective": "both"}, "ensemble"),
        ("default", {"kappa": -1.0}, "negative"),
        ("default", {"working_size": 8}, "at least 64"),
        ("default", {"step_share": 0.0}, "greater than 0"),
        ("default", {"steps": "ten"}, "steps must be a whole number, not 'ten'"),
        ("default", {"steps": True}, "steps must be a whole number, not true"),
        ("default", {"guard": 1}, "guard must be true or false, not 1"),
        ("default", {"smooth": -1.0}, "smooth must be between"),
        ("default", {"views": "center"}, "views must be a list of names, not 'center'"),
        ("default", {"against": ("purifer",)}, "unknown party 'purifer'; did you mean 'purifier'"),
        ("default", {"against": ("jpeg", "jpeg")}, "party 'jpeg' is listed twice"),
        ("default", {"attack": "python:mine:attack", "against": ("jpeg",)}, "leave out against"),
    ],
)
def test_mistakes_are_named(name: str, changes: dict[str, object], meant: str) -> None:
    with pytest.raises(UserError, match=meant):
        make_recipe(name, **changes)


def test_what_keep_through_names() -> None:
    assert make_recipe("default").keep_through == KEPT_BY_DEFAULT
    assert make_recipe("exact").keep_through == ()
    assert make_recipe("exact", keep_through=("mirror", "default")).keep_through == (
        "mirror", *(name for name in KEPT_BY_DEFAULT if name != "mirror"),
    )  # fmt: skip
    assert make_recipe("default", keep_through=("as-written",)).keep_through == ()
    recipe = make_recipe("default", keep_through=("jpeg-50",))
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    with pytest.raises(UserError, match="unknown deployment 'jpeg-5'; did you mean"):
        make_recipe("default", keep_through=("jpeg-5",))
