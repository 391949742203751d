"""`omm doctor`."""

import argparse
from dataclasses import asdict

from onlymymodel.cli.flags import add_device
from onlymymodel.cli.interrupt import exit_on_interrupt
from onlymymodel.cli.parser import Parser

MARKS = {"ok": "ok    ", "absent": "absent", "warning": "WARN  ", "broken": "BROKEN"}


def add_flags(parser: Parser) -> None:
    """Add the flags."""
    parser.description = (
        "Check this installation: versions, device, memory, folders, extras, and one photo that is protected with\n"
        "bundled models. Nothing is downloaded or written but a temporary folder. The exit code is 1 if anything is "
        "broken."
    )
    add_device(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check the installation; return 1 if anything is broken, else 0."""
    with exit_on_interrupt():
        from onlymymodel.cli.diagnosis import diagnose
    output, findings = arguments.output, []
    for finding in diagnose(arguments.device):
        output.say(f"{MARKS[finding.state]}  {finding.name}: {finding.text}")
        findings.append(finding)
    broken = [finding.name for finding in findings if finding.state == "broken"]
    output.say("", f"{', '.join(broken)}: broken" if broken else "nothing is broken")
    output.add(healthy=not broken, findings=[asdict(finding) for finding in findings])
    return 1 if broken else 0
