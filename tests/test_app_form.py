"""The page's form and the photos that come in: what is taken, what is refused by a sentence."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from app_client import FORM, LOCAL, PHOTO, Client, coded, page

from onlymymodel.app.choice import Choice, load, read_choice, to_toml
from onlymymodel.app.picture import MAX_BYTES, clean_name
from onlymymodel.app.session import MAX_PHOTOS, Session
from onlymymodel.arguments import budget_of, photo_settings_of, recipe_of, team_of
from onlymymodel.cli import build_parser
from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.roles import roles_of_a_run
from onlymymodel.run_file import read_run_file


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with page() as url:
        yield Client(url)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"authorized": " "}, "must still read"),
        ({"surrogates": []}, "at least one model"),
        ({"heldout": ["python:toys:theirs"]}, "named twice"),
        ({"heldout": [f"zoo:{n}" for n in range(20)]}, "too many"),
        ({"heldout": ["zoo:a\nb"]}, "no URI"),
        ({"heldout": ["zoo:" + "a" * 3000]}, "no URI"),
        ({"heldout": [3]}, "reload"),
        ({"surprise": 1}, "reload"),
        ({"epsilon": 0}, "1 to 32"),
        ({"epsilon": 33}, "1 to 32"),
        ({"epsilon": True}, "1 to 32"),
        ({"epsilon": 8.5}, "1 to 32"),
        ({"steps": 0}, "1 to 1000"),
        ({"shape": "round"}, "flat, texture"),
        ({"recipe": "fmd"}, "default, robust"),
        ({"recipe": ["default"]}, "default, robust"),
        ({"region": "mask"}, "image, face"),
    ],
)
def test_a_form_that_cannot_be_is_refused_by_a_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_choice(FORM | change)


@pytest.mark.parametrize("content", [None, [], "x", 3])
def test_what_is_no_form_is_refused(content: object) -> None:
    with pytest.raises(UserError, match="reload"):
        read_choice(content)


def test_models_that_would_send_photos_away_or_read_files_for_strangers_are_refused() -> None:
    with pytest.raises(UserError, match="sends photos nowhere"):
        LOCAL.check("https://example.org/v2/models/net")
    stranger = replace(LOCAL, local=False)
    for uri in ("onnx:/a.onnx", "checkpoint:a.safetensors?arch=timm:resnet18", "recorded:a.jsonl",
                "timm:resnet18?labels=/etc/passwd", "timm:resnet18?task=identity&gallery=/home"):  # fmt: skip
        LOCAL.check(uri)
        with pytest.raises(UserError, match="names a file of the machine"):
            stranger.check(uri)
    stranger.check("zoo:identity-vit")
    with pytest.raises(UserError, match="--allow-python"):
        load(read_choice(FORM), LOCAL)


def test_a_model_cannot_judge_itself() -> None:
    form = FORM | {"authorized": "zoo:identity-residual", "surrogates": ["zoo:identity-vit"]}
    with pytest.raises(UserError, match="same weights"):
        load(read_choice(form | {"heldout": ["zoo:identity-vit?family=other"]}), LOCAL)


def test_the_run_file_names_the_same_models_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / 'a "b" \\ c', tmp_path / "elsewhere"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    uri = "checkpoint:mine.safetensors?arch=timm:resnet18&labels=names 100%26.txt"
    choice = Choice(
        uri, ("zoo:identity-vit", "onnx:/abs/x.onnx"), ("timm:vit?mean=0.5,0.5,0.5",), 12, "texture", "robust", steps=7
    )
    (there / "run.toml").write_text(to_toml(choice), encoding="utf-8")
    monkeypatch.chdir("/")
    run = read_run_file(there / "run.toml")
    at = str(here)[1:]
    assert run.authorized == f"checkpoint:{at}/mine.safetensors?arch=timm:resnet18&labels=" + quote(
        f"{at}/names 100&.txt", safe=":/,@+ "
    )
    assert run.surrogates == ("zoo:identity-vit", "onnx:abs/x.onnx")
    assert run.heldout == ("timm:vit?mean=0.5,0.5,0.5",)
    assert (run.epsilon, run.recipe) == (12, {"name": "robust", "steps": 7})
    assert run.budget == {"shape": "texture"}


@pytest.mark.parametrize("region", ["image", "face"])
@pytest.mark.parametrize("keep", [False, True])
def test_the_run_file_is_the_same_context_without_any_flag(region: str, keep: bool, tmp_path: Path) -> None:
    form = FORM | {"region": region, "keep_metadata": keep, "shape": "texture", "recipe": "robust"}
    page, _ = load(read_choice(form), replace(LOCAL, allow_python=True))
    (tmp_path / "omm-run.toml").write_text(to_toml(read_choice(form)), encoding="utf-8")
    words = ["protect", "PHOTOS", "--out", "P", "--run", str(tmp_path / "omm-run.toml"), "--allow-python"]
    arguments = build_parser().parse_args([*words, "--device", "cpu"])
    run = read_run_file(arguments.run_file)
    recipe, settings = recipe_of(arguments, run), photo_settings_of(arguments, run)
    roles = roles_of_a_run(arguments, run, recipe)
    context, judges = team_of(arguments, settings, roles, recipe, budget_of(arguments, run, recipe))
    for name in ("budget", "recipe", "format", "strip_metadata", "max_pixels", "region"):
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


def test_what_is_no_photo_is_refused_and_leaves_nothing(client: Client) -> None:
    session = client.session()
    bad = [
        ("empty", b""),
        ("not a picture", b"hello, I am text"),
        ("damaged", PHOTO[:300]),
        ("GIF", coded(render(4, 1, 9, 40), "GIF")),
        ("too small", coded(np.zeros((8, 8, 3), np.uint8))),
        ("the limit is 40,000,000 pixels", coded(np.zeros((6400, 6400), np.uint8))),
        ("up to 20 MB", b"\0" * (MAX_BYTES + 1)),
    ]
    for sentence, data in bad:
        refusal = client.refused("POST", f"{session}/photos?name=some.png", data)
        assert refusal.startswith("some.png: ")
        assert sentence in refusal
    assert client.state(session)["photos"] == []


def test_the_fifty_first_photo_is_refused(tmp_path: Path) -> None:
    session, photo = Session(tmp_path), coded(np.zeros((16, 16, 3), np.uint8))
    for _ in range(MAX_PHOTOS):
        session.add("same.png", photo)
    with pytest.raises(UserError, match="50 photos already"):
        session.add("same.png", photo)
    assert len({picture.saved_name for picture in session.pictures.values()}) == MAX_PHOTOS
    session.remove(1)
    assert session.add("other.png", photo).number == MAX_PHOTOS + 1
    assert len(list(session.folder.iterdir())) == MAX_PHOTOS


def test_files_that_differ_in_their_suffix_alone_are_saved_under_two_names(tmp_path: Path) -> None:
    session = Session(tmp_path)
    names = [session.add(name, PHOTO).saved_name for name in ("a.jpg", "A.png", "a.webp", "a-2.png")]
    assert len({name.casefold() for name in names}) == 4
