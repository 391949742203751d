"""run.json is read back as written, also that of earlier versions; an invalid one is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toys import mine, theirs

from onlymymodel.data.image_io import MAX_PIXELS
from onlymymodel.errors import UserError
from onlymymodel.protect import run_record
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.context import Context

CONTEXT = Context(mine(), (theirs(),), Budget(12 / 255, l2=3.0), make_recipe("robust", steps=7), max_pixels=1000)
URIS: dict[str, Any] = {"authorized": "python:toys:mine", "surrogates": ["python:toys:theirs"]}


def content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(run_record.to_bytes(CONTEXT, 8, URIS, "../photos"))
    return content


def read(folder: Path, content: object) -> run_record.RunRecord:
    (folder / "run.json").write_text(json.dumps(content))
    return run_record.read(folder)


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    run = read(tmp_path, content())
    assert (run.authorized_uri, run.source) == (URIS["authorized"], "../photos")
    assert list(run.surrogate_uris) == URIS["surrogates"]
    assert run.settings == json.loads(json.dumps(run_record.describe(CONTEXT, 8)))
    assert (run.budget, run.recipe) == (CONTEXT.budget, CONTEXT.recipe)
    assert (run.epsilon, run.recipe_name, run.max_pixels) == (12.0, "robust", 1000)
    assert run.authorized.sha256 == CONTEXT.authorized.card.sha256
    assert [card.sha256 for card in run.surrogates] == [theirs().card.sha256]


def test_a_run_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    earlier = content()
    del earlier["settings"]["max_pixels"], earlier["models"]["surrogates"]
    run = read(tmp_path, earlier)
    assert (run.max_pixels, run.surrogate_uris) == (MAX_PIXELS, ())


@pytest.mark.parametrize("key", ["schema", "settings", "settings_sha256", "models", "source"])
@pytest.mark.parametrize("value", [None, 3, []])
def test_a_broken_file_is_refused(key: str, value: object, tmp_path: Path) -> None:
    broken = content()
    del broken[key]
    with pytest.raises(UserError, match=r"run\.json is broken"):
        read(tmp_path, broken)
    if key in ("settings", "models"):
        with pytest.raises(UserError, match=r"run\.json is broken"):
            read(tmp_path, {**broken, key: value})


def test_other_models_are_named(tmp_path: Path) -> None:
    run_record.write(tmp_path, CONTEXT, 8, URIS, "../photos")
    run_record.write(tmp_path, CONTEXT, 8, URIS, "../photos")
    swapped = replace(CONTEXT, authorized=theirs(), surrogates=(mine(),))
    with pytest.raises(UserError, match="the authorized model linear-11 there, linear-12 here"):
        run_record.write(tmp_path, swapped, 8, URIS, "../photos")
    with pytest.raises(UserError, match="the stand-ins linear-12 there, linear-12 linear-11 here"):
        run_record.write(tmp_path, replace(CONTEXT, surrogates=(theirs(), mine())), 8, URIS, "../photos")
    trained = theirs()
    trained.card = replace(trained.card, sha256="0" * 64)
    with pytest.raises(UserError, match="other weights or preprocessing of the stand-ins linear-12"):
        run_record.write(tmp_path, replace(CONTEXT, surrogates=(trained,)), 8, URIS, "../photos")


@pytest.mark.parametrize("recorded", ["../gone", "../a\0b", "../" + "x" * 300, "s3://bucket/photos"])
def test_photos_that_cannot_be_seen_where_they_were_are_not_others(recorded: str, tmp_path: Path) -> None:
    read(tmp_path, {**content(), "source": recorded})
    run_record.check_source(tmp_path, tmp_path, tmp_path)
