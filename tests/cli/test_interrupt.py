"""Ctrl-C that a library turns into an error of its own."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from onlymymodel.cli.interrupt import INTERRUPTED
from onlymymodel.cli.main import main

# as safetensors does where the signal comes while it makes a tensor
LIBRARY = """
import os, signal, time
from onlymymodel.errors import UserError

def model():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    except KeyboardInterrupt:
        pass
    raise {error}("could not determine the shape of an object")
"""


@pytest.fixture
def heeded() -> Iterator[None]:
    """Python's own handler, which tests that run in the background do not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("error", ["ValueError", "UserError", "OSError"])
def test_ctrl_c_stops_a_command_whatever_a_library_makes_of_it(
    error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"swallowing_{error}.py").write_text(LIBRARY.format(error=error), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["models", f"python:swallowing_{error}:model", "--allow-python"]) == INTERRUPTED
    assert capsys.readouterr().err == "\nomm: stopped\n"


@pytest.mark.usefixtures("heeded")
def test_an_error_without_ctrl_c_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = LIBRARY.format(error="ValueError").replace("os.kill(os.getpid(), signal.SIGINT)", "raise KeyboardInterrupt")
    (tmp_path / "failing.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="could not determine"):
        main(["models", "python:failing:model", "--allow-python"])
