"""Runs with source and output in S3: equal to runs in folders, resumable, one at a time, and clear about errors."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from paths import HELPERS
from patience import PATIENCE, RUN_PATIENCE, wait_until
from PIL import Image
from s3_server import S3Server, no_fault, s3_server
from stored import FLAGS, contents, fill, lines_of, photos_of, protect
from toys import read_portrait

from onlymymodel.cli.main import main
from onlymymodel.data.stores.lock import PREFIX, lock_remote
from onlymymodel.data.stores.remote import open_remote
from onlymymodel.protect import batches as batches_module

pytestmark = pytest.mark.slow
SOURCE, OUT = "s3://bucket/photos", "s3://bucket/protected"
PARTS, SLOW = ".omm-manifest.jsonl.parts/", "python:toys:slow"


@pytest.fixture
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    source = tmp_path / "photos"
    (source / "a trip").mkdir(parents=True)
    for index in range(5):
        Image.fromarray(read_portrait(index)).save(source / "a trip" / f"{index}+é.png")
    (source / "notes.txt").write_text("not a photo")
    return source


@pytest.fixture
def stored(server: S3Server, photos: Path) -> S3Server:
    """A server that has the photos."""
    fill(SOURCE, photos)
    return server


@pytest.fixture
def local(photos: Path, tmp_path: Path) -> dict[str, bytes]:
    """Return the files of a run in folders."""
    protect(photos, tmp_path / "local")
    return contents(tmp_path / "local")


def check_as_local(local: dict[str, bytes]) -> None:
    """Check that the output is what a run in folders writes, and nothing else."""
    found = contents(open_remote(OUT))
    assert photos_of(found) == photos_of(local)
    assert lines_of(found) == lines_of(local)
    assert [file.key for file in open_remote(OUT).files() if "parts/" in file.key or PREFIX in file.key] == []
    assert main(["verify", OUT, "--allow-python", "--quiet"]) == 0


def test_a_run_is_equal_to_one_in_folders_and_its_repetition_does_nothing(
    stored: S3Server, local: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert protect(SOURCE, OUT) == 0
    check_as_local(local)
    monkeypatch.setattr(batches_module, "protect_photos", lambda *_: pytest.fail("computed again"))
    stored.requests.clear()
    assert protect(SOURCE, OUT) == 0
    assert stored.count("GET", ".png") == 0
    assert {path for method, path in stored.requests if method == "PUT" and PREFIX not in path} == set()


def test_puts_that_fail_are_told_and_a_later_run_completes(
    stored: S3Server, local: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    stored.fault = lambda method, path: method == "PUT" and "/protected/a trip/3" in path
    assert protect(SOURCE, OUT) == 1
    said = capsys.readouterr().out
    assert "4 of 5 photos protected" in said
    assert "a trip/3+é.png: cannot be written: " in said
    assert "the store is on fire" in said
    assert "a trip/3+é.png" not in contents(open_remote(OUT))
    stored.fault = no_fault
    assert protect(SOURCE, OUT) == 0
    check_as_local(local)


def test_a_run_whose_manifest_cannot_be_written_ends_and_goes_on_later(
    stored: S3Server, local: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    stored.fault = lambda method, path: method == "PUT" and "manifest.jsonl.parts/0000000002" in path
    assert protect(SOURCE, OUT) == 2
    error = capsys.readouterr().err
    assert f"{OUT}: the records of the run cannot be written" in error
    assert "the store is on fire" in error
    stored.fault = no_fault
    stored.requests.clear()
    assert protect(SOURCE, OUT) == 0
    assert stored.count("PUT", "/protected/a trip/0") == 0  # its line was there
    check_as_local(local)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_store_that_cannot_be_used_ends_the_run_at_once(
    method: str, stored: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.fault = lambda asked, _: asked == method
    assert protect(SOURCE, OUT) == 2
    error = capsys.readouterr().err
    assert error.startswith("omm: s3://bucket/p")
    assert "cannot be used: " in error
    assert error.count("\n") == 1


def test_a_photo_that_cannot_be_read_fails_alone(
    stored: S3Server, local: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    stored.fault = lambda method, path: method == "GET" and "/photos/a trip/1" in path
    assert protect(SOURCE, OUT) == 1
    said = capsys.readouterr().out
    assert "4 of 5 photos protected" in said
    assert "a trip/1+é.png: cannot be read: " in said
    stored.fault = no_fault
    assert protect(SOURCE, OUT) == 0
    assert photos_of(contents(open_remote(OUT))) == photos_of(local)


def test_a_store_that_does_not_answer_costs_one_photo(
    stored: S3Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    hurried = {"config_kwargs": {"read_timeout": 0.3}, "max_concurrency": 1}
    monkeypatch.setitem(fsspec.config.conf, "s3", hurried)
    done = threading.Event()
    stored.fault = lambda method, path: method == "GET" and "/photos/a trip/1" in path and done.wait(PATIENCE)
    try:
        assert protect(SOURCE, OUT) == 1
    finally:
        done.set()
    said = capsys.readouterr().out
    assert "4 of 5 photos protected" in said
    assert re.search(r"a trip/1\+é.png: cannot be read: .*time", said)


@pytest.mark.parametrize("answer", ["500", "none"])
def test_a_request_is_made_as_often_as_the_settings_of_aws_say(
    answer: str, stored: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 0.3}})
    file = open_remote(SOURCE).file("a trip/1+é.png")
    done = threading.Event()
    stored.requests.clear()
    stored.fault = lambda method, _: method == "GET" and (answer == "500" or done.wait(PATIENCE))
    try:
        with pytest.raises(OSError, match="the store is on fire" if answer == "500" else "(?i)time"):
            file.read_all()
    finally:
        done.set()
    assert stored.count("GET", "/photos/") == 2


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_loses_nothing(how: signal.Signals, photos: Path, tmp_path: Path) -> None:
    words = ["protect", SOURCE, "--out", OUT, *FLAGS, "--surrogate", SLOW, "--steps", "20"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(HELPERS), os.environ.get("PYTHONPATH", "")))}
    command = [sys.executable, "-m", "onlymymodel", *words]
    # a test run in the background ignores SIGINT and would hand that down
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, preexec_fn=heed
    )
    out = open_remote(OUT)
    try:
        wait_until(lambda: process.poll() is not None or bool(out.files_below(PARTS)), RUN_PATIENCE)
        process.send_signal(how)
        _, errors = process.communicate(timeout=RUN_PATIENCE)
    finally:
        process.kill()
    assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130), errors
    before = contents(out)
    assert "manifest.jsonl" not in before
    assert protect(SOURCE, OUT, "--steps", "20", surrogate=SLOW) == 0
    after = contents(out)
    assert {name: after[name] for name in photos_of(before)} == photos_of(before)
    assert protect(photos, tmp_path / "undisturbed", "--steps", "20", surrogate=SLOW) == 0
    check_as_local(contents(tmp_path / "undisturbed"))


@pytest.mark.usefixtures("stored")
def test_a_second_run_is_refused_until_the_first_has_ended(capsys: pytest.CaptureFixture[str]) -> None:
    with lock_remote(open_remote(OUT), {"photos": 5}):
        assert protect(SOURCE, OUT) == 2
    assert f"{OUT} is in use by another run (process {os.getpid()} on " in capsys.readouterr().err
    assert protect(SOURCE, OUT) == 0


@pytest.mark.usefixtures("stored")
def test_a_lock_that_nobody_renews_lapses(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    holder = {"process": 1, "computer": "elsewhere", "since": "2026-01-01T00:00:00+00:00"}
    open_remote(OUT).put(f"{PREFIX}0123", json.dumps(holder).encode())
    assert protect(SOURCE, OUT) == 2
    assert "(process 1 on elsewhere, since 2026-01-01 00:00:00 UTC)" in capsys.readouterr().err
    monkeypatch.setattr("onlymymodel.data.stores.lock.LAPSES", -10.0)
    assert protect(SOURCE, OUT) == 0


def test_a_missing_client_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as if it were not installed
    assert protect("gs://bucket/photos", tmp_path / "out") == 2
    assert "pip install 'onlymymodel[gcs]'" in capsys.readouterr().err
