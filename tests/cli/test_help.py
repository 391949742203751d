"""Help in two lengths, from one table."""

import argparse
import shlex
from dataclasses import fields
from typing import Any

import pytest

from onlymymodel.cli.commands import COMMANDS
from onlymymodel.cli.main import build_parser, main
from onlymymodel.cli.parser import Parser, leaves
from onlymymodel.protect.attack.recipe import RECIPES, Recipe
from onlymymodel.protect.budget.strengths import STRENGTHS

USUAL = 15  # flags that --help may show, besides --help and --help-all
WITH_COMMANDS = {"audit", "preset"}


def parsers() -> dict[str, Parser]:
    """The parser of every command that does something, by its name."""
    root = build_parser()
    for leaf in leaves(root):
        leaf.complete()
    return {leaf.prog.partition(" ")[2]: leaf for leaf in leaves(root)}


PARSERS = parsers()


def names(actions: list[argparse.Action]) -> set[str]:
    return {name for action in actions for name in action.option_strings}


def show(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code == 0
    return capsys.readouterr().out


def test_the_table_has_a_row_for_every_command() -> None:
    assert PARSERS.keys() == COMMANDS.keys() - WITH_COMMANDS


@pytest.mark.parametrize("name", PARSERS)
def test_help_shows_the_usual_flags_and_examples_and_help_all_every_flag(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parser, row = PARSERS[name], COMMANDS[name]
    assert set(row.usual) <= names(parser.flags())
    assert len(row.usual) <= USUAL
    short, whole = show(capsys, *name.split(), "--help"), show(capsys, *name.split(), "--help-all")
    for action in parser.flags():
        listed = any(line.strip().startswith(tuple(action.option_strings)) for line in whole.splitlines())
        assert listed, action.option_strings
    hidden = names(parser.flags()) - names(parser.usual_flags())
    shown = {line.split()[0].rstrip(",") for line in short.splitlines() if line.startswith("  -")}
    assert not hidden & shown
    assert max(map(len, short.splitlines())) <= 120
    for purpose, _ in row.examples:
        assert f"  # {purpose}\n" in short


@pytest.mark.parametrize("line", [line for row in COMMANDS.values() for _, line in row.examples])
def test_examples_can_be_parsed(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0])
    assert words[0] == "omm"
    build_parser().parse_args(words[1:])


def test_every_command_has_three_examples_and_json() -> None:
    for name, parser in PARSERS.items():
        assert len(COMMANDS[name].examples) >= (2 if name.startswith("preset") else 3), name
        assert {"--json", "--log-level"} <= names(parser.flags()), name


def test_help_all_of_protect_has_every_setting_and_the_strengths(capsys: pytest.CaptureFixture[str]) -> None:
    text = show(capsys, "protect", "--help-all")
    for setting in fields(Recipe):
        if setting.name != "name":
            assert f"--{setting.name.replace('_', '-')}" in text
    for name, strength in STRENGTHS.items():
        assert name in text
        assert strength.meaning in text
    assert all(recipe in text for recipe in RECIPES)


def test_help_wins_over_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert "usage: omm protect" in show(capsys, "protect", "--strenght", "low", "--help")


def test_short_flags_may_be_joined() -> None:
    arguments: Any = build_parser().parse_args(["protect", "photos", "--out", "out", "-vq"])
    assert (arguments.verbose, arguments.progress) == (True, "none")
