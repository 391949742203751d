"""`omm demo`."""

import argparse
from pathlib import Path

from onlymymodel.cli.flags import add_device, folder_here, positive
from onlymymodel.cli.interrupt import exit_on_interrupt
from onlymymodel.cli.parser import Parser
from onlymymodel.protect.budget.strengths import STRENGTHS

STRENGTH = "high"  # cartoons are smooth, and a smaller change beside their texture misleads few models


def add_flags(parser: Parser) -> None:
    """Add the flags."""
    parser.description = (
        "Render portraits, protect them for one bundled model, evaluate them with others and write a report."
    )
    parser.add_argument(
        "--out", type=folder_here, default=Path("omm-demo"), metavar="DIR", help="new folder; omm-demo by default"
    )
    parser.add_argument("--photos", type=positive, default=12, metavar="N", help="number of portraits; 12 by default")
    parser.add_argument(
        "--strength", choices=STRENGTHS, default=STRENGTH, help=f"how much may change; {STRENGTH} by default"
    )
    pretrained = "use timm's ImageNet models (downloads them) instead of the bundled ones"
    parser.add_argument("--pretrained", action="store_true", help=pretrained)
    add_device(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; return 0 if every portrait is protected, else 1."""
    with exit_on_interrupt():
        from onlymymodel.data.folder import check_could_be_written

        check_could_be_written(arguments.out)
        from onlymymodel.cli.scores import scores
        from onlymymodel.cli.summary import summary_fields
        from onlymymodel.demo import run_demo
        from onlymymodel.evaluate.folders import PAGE
        from onlymymodel.evaluate.terminal_table import to_text
        from onlymymodel.runtime import configure, pick_device
    configure()
    summary, results = run_demo(
        arguments.out,
        photos=arguments.photos,
        strength=arguments.strength,
        pretrained=arguments.pretrained,
        device=pick_device(arguments.device),
    )
    page = arguments.out / PAGE
    arguments.output.say(to_text(results, arguments.output.columns), f"\nopen {page} to see them side by side")
    arguments.output.add(out=arguments.out, report=page, **summary_fields(summary), models=scores(results))
    return 0 if summary.all_protected else 1
