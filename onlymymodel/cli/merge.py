"""`omm merge`."""

import argparse
import logging
from pathlib import Path

from onlymymodel.cli.flags import folder_here
from onlymymodel.cli.interrupt import exit_on_interrupt
from onlymymodel.cli.parser import Parser
from onlymymodel.errors import number_of
from onlymymodel.evaluate.text import replace_unprintable

MISSING_SHOWN = 10

log = logging.getLogger(__name__)


def add_flags(parser: Parser) -> None:
    """Add the flags."""
    parser.description = (
        "Merge the shards that `omm protect --shard` wrote to DST: their files, one manifest, one seal. It may be\n"
        "stopped at any moment, and called again."
    )
    parser.add_argument("out", type=folder_here, metavar="DST", help="the --out of omm protect --shard")
    key = "sign the seal of DST with this private key (PEM, Ed25519); needs onlymymodel[sign]"
    parser.add_argument("--sign", type=Path, metavar="KEY", help=key)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Merge shards; return 0 if every photo of the source is protected, else 1."""
    with exit_on_interrupt():
        from onlymymodel.cli.summary import SIGNATURE_LOST, report, summary_fields
        from onlymymodel.protect.folder_summary import Outcome, Summary
        from onlymymodel.protect.merge import merge_shards
        from onlymymodel.protect.signing import read_signer
    output = arguments.output
    signer = None if arguments.sign is None else read_signer(arguments.sign)
    merged = merge_shards(arguments.out, signer)
    if merged.signature_lost:
        log.warning(SIGNATURE_LOST)
    outcomes = (Outcome(record.source, record.status, record.reason) for record in merged.records)
    summary = Summary(tuple(outcomes), 0)
    report(summary, str(arguments.out), output.say)
    if merged.missing:
        missing_photos = number_of(len(merged.missing), "photo of the source is", "photos of the source are")
        output.say(f"{missing_photos} not in any shard yet; run the shards again:")
    for name, shard in merged.missing[:MISSING_SHOWN]:
        output.say(replace_unprintable(f"  {name} (--shard {shard})"))
    if len(merged.missing) > MISSING_SHOWN:
        output.say(f"  ... and {len(merged.missing) - MISSING_SHOWN} more")
    missing = [{"photo": name, "shard": str(shard)} for name, shard in merged.missing]
    output.add(out=arguments.out, **summary_fields(summary), missing=missing)
    return 0 if summary.all_protected and not merged.missing else 1
