"""A secret in the URI of a server is in no file and in no line that a command prints."""

from contextlib import suppress
from pathlib import Path

import pytest
from evaluating import QUICK, write_photos
from oip_server import serving
from toys import others

from onlymymodel.cli.main import main
from onlymymodel.evaluate.results_file import read_results

SECRET = "s3cret"


def assert_hidden(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in filter(Path.is_file, folder.rglob("*")):
        assert SECRET.encode() not in path.read_bytes(), path
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err


def test_a_servers_own_options_are_in_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, out = write_photos(tmp_path / "photos"), tmp_path / "out"
    models = ["--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs", "--allow-python"]
    with serving(others()) as server:
        url = f"{server.url}?fit=squash&apikey={SECRET}"
        assert main(["protect", str(photos), "--out", str(out), *models, *QUICK, "--heldout", url]) in (0, 1)
        words = ["evaluate", "--original", str(photos), "--protected", str(out), "--out", str(tmp_path / "e")]
        assert main([*words, f"--heldout={url}", "--allow-python", "--quiet"]) == 0
        assert all(path.endswith(f"?apikey={SECRET}") for path in server.paths)
    for folder in (out, tmp_path / "e"):
        command = read_results(folder / "results.json").header["command"]
        assert f"{server.url}?fit=squash&apikey=***" in command
        assert "apikey=***" in (folder / "report.html").read_text(encoding="utf-8")
    assert_hidden(tmp_path, capsys)


@pytest.mark.parametrize(
    "words",
    [
        ["models", f"https://h/v2/models/x?apikey={SECRET}"],
        ["models", f"https://h/v2/models/x?timeout=soon&apikey={SECRET}"],
        ["models", f"https://h/v2/models/x?apikey={SECRET}&timeuot=3"],
        ["models", f"https://me:{SECRET}@h/v2/models/x"],
        ["models", "zoo:identity-plain", f"--heldout=https://h/v2/models/x?apikey={SECRET}"],
        ["protect", f"https://h/v2/models/x?apikey={SECRET}", "--out", "out", "--authorized", "zoo:a"],
        # too long for a path
        ["protect", f"https://h/x?apikey={SECRET}{'x' * 5000}", "--out", "out", "--authorized", "zoo:identity-plain"],
    ],
)
def test_a_mistake_is_reported_without_it(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with suppress(SystemExit):  # of the parser of flags
        assert main(words) == 2
    assert_hidden(tmp_path, capsys)
