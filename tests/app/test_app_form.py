"""The page's form and uploads: accepted values, and errors for all others."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from app_client import FORM, LOCAL, PHOTO, Client, coded, page

from onlymymodel.app.choices import PORTRAITS
from onlymymodel.app.form import MAX_PIXELS, read_form, run_file
from onlymymodel.app.session import MAX_PHOTOS, Session
from onlymymodel.app.uploaded_photo import MAX_BYTES, clean_name
from onlymymodel.app.visibility import NAMED, STOPS, limits_at, stop_of
from onlymymodel.cli.given import settings_given
from onlymymodel.cli.main import build_parser
from onlymymodel.data.choices import METADATA
from onlymymodel.data.portraits import render
from onlymymodel.demo import BUNDLED
from onlymymodel.errors import UserError
from onlymymodel.presets.preset import load_preset
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.strengths import DEFAULT, STRENGTHS, Strength
from onlymymodel.settings import RunSettings
from onlymymodel.settings_file import read_run_file
from onlymymodel.settings_partial import PartialSettings


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with page() as url:
        yield Client(url)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"authorized": " "}, "must still read"),
        ({"surrogates": []}, "at least one stand-in"),
        ({"heldout": ["python:toys:theirs"]}, "named twice"),
        ({"heldout": [f"zoo:{n}" for n in range(20)]}, "too many"),
        ({"heldout": ["zoo:a\nb"]}, "no URI"),
        ({"heldout": ["zoo:" + "a" * 3000]}, "no URI"),
        ({"heldout": [3]}, "reload"),
        ({"choice": "fotos"}, "did you mean 'photos'"),
        ({"choice": "faces"}, "name the folder of people"),
        ({"choice": "faces", "gallery": "/nowhere"}, "there is no gallery folder /nowhere"),
        ({"gallery": "/"}, "no model takes it"),
        ({"visibility": 5}, "both given"),
        ({"visibility": 0, "epsilon": None}, "1 to 15"),
        ({"visibility": 16, "epsilon": None}, "1 to 15"),
        ({"surprise": 1}, "reload"),
        ({"epsilon": 0}, "1 to 32"),
        ({"epsilon": 33}, "1 to 32"),
        ({"epsilon": True}, "1 to 32"),
        ({"epsilon": 8.5}, "1 to 32"),
        ({"steps": 0}, "1 to 1000"),
        ({"recipe": "fmd"}, "default, robust"),
        ({"recipe": ["default"]}, "default, robust"),
        ({"region": "mask"}, "image, face"),
    ],
)
def test_an_invalid_form_is_refused_in_one_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_form(FORM | change)


@pytest.mark.parametrize(("name", "strength"), STRENGTHS.items())
def test_named_stops_are_the_strengths_of_the_command_line(name: str, strength: Strength) -> None:
    form = {key: value for key, value in FORM.items() if key != "epsilon"}
    assert read_form(form | {"visibility": stop_of(strength.ssim)}).budget == Budget.from_json(strength.bounds)
    assert NAMED[stop_of(strength.ssim)] == name
    assert read_form(form).budget == Budget.from_json(STRENGTHS[DEFAULT].bounds)


def test_stops_admit_more_and_more() -> None:
    limits = [limits_at(stop) for stop in STOPS]
    for weaker, stronger in pairwise(limits):
        assert weaker["ssim"] > stronger["ssim"]
        assert weaker["flip"] < stronger["flip"]
        assert weaker["linf"] == stronger["linf"]


def test_a_preset_brings_its_models_and_recipe_along(tmp_path: Path) -> None:
    photos = read_form({"choice": "photos", "visibility": 2})
    preset = PartialSettings(metadata="none", max_pixels=MAX_PIXELS).over(load_preset("photos")).complete()
    assert photos.models == preset.models
    assert (photos.recipe, photos.metadata, photos.region) == (preset.recipe, "none", "image")
    assert photos.budget == Budget.from_json(STRENGTHS["low"].bounds)
    people = read_form({"choice": "people-in-photos", "gallery": str(tmp_path), "steps": 7})
    assert (people.region, people.recipe.name, people.recipe.steps) == ("face", "face", 7)
    assert all(str(tmp_path) in uri for uri in people.models)
    assert read_form({"choice": PORTRAITS}).models == BUNDLED.models


def test_folders_of_people_are_refused_where_other_machines_open_the_page(tmp_path: Path) -> None:
    people = read_form({"choice": "faces", "gallery": str(tmp_path)})
    with pytest.raises(UserError, match="names a file of the machine"):
        replace(LOCAL, local=False).load(people)
    for folder in (str(tmp_path), "/nonexistent"):  # the answer does not tell which of them exists
        with pytest.raises(UserError, match="only where the page is opened on its own machine"):
            read_form({"choice": "faces", "gallery": folder}, local=False)


@pytest.mark.parametrize("content", [None, [], "x", 3])
def test_content_that_is_not_a_form_is_refused(content: object) -> None:
    with pytest.raises(UserError, match="reload"):
        read_form(content)


def test_models_that_send_photos_away_or_read_files_for_other_machines_are_refused() -> None:
    with pytest.raises(UserError, match="sends photos nowhere"):
        LOCAL.check("https://example.org/v2/models/net")
    remote = replace(LOCAL, local=False)
    for uri in ("onnx:/a.onnx", "checkpoint:a.safetensors?arch=timm:resnet18", "recorded:a.jsonl",
                "timm:resnet18?labels=/etc/passwd", "timm:resnet18?task=identity&gallery=/home"):  # fmt: skip
        LOCAL.check(uri)
        with pytest.raises(UserError, match="names a file of the machine"):
            remote.check(uri)
    remote.check("zoo:identity-vit")
    with pytest.raises(UserError, match="--allow-python"):
        LOCAL.load(read_form(FORM))


def test_a_model_cannot_judge_itself() -> None:
    form = FORM | {"authorized": "zoo:identity-residual", "surrogates": ["zoo:identity-vit"]}
    with pytest.raises(UserError, match="same weights"):
        LOCAL.load(read_form(form | {"heldout": ["zoo:identity-vit?family=other"]}))


def test_the_run_file_names_the_same_models_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / 'a "b" \\ c', tmp_path / "elsewhere"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    uri = "checkpoint:mine.safetensors?arch=timm:resnet18&labels=names 100%26.txt"
    settings = RunSettings(
        uri,
        ("zoo:identity-vit", "onnx:/abs/x.onnx"),
        ("timm:vit?mean=0.5,0.5,0.5",),
        Budget(12 / 255, shape="texture"),
        make_recipe("robust", steps=7),
        region="left.png",
    )
    (there / "run.toml").write_text(run_file(settings), encoding="utf-8")
    monkeypatch.chdir("/")
    run = read_run_file(there / "run.toml")
    at = str(here)[1:]
    assert run.authorized == f"checkpoint:{at}/mine.safetensors?arch=timm:resnet18&labels=" + quote(
        f"{at}/names 100&.txt", safe=":/,@+ "
    )
    assert run.surrogates == ("zoo:identity-vit", "onnx:abs/x.onnx")
    assert run.heldout == ("timm:vit?mean=0.5,0.5,0.5",)
    assert (run.epsilon, make_recipe(**run.recipe)) == (12, settings.recipe)
    assert (run.budget, run.region) == ({"shape": "texture"}, f"{at}/left.png")


@pytest.mark.parametrize("region", ["image", "face"])
@pytest.mark.parametrize("metadata", METADATA)
def test_the_run_file_gives_the_same_settings_without_any_flag(region: str, metadata: str, tmp_path: Path) -> None:
    form = FORM | {"region": region, "metadata": metadata, "visibility": 5, "epsilon": None, "recipe": "robust"}
    page, _ = replace(LOCAL, allow_python=True).load(read_form(form))
    (tmp_path / "omm-run.toml").write_text(run_file(read_form(form)), encoding="utf-8")
    words = ["protect", "PHOTOS", "--out", "P", "--run", str(tmp_path / "omm-run.toml"), "--allow-python"]
    arguments = build_parser().parse_args([*words, "--device", "cpu"])
    settings = settings_given(arguments).complete()
    assert settings == read_form(form)
    context, judges = settings.load(allow_python=True)
    for name in ("budget", "recipe", "format", "metadata", "max_pixels", "region"):
        assert getattr(context, name) == getattr(page, name)
    cards = [context.authorized.card, *(model.card for model in context.surrogates), *(judge.card for judge in judges)]
    assert [card.uri for card in cards] == [FORM["authorized"], *FORM["surrogates"], *FORM["heldout"]]


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("../../etc/passwd.png", "passwd.png"),
        ("C:\\Users\\me\\a.png", "a.png"),
        ("a\r\nSet-Cookie: b.png", "aSet-Cookie b.png"),
        ('<img src=x onerror="1">.png', "img src=x onerror=1.png"),
        ("", "photo"),
        ("...", "photo"),
        ("/", "photo"),
        (".png", "png"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}gnp.png", "gnp.png"),
        ("u\N{COMBINING DIAERESIS}.png", "\N{LATIN SMALL LETTER U WITH DIAERESIS}.png"),
        ("x" * 500 + ".jpeg", "x" * 115 + ".jpeg"),
    ],
)
def test_names_are_made_harmless(name: str, clean: str) -> None:
    assert clean_name(name) == clean


def test_files_that_are_not_photos_are_refused_and_leave_nothing(client: Client) -> None:
    session = client.session()
    bad = [
        ("empty", b""),
        ("not a picture", b"hello, I am text"),
        ("damaged", PHOTO[:300]),
        ("JPEG 2000", coded(render(4, 1, 9, 40), "JPEG2000")),
        ("too small", coded(np.zeros((8, 8, 3), np.uint8))),
        ("the limit is 40,000,000 pixels", coded(np.zeros((6400, 6400), np.uint8))),
        ("up to 20 MB", b"\0" * (MAX_BYTES + 1)),
    ]
    for sentence, data in bad:
        refusal = client.refused("POST", f"{session}/photos?name=some.png", data)
        assert refusal.startswith("some.png: ")
        assert sentence in refusal
    assert client.state(session)["photos"] == []


@pytest.mark.slow
def test_the_fifty_first_photo_is_refused(tmp_path: Path) -> None:
    session, photo = Session(tmp_path), coded(np.zeros((16, 16, 3), np.uint8))
    for _ in range(MAX_PHOTOS):
        session.add("same.png", photo)
    with pytest.raises(UserError, match="50 photos already"):
        session.add("same.png", photo)
    assert len({picture.saved_name for picture in session.photos.values()}) == MAX_PHOTOS
    session.remove(1)
    assert session.add("other.png", photo).number == MAX_PHOTOS + 1
    assert len(list(session.folder.iterdir())) == MAX_PHOTOS


def test_files_that_differ_in_their_suffix_alone_are_saved_under_two_names(tmp_path: Path) -> None:
    session = Session(tmp_path)
    names = [session.add(name, PHOTO).saved_name for name in ("a.jpg", "A.png", "a.webp", "a-2.png")]
    assert len({name.casefold() for name in names}) == 4
