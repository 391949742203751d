"""A run of the page gives the same files, pictures and answers as the commands."""

import io
import json
import shlex
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import torch
from app_client import FORM, LOCAL, PHOTO, Client, coded, page
from PIL import ExifTags, Image
from torch import nn
from toys import PLAIN

from onlymymodel.app.form import read_form
from onlymymodel.app.model_answers import LeastMargin, _verdict, least_margin
from onlymymodel.app.model_loading import LoadingModel, parameter_bytes
from onlymymodel.app.samples import samples
from onlymymodel.app.session import Progress, Session
from onlymymodel.app.uploaded_photo import AMPLIFY
from onlymymodel.app.worker import run_session
from onlymymodel.cli.main import main
from onlymymodel.data.image_io import decode
from onlymymodel.data.portraits import render
from onlymymodel.data.processing import recompress, reduce
from onlymymodel.evaluate.results import Role
from onlymymodel.protect.answer_records import DeploymentMargins
from onlymymodel.protect.memory_limit import MemorySize, resident_bytes
from onlymymodel.protect.photo_record import WRITTEN, PhotoRecord
from onlymymodel.surrogates import zoo
from onlymymodel.surrogates.classifier import Classifier, ModelCard


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with page() as url:
        yield Client(url)


@pytest.mark.slow
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
    ground = Image.new("RGB", (160, 140), (70, 90, 60))
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
    assert (before.pixels == after.pixels)[:, 150:].all() == (region == "face")
    run_file = tmp_path / "omm-run.toml"
    run_file.write_bytes(client("GET", f"{session}/run.toml"))
    (tmp_path / "PHOTOS").mkdir()
    (tmp_path / "PHOTOS" / name).write_bytes(photo)
    assert main(command_in(run_file)) == 0
    assert (tmp_path / "out" / name).read_bytes() == saved
    with zipfile.ZipFile(io.BytesIO(client("GET", f"{session}/all.zip"))) as archive:
        assert archive.namelist() == [name, "omm-run.toml"]
        assert archive.read(name) == saved
        assert archive.read("omm-run.toml") == run_file.read_bytes()


def command_in(run_file: Path) -> list[str]:
    """The command that a saved run file names, for the folders PHOTOS and out beside it."""
    command = shlex.split(run_file.read_text(encoding="utf-8").splitlines()[1].removeprefix("#"))[1:]
    assert command == ["protect", "PHOTOS", "--out", "PROTECTED", "--run", "omm-run.toml", "--batch-size", "1"]
    beside = run_file.parent
    places = {"PHOTOS": str(beside / "PHOTOS"), "PROTECTED": str(beside / "out"), "omm-run.toml": str(run_file)}
    return [*(places.get(word, word) for word in command), "--quiet", "--device", "cpu"]


@pytest.mark.slow
def test_the_command_in_the_run_file_makes_the_same_files_of_several_photos(client: Client, tmp_path: Path) -> None:
    """The page protects them one by one: in a batch, rounding errors give other bytes."""
    photos = [coded(render(person, 0, person, 96)) for person in range(3)]
    (tmp_path / "PHOTOS").mkdir()
    for index, photo in enumerate(photos):
        (tmp_path / "PHOTOS" / f"{index}.png").write_bytes(photo)
    session = client.session(*photos)
    client.run(session, {"choice": "portraits", "visibility": 10, "steps": 30})
    states = client.wait(session)["photos"]
    (tmp_path / "omm-run.toml").write_bytes(client("GET", f"{session}/run.toml"))
    main(command_in(tmp_path / "omm-run.toml"))
    written = [state for state in states if state["status"] in WRITTEN]
    saved = {state["name"]: client("GET", f"{session}/photos/{state['number']}/file") for state in written}
    assert len(saved) > 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")} == saved


def test_a_photo_that_stand_ins_misread_already_can_be_saved_and_is_called_so(client: Client) -> None:
    session = client.session(coded(render(1, 1, 1, 40)))
    client.run(session, FORM)
    (state,) = client.wait(session)["photos"]
    assert (state["status"], state["reason"]) == ("already-misread", "1 of 1 stand-ins misread it, and did so before")
    assert [reading["verdict"] for reading in as_written(state)[:2]] == ["still reads it", "never read it"]
    saved = client("GET", f"{session}/photos/1/file")
    with zipfile.ZipFile(io.BytesIO(client("GET", f"{session}/all.zip"))) as archive:
        assert archive.read(archive.namelist()[0]) == saved


