"""A run of the page: its files, its pictures and its answers are those of the commands."""

import io
import json
import shlex
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import torch
from app_client import FORM, LOCAL, PHOTO, Client, coded, page
from PIL import ExifTags, Image

from onlymymodel.app.choice import load, read_choice
from onlymymodel.app.picture import AMPLIFY
from onlymymodel.app.readings import _verdict
from onlymymodel.app.samples import samples
from onlymymodel.cli import main
from onlymymodel.data.image_io import decode
from onlymymodel.evaluate.results import Role


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with page() as url:
        yield Client(url)


@pytest.mark.parametrize("region", ["image", "face"])
def test_what_the_page_saves_is_what_the_run_file_makes(client: Client, tmp_path: Path, region: str) -> None:
    """Without a flag for anything that was chosen on the page; camera and place (EXIF) stay out by default."""
    name, portrait = samples()[1]
    form = FORM | {
        "authorized": "zoo:identity-residual",
        "surrogates": ["zoo:identity-plain", "zoo:identity-depthwise"],
        "heldout": [],
        "region": region,
    }
    tagged = Image.Exif()
    tagged[271] = "camera"
    tagged.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (48.0, 51.0, 30.0)
    ground = Image.new("RGB", (240, 140), (70, 90, 60))
    ground.paste(Image.open(io.BytesIO(portrait)).resize((120, 120)), (10, 10))
    photo = coded(np.asarray(ground), exif=tagged.tobytes())
    exif = decode(photo).exif
    assert exif is not None
    session = client.session()
    client("POST", f"{session}/photos?name={quote(name)}", photo)
    client.run(session, form)
    (state,) = client.wait(session)["photos"]
    assert state["status"] == "protected", state["reason"]
    saved = client("GET", f"{session}/photos/1/file")
    before, after = decode(photo), decode(saved)
    assert after.exif is None
    assert (before.pixels == after.pixels)[:, 180:].all() == (region == "face")
    run_file = tmp_path / "omm-run.toml"
    run_file.write_bytes(client("GET", f"{session}/run.toml"))
    (tmp_path / "PHOTOS").mkdir()
    (tmp_path / "PHOTOS" / name).write_bytes(photo)
    command = shlex.split(run_file.read_text(encoding="utf-8").splitlines()[1].removeprefix("#"))[1:]
    assert command == ["protect", "PHOTOS", "--out", "PROTECTED", "--run", "omm-run.toml"]
    places = {"PHOTOS": str(tmp_path / "PHOTOS"), "PROTECTED": str(tmp_path / "out"), "omm-run.toml": str(run_file)}
    assert main([*(places.get(word, word) for word in command), "--quiet", "--device", "cpu"]) == 0
    assert (tmp_path / "out" / name).read_bytes() == saved
    with zipfile.ZipFile(io.BytesIO(client("GET", f"{session}/all.zip"))) as archive:
        assert archive.namelist() == [name, "omm-run.toml"]
        assert archive.read(name) == saved
        assert archive.read("omm-run.toml") == run_file.read_bytes()


@pytest.mark.parametrize("kind", ["RGB", "L", "RGBA"])
def test_the_pictures_of_the_page_are_the_very_pixels(client: Client, kind: str) -> None:
    photo = np.asarray(Image.open(io.BytesIO(PHOTO)).convert(kind))
    session = client.session(coded(photo))
    assert "not be" not in client.refused("GET", f"{session}/photos/1/after.png")
    client.run(session, FORM)
    (state,) = client.wait(session)["photos"]
    assert state["status"] == "protected", state["reason"]
    before, after, difference = (
        np.asarray(Image.open(io.BytesIO(client("GET", f"{session}/photos/1/{view}.png")))).astype(int)
        for view in ("before", "after", "difference")
    )
    assert np.array_equal(before, photo)
    assert np.abs(after - before).max() == state["figures"]["linf"] == 16
    colors = slice(None) if kind == "L" else slice(3)
    assert np.array_equal(difference, np.clip(128 + AMPLIFY * (after - before)[..., colors], 0, 255))
    after_file = client("GET", f"{session}/photos/1/file")
    assert after_file == client("GET", f"{session}/photos/1/after.png")


