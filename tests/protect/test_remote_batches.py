"""Messages to and from workers on other machines, tested in one process."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hostile import CONTEXT, check_lines, lines_of, protect, save_photo
from worker_contexts import make_broken

from onlymymodel.cli.main import main
from onlymymodel.data.manifest import sha256
from onlymymodel.errors import UserError
from onlymymodel.protect import ray_engine
from onlymymodel.protect.batches import protect_batch
from onlymymodel.protect.context import PhotoSource
from onlymymodel.protect.folder_run import TRIED_AGAIN
from onlymymodel.protect.photo_record import PhotoManifest
from onlymymodel.protect.ray_engine import RayPool, RaySettings
from onlymymodel.protect.remote_batches import BatchWorker, PhotoName, RemoteTask, WorkerPlan, read_row
from onlymymodel.protect.workers import cards
from onlymymodel.settings import RunSettings
from onlymymodel.settings_transfer import context_from, specification

MAKER = "worker_contexts:context_named"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(7):
        save_photo(tmp_path / "photos" / f"{index}.png", index, 24 if index % 3 else 28)
    return tmp_path / "photos"


def worker(name: str, expected: Any = CONTEXT) -> BatchWorker:
    return BatchWorker(asdict(WorkerPlan(MAKER, name, "cpu", tuple(cards(expected)), 2)))


def name_of(path: Path) -> PhotoName:
    return PhotoName(str(path), sha256(path.read_bytes()))


def test_a_worker_protects_by_names_as_this_process_does(photos: Path) -> None:
    names = tuple(map(name_of, (photos / "1.png", photos / "2.png")))
    task = RemoteTask(5, (0, 1), names)
    assert RemoteTask.from_text(task.to_text()) == task
    rows = [read_row(row) for row in worker("usual").protect(task.to_text())]
    sources = [PhotoSource(Path(name.path).read_bytes()) for name in names]
    expected = protect_batch(sources, CONTEXT, None, 2)
    assert [(batch, place) for batch, place, _, _ in rows] == [(5, 0), (5, 1)]
    for (_, _, (data, record), canary), (other_data, other) in zip(rows, expected, strict=True):
        assert data == other_data
        assert {**record.to_json(), "seconds": None} == {**other.to_json(), "seconds": None}
        assert canary.device == "cpu"


def test_photos_that_are_gone_or_changed_fail_alone(photos: Path) -> None:
    gone, changed, sound = (name_of(photos / f"{index}.png") for index in (0, 1, 2))
    (photos / "0.png").unlink()
    (photos / "1.png").write_bytes((photos / "2.png").read_bytes())
    rows = worker("usual").protect(RemoteTask(0, (0, 1, 2), (gone, changed, sound)).to_text())
    records = [read_row(row)[2][1] for row in rows]
    assert [record.status for record in records] == ["failed", "failed", "protected"]
    assert records[0].reason == "it cannot be read by a worker: No such file or directory"
    assert records[1].reason == "it changed during the run"
    assert [record.source_sha256 for record in records] == [gone.sha256, changed.sha256, sound.sha256]
    assert [record.reason.startswith(TRIED_AGAIN) for record in records[:2]] == [True, True]  # by the next run


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("other", "a worker loaded other models than the run"),
        ("none", "there is no model on cpu"),
        ("nothing", "KeyError in a worker process: 'make_nothing'"),
        ("broken", "in a worker process"),
    ],
)
def test_a_worker_that_cannot_work_says_why(name: str, sentence: str, photos: Path) -> None:
    text = RemoteTask(0, (0,), (name_of(photos / "1.png"),)).to_text()
    (row,) = worker(name, make_broken("cpu") if name == "broken" else CONTEXT).protect(text)
    with pytest.raises(UserError, match=sentence):
        read_row(row)


def test_settings_travel_as_text_and_give_the_same_context() -> None:
    settings = RunSettings("zoo:identity-residual", ("zoo:identity-plain",), exclude=("a*",), max_pixels=1000)
    here, _ = settings.load()
    text = specification(settings, allow_python=False)
    there = context_from(text, "cpu")
    assert cards(there) == cards(here)
    assert there.budget == here.budget
    assert (there.exclude, there.max_pixels) == (("a*",), 1000)
    assert json.loads(text)["allow_python"] is False


class _Dataset:
    """Tasks that are computed here, as Ray Data would; those with a photo that is lost yield nothing."""

    def __init__(self, tasks: list[RemoteTask], lost: set[str]) -> None:
        self.tasks, self.lost = tasks, lost

    def iter_batches(self, **_: object) -> Iterator["_Block"]:
        usual = worker("usual")
        for task in reversed(self.tasks):
            if not any(Path(name.path).name in self.lost for name in task.names):
                yield _Block(usual.protect(task.to_text()))


class _Block(list[dict[str, Any]]):
    def to_pylist(self) -> list[dict[str, Any]]:
        return self


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Let the tasks of a pool be computed here; returns the numbers of tasks of each
    round, and how many an actor takes at a time. `3.png` is always lost."""
    rounds: list[tuple[int, int]] = []

    def dataset(_: RayPool, tasks: list[RemoteTask], in_flight: int) -> _Dataset:
        rounds.append((len(tasks), in_flight))
        return _Dataset(tasks, {"3.png"})

    monkeypatch.setattr(ray_engine, "connect", lambda _: None)
    monkeypatch.setattr(RayPool, "__exit__", lambda *_: None)
    monkeypatch.setattr(RayPool, "_dataset", dataset)
    return rounds


