"""`omm preset`."""

import argparse

from onlymymodel.cli.parser import Parser
from onlymymodel.presets.preset import PRESETS, preset_text


def add_flags(parser: Parser) -> None:
    """Add `omm preset list|show`."""
    parser.description = (
        "List the bundled run files, or print one to edit: omm preset show photos > run.toml.\n"
        "omm protect --preset NAME uses one as it is; flags override it."
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    listing = actions.add_parser("list", help="list the presets", description="List the presets.")
    listing.set_defaults(run=_list)
    show = actions.add_parser(
        "show", help="print the run file of a preset", description="Print the run file of a preset, to edit a copy."
    )
    show.add_argument("name", metavar="NAME", help=f"one of {', '.join(PRESETS)}")
    show.set_defaults(run=_show)


def _list(arguments: argparse.Namespace) -> int:
    width = max(map(len, PRESETS))
    arguments.output.say(*(f"{name:{width}}  {purpose}" for name, purpose in PRESETS.items()))
    arguments.output.add(presets=PRESETS)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    text = preset_text(arguments.name)
    arguments.output.say(text.removesuffix("\n"))
    arguments.output.add(name=arguments.name, text=text)
    return 0
