"""`omm completion`."""

import argparse
from pathlib import Path

from onlymymodel.cli.flags import folder_here
from onlymymodel.cli.parser import Parser, leaves
from onlymymodel.data.stores.address import parse_place
from onlymymodel.errors import UserError

SHELLS = ("bash", "zsh", "fish", "tcsh")
_PATHS = (Path, folder_here, parse_place)  # types of flags that take a file or a folder
_OR_PATHS = ("labels", "gallery", "region")  # flags that take one as well as other texts


def add_flags(parser: Parser) -> None:
    """Add the flags."""
    parser.description = "Print a script that completes commands, flags, choices and files in your shell."
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    script = completion(arguments.shell)
    arguments.output.say(script)
    arguments.output.add(shell=arguments.shell, script=script)
    return 0


def completion(shell: str) -> str:
    """Return the script that completes the commands of `omm`.

    Args:
        shell: one of `SHELLS`.

    Raises:
        UserError: shtab is not installed, or is too old for this shell.
    """
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise UserError("completion needs shtab: pip install shtab") from error
    from onlymymodel.cli.main import build_parser

    if shell not in shtab.SUPPORTED_SHELLS:
        raise UserError(f"the installed shtab knows no {shell}: pip install --upgrade shtab")
    parser = build_parser()
    for leaf in leaves(parser):
        leaf.complete()
    for leaf in leaves(parser):  # those of audit are there now
        for action in leaf._actions:
            if action.type in _PATHS or action.dest in _OR_PATHS:
                action.complete = shtab.FILE
    script: str = shtab.complete(parser, shell=shell)
    return script