def test_what_the_executor_drops_is_tried_alone_and_recorded(
    photos: Path, tmp_path: Path, without_ray: list[tuple[int, int]]
) -> None:
    out = tmp_path / "out"
    summary = protect(photos, out, workers=RaySettings(MAKER, "usual"), batch_size=3)
    assert (summary.counts["failed"], summary.counts.total()) == (1, 7)
    assert without_ray == [(3, 2), (3, 1)]  # three batches; the three photos of the one that was lost
    check_lines(photos, out)
    record = PhotoManifest(out).by_source()["3.png"]
    assert record.reason == "its worker process ended on every try, perhaps for want of memory"
    protect(photos, tmp_path / "one", batch_size=3)
    one = {line["source"]: line for line in lines_of(tmp_path / "one")}
    for line in lines_of(out):
        assert line["source"] == "3.png" or line == one[line["source"]]
    protect(photos, out, workers=RaySettings(MAKER, "usual"), batch_size=3)
    assert without_ray[2:] == [(1, 2), (3, 1)]  # its batch is tried again, and nothing else


@pytest.mark.usefixtures("without_ray")
def test_silence_ends_the_run(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []

    class Hanging:
        def iter_batches(self, **_: object) -> Iterator[_Block]:
            while not ended:
                time.sleep(0.01)
            yield _Block()

    monkeypatch.setattr(RayPool, "_dataset", lambda *_: Hanging())
    try:
        with pytest.raises(UserError, match="no result has come from Ray for 0 s; run the same command again"):
            protect(photos, tmp_path / "out", workers=RaySettings(MAKER, "usual", patience=0.2))
    finally:
        ended.append(True)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--address", "auto"], "--address needs --engine ray"),
        (["--gpus-per-worker", "0.5"], "--gpus-per-worker needs --engine ray"),
        (["--workers", "1:4"], "a range of --workers needs --engine ray"),
        (["--workers", "4:1"], "must be a range from a smaller number to a larger one"),
        (["--workers", "0:1"], "must be at least 1"),
        (["--engine", "ray", "--gpus-per-worker", "-1"], "--gpus-per-worker must be at least 0"),
        (["--engine", "rai"], "did you mean"),
    ],
)
def test_flags_that_do_not_go_together(
    flags: list[str], sentence: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ["--authorized", "zoo:identity-residual", "--surrogate", "zoo:identity-plain"]
    assert main(["protect", str(photos), "--out", str(tmp_path / "out"), *models, *flags]) == 2
    assert sentence in capsys.readouterr().err


def test_without_the_extra_there_is_one_sentence(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    models = ["--authorized", "zoo:identity-residual", "--surrogate", "zoo:identity-plain"]
    assert main(["protect", str(photos), "--out", str(tmp_path / "out"), *models, "--engine", "ray"]) == 2
    assert capsys.readouterr().err == "omm: --engine ray needs Ray: pip install 'onlymymodel[ray]'\n"


def test_a_cluster_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"there is no Ray cluster at 127\.0\.0\.1:1: "):
        ray_engine._check_reachable("127.0.0.1:1")
