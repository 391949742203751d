"""Starting `omm` and importing the package loads no large library, and can be interrupted."""

import json
import os
import signal
import subprocess
import sys
from functools import partial

import pytest
from paths import ROOT

import onlymymodel
from onlymymodel.cli.commands import COMMANDS
from onlymymodel.cli.main import CLOSED_PIPE

HELP = [[], *(name.split() for name in COMMANDS)]
QUESTIONS = [["--version"], *(pytest.param([*words, "--help"], marks=pytest.mark.slow) for words in HELP)]
SCRIPT = """
import sys
from onlymymodel.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print(end.code, "torch" in sys.modules, file=sys.stderr)
"""


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True, cwd=ROOT)


@pytest.mark.parametrize("words", QUESTIONS, ids=" ".join)
def test_version_and_help_do_not_import_torch(words: list[str]) -> None:
    done = python("-c", SCRIPT, *words)
    assert done.stderr.split() == ["0", "False"]
    assert done.stdout.startswith("omm " if words == ["--version"] else "usage: omm")


@pytest.mark.slow
def test_importing_the_progress_and_the_settings_does_not_import_torch() -> None:
    modules = "onlymymodel.cli.checks, onlymymodel.cli.messages, onlymymodel.settings_file, onlymymodel.surrogates.zoo"
    assert python("-c", f"import sys, {modules}; print('torch' in sys.modules)").stdout == "False\n"


@pytest.mark.slow
def test_importing_the_package_does_not_import_torch() -> None:
    done = python("-c", "import sys, onlymymodel; print(onlymymodel.__version__, 'torch' in sys.modules)")
    assert done.stdout.split() == [onlymymodel.__version__, "False"]


@pytest.mark.slow
def test_every_public_name_can_be_imported() -> None:
    names = ", ".join(onlymymodel.__all__)
    done = python("-c", f"from onlymymodel import {names}; print(all(map(callable, [make_recipe, Budget, configure])))")
    assert done.stdout == "True\n"
    assert set(onlymymodel.__all__) <= set(dir(onlymymodel))
    for name in onlymymodel.__all__:
        assert getattr(onlymymodel, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'protekt'"):
        getattr(onlymymodel, "protekt")  # noqa: B009 - a type checker knows that it is wrong


@pytest.mark.slow
def test_ctrl_c_while_modules_are_imported_ends_in_one_line() -> None:
    """`-X importtime` reports each module on stderr when it is imported: the signal comes in the middle of torch."""
    words = [sys.executable, "-X", "importtime", "-m", "onlymymodel", "models", "zoo:identity-vit"]
    # a test run in the background ignores SIGINT and would pass that on
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, preexec_fn=default, cwd=ROOT) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "torch._" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = [line for line in process.stderr if line.strip() and not line.startswith("import time:")]
    assert rest == ["omm: stopped\n"]
    assert process.returncode == 130


@pytest.mark.slow
def test_ctrl_c_while_modules_are_imported_is_an_answer_in_json() -> None:
    words = ["models", "zoo:identity-vit", "--json", "--progress", "json"]
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    command = [sys.executable, "-X", "importtime", "-m", "onlymymodel", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=default, cwd=ROOT
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        next(line for line in process.stderr if "torch._" in line)
        process.send_signal(signal.SIGINT)
        rest = [line for line in process.stderr if not line.startswith("import time:")]
        answer = json.loads(process.stdout.read())
    assert [json.loads(line) for line in rest] == [{"event": "error", "text": "stopped"}]
    assert answer == {"command": "models", "exit_code": 130, "error": "stopped"}
    assert process.returncode == 130


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["models", "protect --help"])
def test_closed_output_ends_quietly(words: str, unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "onlymymodel", *words.split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        command, stdout=write, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT, env=environment
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode in ((CLOSED_PIPE,) if words == "models" else (CLOSED_PIPE, 0))  # argparse may ignore it
