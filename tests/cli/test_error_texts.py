"""Messages of `omm` for usual mistakes, before torch is imported or a model is loaded."""

import os
import subprocess
import sys

from error_texts import MISTAKES, PINNED
from paths import HELPERS, ROOT


def test_usual_mistakes_are_reported_in_one_sentence_without_torch() -> None:
    """`python tests/helpers/error_texts.py` pins other texts."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HELPERS}"}
    done = subprocess.run(
        [sys.executable, str(HELPERS / "error_texts.py"), "--print"],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert done.stderr == "False\n"  # torch was not imported
    pinned = PINNED.read_text(encoding="utf-8")
    assert done.stdout == pinned
    lines = pinned.splitlines()
    assert lines[::3] == [f"$ omm {command}" for command in MISTAKES]
    assert all(line.startswith("omm: ") for line in lines[1::3])
    assert not any(lines[2::3])
