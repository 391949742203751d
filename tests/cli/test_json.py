"""`--json`: one object on standard output, whatever happens, and nothing else there."""

import json
import os
import signal
import subprocess
import sys
import termios
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from toys import read_portrait

from onlymymodel.cli.commands import COMMANDS
from onlymymodel.cli.main import main
from onlymymodel.cli.output import Output, plain

MODELS = ["--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs", "--allow-python"]
QUICK = ["--recipe", "exact", "--steps", "2", "--step-share", "1", "--views", "center", "--kappa", "0.5"]
EPSILON = ["--epsilon", "16", "--shape", "even", "--device", "cpu"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    source = tmp_path / "photos"
    source.mkdir()
    for index in range(3):
        Image.fromarray(read_portrait(index)).save(source / f"{index}.png")
    (source / "text.jpg").write_text("hello")
    return source


def answer(capsys: pytest.CaptureFixture[str], code: int, *words: str | Path) -> dict[str, Any]:
    """The object that a command prints, which is the whole output."""
    assert main([str(word) for word in (*words, "--json")]) == code
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    content: dict[str, Any] = json.loads(printed)
    assert content["exit_code"] == code
    return content


def test_protect_evaluate_and_verify(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    protect: list[str | Path] = [
        "protect",
        photos,
        "--out",
        out,
        *MODELS,
        *QUICK,
        *EPSILON,
        "--heldout",
        "python:toys:others",
    ]
    made = answer(capsys, 1, *protect)
    assert (made["command"], made["photos"], made["counts"]) == ("protect", 4, {"protected": 3, "failed": 1})
    (failed,) = made["not_protected"]
    assert (failed["photo"], failed["status"]) == ("text.jpg", "failed")
    assert made["report"] == str(out / "report.html")
    assert [(row["role"], row["read"]["clean"]["png"]["photos"]) for row in made["models"]] == [
        ("authorized", 3), ("surrogate", 3), ("held-out", 3),
    ]  # fmt: skip
    evaluate: list[str | Path] = [
        "evaluate",
        "--original",
        photos,
        "--protected",
        out,
        "--out",
        tmp_path / "e",
        "--allow-python",
    ]
    judged = answer(capsys, 0, *evaluate)
    assert judged["photos"] == 3
    assert judged["models"][0]["read"]["out"]["png"]["right"] == 3
    verified = answer(capsys, 0, "verify", out, "--allow-python")
    assert (verified["checked"], verified["faults"], verified["proven"]) == (3, [], False)
    (out / "1.png").write_bytes(b"spoiled")
    assert answer(capsys, 1, "verify", out, "--allow-python")["faults"][0]["file"] == "1.png"


def test_a_mistake_is_in_the_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = answer(capsys, 2, "protect", tmp_path / "photos", "--out", tmp_path / "out", *MODELS)
    assert wrong["command"] == "protect"
    assert "does not exist" in wrong["error"]
    assert "did you mean 'protect'" in answer(capsys, 2, "protct")["error"]
    assert "--strength" in answer(capsys, 2, "protect", "photos", "--strenght", "low")["error"]


def test_what_a_model_prints_is_not_on_standard_output(photos: Path, tmp_path: Path, capfd: Any) -> None:
    words = ["protect", str(photos), "--out", str(tmp_path / "out"), *MODELS, *QUICK, *EPSILON, "--json"]
    words[words.index("python:toys:theirs")] = "python:toys:chatty"
    main(words)
    printed = capfd.readouterr()
    assert json.loads(printed.out)["photos"] == 4
    assert "hello from a factory" in printed.err


@pytest.mark.parametrize("words", ["models", "preset list", "preset show photos", "completion bash"])
def test_lists(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = answer(capsys, 0, *words.split())
    assert COMMANDS[content["command"]]
    assert len(content) > 2


def test_models_that_fail_a_check(capsys: pytest.CaptureFixture[str]) -> None:
    content = answer(capsys, 1, "models", "python:toys:mine", "python:toys:blind", "--allow-python")
    assert [model["passed"] for model in content["models"]] == [True, False]
    assert any(not check["passed"] and check["advice"] for check in content["models"][1]["checks"])


def test_progress_and_messages_can_be_json_lines(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["protect", str(photos), "--out", str(tmp_path / "out"), *MODELS, *QUICK, *EPSILON, "--json"]
    assert main([*words, "--progress", "json"]) == 1
    printed = capsys.readouterr()
    events = [json.loads(line) for line in printed.err.splitlines()]
    assert json.loads(printed.out)["exit_code"] == 1
    photo_events = [event for event in events if event["event"] == "photo"]
    assert {event["photo"]: event["status"] for event in photo_events} == {
        "0.png": "protected", "1.png": "protected", "2.png": "protected", "text.jpg": "failed",
    }  # fmt: skip
    assert main([*words, "--progress=json", "--epsilon", "4"]) == 2
    assert json.loads(capsys.readouterr().err)["event"] == "error"


def test_per_photo_lines_and_levels_of_messages(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["protect", str(photos), "--out", str(tmp_path / "out"), *MODELS, *QUICK, *EPSILON]
    assert main([*words, "--verbose"]) == 1
    printed = capsys.readouterr()
    assert "protected  0.png: 1 of 1 stand-ins misread it" in printed.err
    assert "  text.jpg: " in printed.out
    check = ["models", "python:toys:mine", "--allow-python", "--device", "cpu", "--log-level"]
    assert main([*check, "warning"]) == 0
    assert capsys.readouterr().err == ""
    assert main([*check, "info"]) == 0
    assert "omm: info: loaded python:toys:mine in " in capsys.readouterr().err


@pytest.mark.slow
def test_a_tuning(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [*MODELS, "--heldout", "python:toys:others"]
    words = [*models, *QUICK, "--device", "cpu", "--highest", "4", "--sample", "2", "--per-image"]
    main(["tune", str(photos), "--out", str(tmp_path / "t"), *words, "--json"])
    content = json.loads(capsys.readouterr().out)
    assert content["command"] == "tune"
    assert content["target_met"] == (content["exit_code"] == 0) or content["photos"]
    assert content["points"][0]["epsilon"] == 0
    assert Path(content["run_file"]).is_file()


@pytest.mark.slow
def test_audits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--pictures", "digits", "--size", "16", "--limit", "2", "--attacks", "idlg", "--epochs", "0"]
    content = answer(capsys, 0, "audit", "gradients", "--out", tmp_path, *quick)
    assert content["command"] == "audit gradients"
    assert [row["name"] for row in content["reports"][0]["rows"]] == ["digit 0", "digit 1"]
    assert content["reports"] == json.loads(Path(content["results"]).read_text())["reports"]


@pytest.mark.slow
def test_the_address_of_the_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "onlymymodel", "app", "--no-browser", "--device", "cpu", "--json"]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, preexec_fn=heed) as process:
        assert process.stdout is not None
        content = json.loads(process.stdout.readline())
        assert content["address"].startswith("http://")
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
    assert process.returncode == 0


def test_values_that_json_does_not_have() -> None:
    assert plain({"a": float("nan"), "b": (Path("x/y"), 1.5), 3: None}) == {"a": None, "b": ["x/y", 1.5], "3": None}


def test_only_the_first_object_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    output.say("text")
    output.add(address="http://localhost")
    output.finish("app", 0)
    output.finish("app", 0)
    assert json.loads(capsys.readouterr().out) == {"command": "app", "exit_code": 0, "address": "http://localhost"}


@pytest.mark.slow
def test_text_is_as_wide_as_the_terminal() -> None:
    """Lines written to a file or a pipe have the same width in every terminal."""
    words = [sys.executable, "-c", "import onlymymodel.cli.output as o; raise SystemExit(o.Output(False).columns)"]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    leader, follower = os.openpty()
    termios.tcsetwinsize(follower, (24, 72))
    assert subprocess.run(words, env=environment, stdout=follower, check=False).returncode == 72
    assert subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=False).returncode == 100
    for end in (leader, follower):
        os.close(end)
