"""Several processes write what one writes, and a photo that kills its worker is the only one that fails."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import interrupted_contexts
import pytest
from evaluating import MINE, QUICK, THEIRS, write_photos
from hostile import check_lines, files_of, lines_of, protect, save_photo
from PIL import Image
from worker_contexts import POISON, make, make_broken, make_dead, make_none, make_other, make_poisoned

from onlymymodel.cli.main import main
from onlymymodel.errors import UserError
from onlymymodel.protect.photo_record import PhotoManifest
from onlymymodel.protect.workers import WorkerSettings

pytestmark = pytest.mark.slow  # each worker imports torch


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(7):
        # of two sizes, so that batches of both are planned
        save_photo(tmp_path / "photos" / f"{index}.png", index, 24 if index % 3 else 28)
    return tmp_path / "photos"


@pytest.fixture(autouse=True)
def _no_worker_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def test_any_number_of_workers_writes_the_same(photos: Path, tmp_path: Path) -> None:
    protect(photos, tmp_path / "one")
    protect(photos, tmp_path / "two", workers=WorkerSettings(2, make))
    check_lines(photos, tmp_path / "two")
    assert lines_of(tmp_path / "one") == lines_of(tmp_path / "two")
    one, two = files_of(tmp_path / "one"), files_of(tmp_path / "two")
    for files in (one, two):
        del files["manifest.jsonl"]  # has the seconds of each photo
    assert one == two


def test_a_photo_that_kills_its_worker_fails_alone(photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (24, 24), (POISON,) * 3).save(photos / "poison.png")
    out, poisoned = tmp_path / "out", make_poisoned("cpu")
    settings = {"workers": WorkerSettings(2, make_poisoned), "context": poisoned, "batch_size": 4}
    summary = protect(photos, out, **settings)
    assert summary.counts["failed"] == 1
    assert summary.counts.total() == 8
    check_lines(photos, out)
    assert PhotoManifest(out).by_source()["poison.png"].reason == (
        "its worker process ended (killed by SIGKILL), perhaps for want of memory"
    )
    before = files_of(out)
    (photos / "poison.png").unlink()
    assert protect(photos, out, **settings).counts.total() == 7
    (photos / "poison.png").touch()
    assert {name: data for name, data in files_of(out).items() if name.endswith("png")} == {
        name: data for name, data in before.items() if name.endswith("png")
    }


def test_a_run_by_workers_is_resumed_without_them_and_computes_nothing_twice(photos: Path, tmp_path: Path) -> None:
    protect(photos, tmp_path / "out", workers=WorkerSettings(2, make))
    before = files_of(tmp_path / "out")
    protect(photos, tmp_path / "out")
    protect(
        photos, tmp_path / "out", workers=WorkerSettings(2, make_dead)
    )  # a worker that is started would end the run
    assert files_of(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("make_context", "sentence"),
    [
        (make_none, "there is no model on cpu"),
        (make_other, "a worker loaded other models than the run"),
        (make_dead, r"a worker process ended while it loaded the models \(killed by SIGKILL\)"),
    ],
)
def test_a_worker_that_cannot_start_ends_the_run(
    make_context: object, sentence: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        protect(photos, tmp_path / "out", workers=WorkerSettings(1, make_context))  # type: ignore[arg-type]
    assert lines_of(tmp_path / "out") == []


def test_ctrl_c_is_for_the_driver_alone_also_while_a_worker_imports(photos: Path, tmp_path: Path) -> None:
    assert protect(photos, tmp_path / "out", workers=WorkerSettings(1, interrupted_contexts.make)).all_protected
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_an_error_that_every_photo_causes_ends_the_run(photos: Path, tmp_path: Path) -> None:
    settings = WorkerSettings(1, make_broken)
    with pytest.raises(RuntimeError, match="RuntimeError in a worker process: a bug, whatever the 1 photos"):
        protect(photos, tmp_path / "out", workers=settings, context=make_broken("cpu"))


def test_the_command_has_workers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_photos(tmp_path / "photos")
    models = ["--authorized", MINE, "--surrogate", THEIRS, "--allow-python", "--batch-size", "1"]
    for name, count in (("one", "1"), ("two", "2")):
        out = ["--out", str(tmp_path / name), "--workers", count]
        assert main(["protect", str(source), *out, *models, *QUICK]) == 0
    assert "3 of 3 photos protected" in capsys.readouterr().out
    assert [line["output_sha256"] for line in lines_of(tmp_path / "one")] == [
        line["output_sha256"] for line in lines_of(tmp_path / "two")
    ]


def test_no_worker_outlives_a_driver_that_is_killed(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "photo.png", 0)
    code = (
        "import sys; from pathlib import Path; from hostile import protect; from worker_contexts import make_busy\n"
        "from onlymymodel.protect.workers import WorkerSettings\n"
        "if __name__ == '__main__':\n"
        "    protect(*map(Path, sys.argv[1:]), workers=WorkerSettings(1, make_busy))\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code, encoding="utf-8")
    words = [sys.executable, str(script), str(tmp_path / "photos"), str(tmp_path / "out")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment, text=True) as driver:
        assert driver.stdout is not None
        worker = int(driver.stdout.readline())
        driver.kill()
        try:
            driver.communicate(timeout=10)  # the pipe ends with the worker, which holds it too
        except subprocess.TimeoutExpired:
            os.kill(worker, signal.SIGTERM)
            raise


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5"])
def test_other_numbers_of_workers_are_refused(value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["protect", str(tmp_path), "--out", str(tmp_path / "out"), "--workers", value]) == 2
    assert "--workers" in capsys.readouterr().err
