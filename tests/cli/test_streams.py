"""Standard streams that are closed, full, or of another encoding than UTF-8."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from PIL import Image

from onlymymodel.data.portraits import render

COMMAND = [sys.executable, "-m", "onlymymodel"]
MISTAKE = "preset shwo"


@pytest.mark.slow
@pytest.mark.parametrize("closed", [[1], [2], [1, 2]], ids=str)
@pytest.mark.parametrize("words", ["preset list", "preset list --json", MISTAKE])
def test_a_closed_stream_is_no_mistake(words: str, closed: list[int]) -> None:
    """`>&-`: schedulers and services may start programs without standard streams."""

    def close() -> None:
        for number in closed:
            os.close(number)

    done = subprocess.run([*COMMAND, *words.split()], capture_output=True, check=False, cwd=ROOT, preexec_fn=close)
    assert done.returncode == (2 if words == MISTAKE else 0)
    assert (b"people-in-photos" in done.stdout) == (words != MISTAKE and 1 not in closed)
    assert (b"omm: unknown command" in done.stderr) == (words == MISTAKE and 2 not in closed)
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_a_name_that_standard_output_cannot_encode_is_printed_with_escapes(tmp_path: Path) -> None:
    """In a file or a pipe on Windows it takes the characters of one code page."""
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.asarray(render(0, 0, 0, 96))).save(tmp_path / "photos" / "\u5199\u771f.png")
    models = ["--authorized", "zoo:identity-residual", "--surrogate", "zoo:identity-plain"]
    done = subprocess.run(
        [*COMMAND, "protect", "photos", "--out", "out", *models, "--epsilon", "0", "--verbose"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252"},
    )
    assert done.returncode == 1, done.stderr
    for stream in (done.stdout, done.stderr):
        assert b"\\u5199\\u771f.png: the budget leaves no room for a change" in stream


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="NO /dev/full: a full disk was not tried")
@pytest.mark.parametrize("words", ["preset list", "preset list --json", "preset show photos"])
def test_a_full_disk_under_standard_output_is_one_sentence(words: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*COMMAND, *words.split()], stdout=full, stderr=subprocess.PIPE, check=False, cwd=ROOT)
    assert done.stderr == b"omm: the output cannot be written: No space left on device; finished work is kept\n"
    assert done.returncode == 2
