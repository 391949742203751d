"""`omm tune` from the command line, on toy models."""

import json
from pathlib import Path
from typing import Any

from onlymymodel.cli import main as cli
from onlymymodel.cli.output import Output
from onlymymodel.evaluate.tune import tune_page

TOYS = [
    "--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs", "python:toys:others", "--allow-python",
    "--steps", "2", "--step-share", "1", "--views", "center", "--kappa", "0.5",
    "--shape", "even", "--device", "cpu", "--quiet",
]  # fmt: skip


def omm(*words: str) -> int:
    """Run a command line; a UserError is raised, not printed."""
    arguments = cli.build_parser().parse_args(words)
    arguments.words, arguments.output = list(words), Output(as_json=False)
    code: int = arguments.run(arguments)
    return code


def content_of(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / tune_page.JSON).read_text(encoding="utf-8"))
    return content
