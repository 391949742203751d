"""Shell completion, in a real shell."""

import shutil
import subprocess
from pathlib import Path

import pytest

from onlymymodel.cli.completion import SHELLS
from onlymymodel.cli.main import main

ASK = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_omm; printf "%s\\n" "${COMPREPLY[@]}"'


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from onlymymodel.cli.completion import completion

    path = tmp_path_factory.mktemp("completion") / "omm.bash"
    path.write_text(completion("bash"))
    return path


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("omm eva", {"evaluate"}),
        ("omm protect --dry", {"--dry-run"}),
        ("omm audit grad", {"gradients"}),
        ("omm audit gradients --att", {"--attacks"}),
        ("omm protect --strength l", {"low"}),
    ],
)
def test_words_are_completed(script: Path, words: str, completed: set[str]) -> None:
    assert completions(script, words) == completed


@pytest.mark.parametrize(
    "words",
    [
        "omm protect",
        "omm protect photos --out",
        "omm protect photos --labels",
        "omm protect photos --gallery",
        "omm protect photos --region",
        "omm protect photos --run",
        "omm merge",
        "omm status",
        "omm verify",
        "omm verify protected --source",
        "omm evaluate --original",
        "omm evaluate --protected",
        "omm evaluate --protected ours",
        "omm evaluate --out",
        "omm tune",
        "omm models fetch --to",
        "omm demo --out",
        "omm audit gradients",
        "omm audit representation --labels",
        "omm protect-representation --out",
    ],
)
def test_files_and_folders_are_completed(script: Path, words: str, tmp_path: Path) -> None:
    (tmp_path / "my-photos").mkdir()
    assert completions(script, f"{words} my-", tmp_path) == {"my-photos"}


def completions(script: Path, words: str, folder: Path | None = None) -> set[str]:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("NO BASH: completion was not tried in a shell")
    command = [bash, "-c", ASK, "bash", str(script), *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "protect" in capsys.readouterr().out
