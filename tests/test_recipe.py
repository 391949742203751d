import pytest

from onlymymodel.errors import UserError
from onlymymodel.protect.recipe import OURS, RECIPE_EPSILON, RECIPES, make_recipe


def test_names_are_keys() -> None:
    assert all(recipe.name == name for name, recipe in RECIPES.items())


def test_published_methods_have_the_budget_of_their_papers_and_ours_the_medium_one() -> None:
    assert set(RECIPE_EPSILON) == set(RECIPES) - set(OURS)
    assert set(RECIPE_EPSILON.values()) == {16.0}


def test_fmd_is_the_papers_setting() -> None:
    fmd = make_recipe("fmd")
    assert (fmd.objective, fmd.steps, fmd.random_start, fmd.momentum) == ("feature", 100, True, 0.0)
    assert fmd.step_share * RECIPE_EPSILON["fmd"] == 4.0
    assert RECIPE_EPSILON["fmd"] == 16.0
    assert not fmd.guard
    assert fmd.views == ("center",)


def test_every_setting_changes_the_hash() -> None:
    plain = make_recipe("default")
    assert plain.sha256() == make_recipe("default").sha256()
    assert plain.sha256() != make_recipe("default", seed=1).sha256()
    assert plain.sha256() != make_recipe("default", kappa=1.5).sha256()


def test_hashes_of_earlier_folders_stay() -> None:
    assert make_recipe("default").sha256().startswith("ff60423e8a1aba61")
    assert "smooth" not in make_recipe("default").to_json()
    assert make_recipe("default", smooth=1.5).to_json()["smooth"] == 1.5
    assert make_recipe("default", smooth=1.5).sha256() != make_recipe("default").sha256()


@pytest.mark.parametrize(
    ("name", "changes", "meant"),
    [
        ("defualt", {}, "did you mean 'default'"),
        ("default", {"stepz": 3}, "did you mean 'steps'"),
        ("default", {"views": ("blockshuffle",)}, "did you mean 'block_shuffle'"),
        ("default", {"views": ()}, "at least one"),
        ("default", {"steps": -1}, "count from 0"),
        ("default", {"jpeg_quality": 101}, "between 0 and 100"),
        ("default", {"push": "nothing"}, "label"),
        ("default", {"objective": "both"}, "ensemble"),
        ("default", {"kappa": -1.0}, "negative"),
        ("default", {"working_size": 8}, "at least 64"),
        ("default", {"step_share": 0.0}, "greater than 0"),
        ("default", {"steps": "ten"}, "steps wants int, not 'ten'"),
        ("default", {"steps": True}, "steps wants int"),
        ("default", {"guard": 1}, "guard wants bool"),
        ("default", {"smooth": -1.0}, "smooth lies between"),
        ("default", {"views": "center"}, "views wants names"),
    ],
)
def test_mistakes_are_named(name: str, changes: dict[str, object], meant: str) -> None:
    with pytest.raises(UserError, match=meant):
        make_recipe(name, **changes)