def test_a_bundled_model_is_refused_for_pictures_that_it_does_not_know(client: Client) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    session = client.session(coded(noise))
    client.run(session, FORM | {"authorized": "zoo:identity-residual", "surrogates": ["zoo:identity-plain"]})
    run = client.wait(session)["run"]
    assert run["phase"] == "refused"
    assert run["sentence"].startswith(f"zoo:identity-residual does not know these pictures: {zoo.LIMIT} (")


@pytest.mark.parametrize("kind", ["RGB", "L", "RGBA"])
def test_the_pictures_of_the_page_are_the_very_pixels(client: Client, kind: str) -> None:
    photo = np.asarray(Image.fromarray(render(4, 1, 9, 40)).convert(kind))
    session = client.session(coded(photo))
    assert "not be" not in client.refused("GET", f"{session}/photos/1/after.png")
    client.run(session, FORM)
    (state,) = client.wait(session)["photos"]
    assert state["status"] in WRITTEN, state["reason"]
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


def as_written(photo: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers of all models to the file itself."""
    answers: list[dict[str, Any]] = photo["channels"][0]["answers"]
    return answers


def test_what_models_say_is_what_they_say_of_the_files_through_each_channel(client: Client) -> None:
    session = client.session(PHOTO)
    client.run(session, FORM)
    (state,) = client.wait(session)["photos"]
    context, (judge,) = replace(LOCAL, allow_python=True).load(read_form(FORM))
    after = decode(client("GET", f"{session}/photos/1/file")).pixels
    models = [context.authorized, *context.surrogates, judge.classifier]  # type: ignore[attr-defined]
    steps: dict[str, Callable[[Any], Any]] = {
        "As written": lambda pixels: pixels,
        "JPEG 75": partial(recompress, codec="JPEG", quality=75),
        "Half size": partial(reduce, fraction=0.5),
    }
    assert [channel["title"] for channel in state["channels"]] == list(steps)
    for channel in state["channels"]:
        for model, row in zip(models, channel["answers"], strict=True):
            for pixels, answer in ((decode(PHOTO).pixels, row["before"]), (after, row["after"])):
                read = torch.tensor(steps[channel["title"]](pixels)).permute(2, 0, 1)[None].float() / 255
                assert answer == str(int(model(read).argmax()))
        assert [row["role"] for row in channel["answers"]] == ["authorized", "surrogate", "held-out"]


def test_the_smallest_margin_is_that_of_the_record() -> None:
    margins = {"mirror": (2.0, 0.5), "jpeg-75": (3.0, 0.25), "half": (-1.0, -2.0)}
    record = PhotoRecord(
        source_sha256=None,
        status="protected",
        reason="",
        label=0,
        label_source="given",
        deployments={name: DeploymentMargins(before=before, after=after) for name, (before, after) in margins.items()},
    )
    assert least_margin(record) == LeastMargin(2, "jpeg-75", "JPEG of quality 75", 0.25)
    assert least_margin(replace(record, deployments=None)) is None


def test_models_and_stages_are_followed_one_by_one(tmp_path: Path) -> None:
    seen: list[Progress] = []

    class Watched(Session):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "progress":
                seen.append(value)
            super().__setattr__(name, value)

    session = Watched(tmp_path)
    session.add("a.png", PHOTO)
    settings = read_form(FORM)
    session.begin(settings)
    run_session(session, settings, replace(LOCAL, allow_python=True))
    loading = [[model.state for model in progress.models] for progress in seen if progress.phase == "loading"]
    roles = ["waiting", "waiting", "waiting"]
    assert loading[0] == roles
    for index in range(3):
        assert loading[1 + 2 * index] == ["ready"] * index + ["loading"] + ["waiting"] * (2 - index)
        assert loading[2 + 2 * index] == ["ready"] * (index + 1) + ["waiting"] * (2 - index)
    last = [progress for progress in seen if progress.phase == "loading"][-1]
    mine = replace(LOCAL, allow_python=True).load(settings)[0].authorized
    assert last.models[0] == LoadingModel("python:toys:mine", "authorized", "ready", parameter_bytes(mine))
    stages = [progress.stage for progress in seen if progress.phase == "working"]
    assert list(dict.fromkeys(stages)) == ["", "original", "change", "file", "result"]
    steps = [(progress.step, progress.steps) for progress in seen if progress.stage == "change"]
    assert steps[-1] == (4, 4)


def test_a_photo_that_is_too_large_for_the_memory_is_skipped_before_it_is_changed(tmp_path: Path) -> None:
    settings, session = read_form(FORM), Session(tmp_path)
    session.add("a.png", PHOTO)
    session.add("large.png", coded(np.zeros((3000, 4000, 3), np.uint8)))
    session.begin(settings)
    memory = MemorySize(resident_bytes() + (500 << 20))
    run_session(session, settings, replace(LOCAL, allow_python=True, memory=memory))
    small, large = (photo.result for photo in session.photos.values())
    assert (small.status, session.progress.phase) == ("protected", "done")
    assert large.status == "skipped"
    assert large.reason.startswith("needs about ")


def _answers_of_judge(client: Client, uri: str) -> dict[str, Any]:
    """The last row of the page's table for a photo that is protected and judged by one held-out model."""
    session = client.session(PHOTO)
    client.run(session, FORM | {"heldout": [uri]})
    state = client.wait(session)
    assert state["run"]["phase"] == "done", state["run"]
    (photo,) = state["photos"]
    assert photo["status"] == "protected", photo["reason"]
    return as_written(photo)[-1]


def test_a_judge_may_answer_with_class_indexes(client: Client) -> None:
    row = _answers_of_judge(client, "python:app_client:indexes")
    assert (row["before"], row["after"]) == ("2", "2")
    assert row["verdict"] in ("still reads it", "never read it")


@pytest.mark.parametrize(
    ("judge", "reason"),
    [
        ("python:app_client:not_a_number", "scores that are not finite"),
        ("python:app_client:failing", "it is too dark in here"),
        ("recorded:", "has no answer for the image "),
    ],
)
def test_a_judge_without_an_answer_costs_its_own_row_only(
    client: Client, tmp_path: Path, judge: str, reason: str
) -> None:
    if judge == "recorded:":
        line = {"image": "0" * 64, "answer": 1}
        (tmp_path / "answers.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
        judge = f"recorded:{tmp_path / 'answers.jsonl'}?classes=3&task=toy"
    row = _answers_of_judge(client, judge)
    assert row["before"] == row["after"] == "\N{EN DASH}"
    assert row["good"] is None
    assert row["verdict"].startswith("no answer: ")
    assert reason in row["verdict"]
    assert "second line" not in row["verdict"]


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
    assert "it is too red in here (details are in the terminal" in state["photos"][0]["reason"]
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


@pytest.mark.slow
def test_stop_ends_the_run_that_is_at_work_and_the_one_that_waits(client: Client) -> None:
    endless = FORM | {"surrogates": ["python:toys:slow"], "steps": 1000}
    first, second = client.session(PHOTO, PHOTO), client.session(PHOTO)
    client.run(first, endless)
    client.run(second, endless)
    assert "stop it first" in client.refused("POST", f"{first}/photos?name=a.png", PHOTO)
    assert "stop it first" in client.refused("DELETE", f"{first}/photos/1")
    assert "stop it first" in client.refused("POST", f"{first}/run", json.dumps(FORM).encode())
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


class WithState(nn.Linear):
    """A layer whose state has more than tensors, as that of a quantized one."""

    def get_extra_state(self) -> tuple[str]:
        return ("state",)


def test_the_size_of_a_network_is_that_of_its_tensors() -> None:
    assert parameter_bytes(Classifier(WithState(12, 2), ModelCard("m", "m", 2, PLAIN))) == 4 * (12 * 2 + 2 + 6), (
        "mean and std, too"
    )
