"""The flags of `omm tune`."""

import argparse
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from onlymymodel.protect.recipe import Recipe

Adds = Callable[[Any], None]


def add_tune(
    subparsers: Any, *, roles: Adds, budget: Adds, files: Adds, common: Adds, knob: Callable[[Any, Any], None]
) -> None:
    """`omm tune`.

    Args:
        roles, budget, files, common, knob: what adds the flags that `omm protect` has too.
    """
    parser = subparsers.add_parser(
        "tune",
        help="find the least visible budget that protects your photos",
        description="Protect a sample of PHOTOS at several budgets, judge the written files, and find the least "
        "epsilon (1/255) that\nmeets the target. Writes tune.json, frontier.svg, tune.html and run.toml for omm "
        "protect --run to DIR.\nStopped and begun again, it computes and asks nothing twice.\n\n"
        "The judges are the --heldout models: surrogates are what the change is fitted to, and no evidence. Without\n"
        "--heldout the last --surrogate is set aside as the judge, and joins again in run.toml.",
    )
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="a folder of photos, or one photo; never changed")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for what was found")
    parser.add_argument("--labels", metavar="CSV", help="as for omm protect")
    parser.add_argument("--run", dest="run_file", type=Path, metavar="TOML", help="file that names models and settings")
    _add_goal(parser.add_argument_group("what is looked for"))
    roles(parser.add_argument_group("models, by their URIs (see omm models)"))
    budget(parser.add_argument_group("how photos are protected (--epsilon and --strength are what is looked for)"))
    files(parser.add_argument_group("files"))
    common(parser)
    knobs = parser.add_argument_group("settings of the recipe (see omm protect)")
    for field in fields(Recipe):
        if field.name != "name":
            knob(knobs, field)
    parser.set_defaults(run=_tune)


def _add_goal(group: Any) -> None:
    read = "largest share that held-out models may read, as written (0.1)"
    group.add_argument("--target-heldout", type=float, default=0.1, metavar="SHARE", help=read)
    kept = "least share that the authorized model keeps, of the photos that it reads when clean (0.99)"
    group.add_argument("--target-kept", type=float, default=0.99, metavar="SHARE", help=kept)
    group.add_argument("--sample", type=_positive, default=16, metavar="N", help="photos that are drawn (16)")
    drawn = "of the draw; --seed is the recipe's (0)"
    group.add_argument("--sample-seed", type=int, default=0, metavar="N", help=drawn)
    group.add_argument("--highest", type=_positive, default=32, metavar="N", help="largest epsilon that is tried (32)")
    photo = "also find the least epsilon of every photo, and write them all to DIR/protected"
    group.add_argument("--per-image", action="store_true", help=photo)
    axis = "what the plot has below: the budget (default), or the median SSIM"
    group.add_argument("--axis", choices=("epsilon", "ssim"), default="epsilon", help=axis)


def _tune(arguments: argparse.Namespace) -> int:
    """The command, imported when it is run."""
    code: int = import_module("onlymymodel.tune_command").tune_command(arguments)
    return code


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)
