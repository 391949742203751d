"""An empty text, such as that of an unset variable of a shell, is no path."""

import argparse
import re

import pytest

from onlymymodel.cli.commands import COMMANDS
from onlymymodel.cli.main import build_parser
from onlymymodel.cli.parser import Parser
from onlymymodel.errors import UserError
from onlymymodel.protect.attack.recipe import Recipe


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("audit", "preset")])
def test_an_empty_text_is_no_path_of_any_command(command: str) -> None:
    """`--out "$OUT"` with an unset variable does not mean the current folder; only a setting of a recipe is a text."""
    (parser,) = [leaf for leaf in _all_leaves() if leaf.prog == f"omm {command}"]
    taking = [action for action in parser._actions if action.nargs != 0 and action.type is not str]
    for action in taking:
        name = str(action.option_strings[0] if action.option_strings else action.metavar)
        words = [*action.option_strings[:1], ""]
        with pytest.raises(UserError, match=f"^{re.escape(name)} is empty$"):
            parser.parse_args(words)
    texts = [action.option_strings[0] for action in parser._actions if action.type is str]
    assert set(texts) <= {f"--{name.replace('_', '-')}" for name in Recipe.__dataclass_fields__}


def _all_leaves() -> list[Parser]:
    pending: list[Parser] = [build_parser()]
    leaves = []
    while pending:
        parser = pending.pop()
        parser.complete()
        groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        pending += [child for group in groups for child in group.choices.values()]
        leaves += [] if groups else [parser]
    return leaves