def test_what_models_say_is_what_they_say_of_the_files(client: Client) -> None:
    session = client.session(PHOTO)
    client.run(session, FORM)
    (state,) = client.wait(session)["photos"]
    context, (judge,) = load(read_choice(FORM), replace(LOCAL, allow_python=True))
    after = decode(client("GET", f"{session}/photos/1/file")).pixels
    models = [context.authorized, *context.surrogates, judge.classifier]  # type: ignore[attr-defined]
    for model, row in zip(models, state["readings"], strict=True):
        for pixels, said in ((decode(PHOTO).pixels, row["before"]), (after, row["after"])):
            scores = model(torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255)
            assert said == str(int(scores.argmax()))
    assert [row["role"] for row in state["readings"]] == ["authorized", "surrogate", "held-out"]


@pytest.mark.parametrize(
    ("role", "truth", "before", "after", "verdict"),
    [
        ("authorized", 1, 1, 1, ("still reads it", True)),
        ("authorized", 1, 1, 2, ("no longer reads it", False)),
        ("held-out", 1, 1, 1, ("still reads it", False)),
        ("held-out", 1, 1, 2, ("misreads it", True)),
        ("surrogate", 1, 0, 2, ("never read it", None)),
        ("surrogate", 1, 0, 1, ("still reads it", False)),
        ("held-out", None, 5, 5, ("says the same", False)),
        ("held-out", None, 5, 6, ("says something else", True)),
    ],
)
def test_verdicts(role: Role, truth: int | None, before: int, after: int, verdict: tuple[str, bool | None]) -> None:
    assert _verdict(role, truth, before, after) == verdict


def test_a_photo_on_which_a_model_breaks_down_takes_neither_page_nor_neighbors_down(client: Client) -> None:
    red = coded(np.full((40, 40, 3), (255, 0, 0), np.uint8))
    session = client.session(red, PHOTO)
    client.run(session, FORM | {"surrogates": ["python:app_client:fragile"]})
    state = client.wait(session)
    assert [photo["status"] for photo in state["photos"]] == ["failed", "protected"]
    assert "it is too red in here (the terminal" in state["photos"][0]["reason"]
    assert state["run"]["phase"] == "done"


def test_a_run_that_cannot_be_is_refused_by_a_sentence_and_the_next_one_works(client: Client) -> None:
    session = client.session()
    assert "no photo yet" in client.refused("POST", f"{session}/run", json.dumps(FORM).encode())
    client("POST", f"{session}/photos?name=a.png", PHOTO)
    assert "reload" in client.refused("POST", f"{session}/run", b"[" * 50_000)
    assert "too long" in client.refused("POST", f"{session}/run", b" " * 200_000)
    assert "unknown scheme" in client.refused(
        "POST", f"{session}/run", json.dumps(FORM | {"authorized": "zo:x"}).encode()
    )
    client.run(session, FORM | {"authorized": "zoo:identity-residul"})
    state = client.wait(session)
    assert state["run"]["phase"] == "refused"
    assert "did you mean" in state["run"]["sentence"]
    assert [photo["status"] for photo in state["photos"]] == ["ready"]
    client.run(session, FORM)
    assert client.wait(session)["photos"][0]["status"] == "protected"


def test_stop_ends_the_run_that_is_at_work_and_the_one_that_waits(client: Client) -> None:
    endless = FORM | {"surrogates": ["python:toys:slow"], "steps": 1000}
    first, second = client.session(PHOTO, PHOTO), client.session(PHOTO)
    client.run(first, endless)
    client.run(second, endless)
    assert "stop that first" in client.refused("POST", f"{first}/photos?name=a.png", PHOTO)
    assert "stop that first" in client.refused("DELETE", f"{first}/photos/1")
    assert "stop that first" in client.refused("POST", f"{first}/run", json.dumps(FORM).encode())
    assert client.wait(first, "working")["photos"][1]["status"] == "waiting"
    client("POST", f"{second}/stop")
    assert client.state(second)["run"]["phase"] == "stopped"  # at once: it had not begun
    assert client.state(first)["run"]["busy"]
    client("POST", f"{first}/stop")
    state = client.wait(first)
    assert state["run"]["phase"] == "stopped"
    assert [photo["status"] for photo in state["photos"]] == ["ready", "ready"]
    client.run(first, FORM)
    assert [photo["status"] for photo in client.wait(first)["photos"]] == ["protected", "protected"]
