"""`omm verify`."""

import argparse
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from onlymymodel.cli.flags import SEVERAL, add_machine
from onlymymodel.cli.interrupt import exit_on_interrupt
from onlymymodel.cli.parser import Parser
from onlymymodel.data.stores.address import parse_place
from onlymymodel.errors import number_of

if TYPE_CHECKING:
    from onlymymodel.data.stores.store import Store

log = logging.getLogger(__name__)


def add_flags(parser: Parser) -> None:
    """Add the flags."""
    parser.description = (
        "Check DST again: the seal, that no line, file or original is missing, and every file: unchanged bytes, the\n"
        "answer of the authorized model, stand-ins that are misled as recorded, the recorded largest change of the\n"
        "original, and the budget. It says what was checked, what was not, and what is proven or only claimed."
    )
    parser.add_argument("out", type=parse_place, metavar="DST", help="folder written by omm protect, also in a store")
    parser.add_argument("--source", type=parse_place, metavar="SRC", help="the originals, if they were moved")
    without = "leave out what needs the originals; otherwise missing originals are faults"
    parser.add_argument("--without-originals", action="store_true", help=without)
    parser.add_argument("--authorized", metavar="URI", help="the authorized model, if it was moved")
    moved = "the stand-ins, if they were moved; by default those of the run, as far as they can be loaded"
    parser.add_argument("--surrogate", help=moved, **SEVERAL)
    parser.add_argument("--authorized-only", action="store_true", help="do not ask the stand-ins")
    key = "the key that has to have signed the seal (PEM, Ed25519); needs onlymymodel[sign]"
    parser.add_argument("--public-key", type=Path, metavar="FILE", help=key)
    add_machine(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify a folder; return 0 if it has no fault, else 1."""
    with exit_on_interrupt():
        from onlymymodel.protect.places import opened_store

    with opened_store(arguments.out) as store:
        return _verify(arguments, store)


def _verify(arguments: argparse.Namespace, store: "Store") -> int:
    with exit_on_interrupt():
        from onlymymodel.cli.checks import check_protected_folder
        from onlymymodel.data.source import open_source

        check_protected_folder(arguments, store.records)
        source = None if arguments.source is None else open_source(arguments.source)
        from onlymymodel.evaluate.text import replace_unprintable
        from onlymymodel.evaluate.verify import verify_folder
        from onlymymodel.evaluate.verify_seal import CLAIMED, PROVEN
        from onlymymodel.progress import emit
        from onlymymodel.protect.signing import read_public_key
        from onlymymodel.runtime import configure, pick_device
    configure()
    output = arguments.output
    verified = verify_folder(
        store,
        source=source,
        without_originals=arguments.without_originals,
        authorized=arguments.authorized,
        surrogates=arguments.surrogate,
        ask_surrogates=not arguments.authorized_only,
        public_key=None if arguments.public_key is None else read_public_key(arguments.public_key),
        allow_python=arguments.allow_python,
        device=str(pick_device(arguments.device)),
    )
    output.add(**asdict(verified))
    if not output.as_json:
        for fault in verified.faults:
            text = replace_unprintable(f"FAULT  {fault.file}: {fault.reason}")
            emit(text, "fault", file=fault.file, reason=fault.reason)
    output.say(*(replace_unprintable(f"checked: {sentence}") for sentence in verified.measured))
    output.say(*(replace_unprintable(f"not checked: {sentence}") for sentence in verified.not_checked))
    output.say(PROVEN if verified.proven else CLAIMED + (f" ({verified.remark})" if verified.remark else ""))
    if verified.faults:
        faults, files = number_of(len(verified.faults), "fault"), number_of(verified.checked, "protected file")
        log.error("%s in %s", faults, files)
        return 1
    misread = f" ({verified.already_misread} of them already-misread)" if verified.already_misread else ""
    output.say(f"{number_of(verified.checked, 'protected file')} without a fault in what was checked{misread}")
    return 0
