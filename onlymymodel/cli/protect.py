"""`omm protect`."""

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onlymymodel.cli.assumed import warn_assumed
from onlymymodel.cli.engine import add_engine, check_engine, worker_count, workers_of
from onlymymodel.cli.flags import (
    add_budget,
    add_files,
    add_labels,
    add_limits,
    add_machine,
    add_models,
    add_recipe,
    add_run_file,
)
from onlymymodel.cli.interrupt import exit_on_interrupt
from onlymymodel.cli.known import add_i_know, check_known_photos
from onlymymodel.cli.parser import Parser
from onlymymodel.cli.recorded_command import recorded_command
from onlymymodel.data.stores.address import parse_place
from onlymymodel.errors import UserError
from onlymymodel.protect.budget.strengths import AUTO, AUTO_MEANING, STRENGTHS
from onlymymodel.protect.portable import make_portable

if TYPE_CHECKING:
    from onlymymodel.protect.places import Places

log = logging.getLogger(__name__)


def add_flags(parser: Parser) -> None:
    """Add the flags."""
    strengths = "\n".join(
        f"  {name:7} SSIM at least {s.ssim:.2f}, FLIP at most {s.flip:.2f}   {s.meaning}"
        for name, s in STRENGTHS.items()
    )
    parser.description = "Protect every photo below SRC, and check the written files."
    strengths += f"\n  {AUTO:7} {AUTO_MEANING}"
    parser.details = f"strengths (--strength; for any other limits --ssim, --flip, --epsilon, ...):\n{strengths}"
    store = ", also of a store, such as s3://bucket/photos"
    parser.add_argument(
        "source",
        type=parse_place,
        metavar="SRC",
        help=f"a folder of photos, or one photo{store}; or Parquet files with rows of pictures; never changed",
    )
    photos = parser.add_argument_group("photos")
    photos.add_argument(
        "--out", type=parse_place, required=True, metavar="DST", help=f"folder for the protected photos{store}"
    )
    add_labels(photos, "the label of any other photo is the authorized model's own answer")
    add_run_file(photos)
    plan = "say what would be done, how long it would take and how much memory it needs; write nothing"
    photos.add_argument("--dry-run", action="store_true", help=plan)
    models = parser.add_argument_group("models, by their URIs (see omm models)")
    add_models(models, "; writes DST/report.html")
    add_i_know(models)
    add_budget(parser.add_argument_group("budget, region and recipe"))
    files = parser.add_argument_group("files")
    add_files(files)
    again = "read photos and results again that have the size and times, or the stamp of a store, of an earlier run"
    files.add_argument("--checksum", action="store_true", help=again)
    key = "sign the seal of DST with this private key (PEM, Ed25519); needs onlymymodel[sign]"
    files.add_argument("--sign", type=Path, metavar="KEY", help=key)
    processes = (
        "processes that protect photos at the same time, each with its own models and one thread; auto: one for each "
        "core, or GPU (1: this process, with all threads, which may change last bits: --portable)"
    )
    machine = add_machine(parser)
    add_limits(machine)
    machine.add_argument("--workers", type=worker_count, default=1, metavar="N|auto", help=processes)
    add_engine(machine)
    part = "protect one part of the photos, such as 1/3, for omm merge; auto: as Slurm, Kubernetes or torchrun say"
    machine.add_argument("--shard", metavar="I/N|auto", help=part)
    kinds = "compute with AVX2 at most and one thread a process, so that more kinds of machines write the same bytes"
    machine.add_argument("--portable", action="store_true", help=kinds)
    alike = "refuse workers, shards and later runs whose machine gives other numbers for a small test picture"
    machine.add_argument("--identical", action="store_true", help=alike)
    title = "settings of the recipe (in parentheses those of `default`; other recipes have their own)"
    add_recipe(parser.add_argument_group(title))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Protect photos and evaluate them with the held-out models; return 0 if every photo is protected, else 1."""
    if arguments.portable:
        make_portable()
    with exit_on_interrupt():
        from onlymymodel.protect.places import opened_places

    with opened_places(arguments.source, arguments.out, checksum=arguments.checksum) as places:
        arguments.source, arguments.out = places.source, places.out
        return _protect(arguments, places)


def _protect(arguments: argparse.Namespace, places: "Places") -> int:
    """Protect photos; the paths among the arguments are those of the opened places."""
    with exit_on_interrupt():
        from onlymymodel.cli.checks import check_continues, check_judges, check_key, check_photos
        from onlymymodel.protect.shards import check_shards, parse_shard

        checked = check_photos(arguments, arguments.source, places.store.sources)
        check_key(arguments)
        check_engine(arguments, places.source)
        check_continues(arguments, checked.settings)
        shard = None if arguments.shard is None else parse_shard(arguments.shard)
        if shard is not None and arguments.sign is not None:
            raise UserError("a shard is not signed: give --sign to omm merge")
        check_shards(arguments.out, shard)
        if shard is None:
            check_judges(checked.settings, places)
        if arguments.dry_run:
            from onlymymodel.cli.dry_run import dry_run

            return dry_run(arguments, checked, shard, places)
        from onlymymodel.cli.summary import SIGNATURE_LOST, report, summary_fields
        from onlymymodel.evaluate.folders import PAGE, Evaluation, evaluate_folders
        from onlymymodel.evaluate.judges import judges_for
        from onlymymodel.evaluate.terminal_table import to_text
        from onlymymodel.protect.attack.deployed_margins import not_promised
        from onlymymodel.protect.folder import Job, protect_folder
        from onlymymodel.protect.limits import Limits
        from onlymymodel.protect.seal import seal_folder
        from onlymymodel.protect.signing import read_signer
        from onlymymodel.runtime import configure, pick_device
    configure()
    output = arguments.output
    signer = None if arguments.sign is None else read_signer(arguments.sign)
    settings = checked.settings.complete()
    device = pick_device(arguments.device)
    context, heldout = settings.load(device=device, allow_python=arguments.allow_python, progress=True)
    settings = replace(settings, recipe=context.recipe)  # for workers: its precision is decided
    warn_assumed((context.authorized, *context.surrogates, *heldout))
    if left_out := not_promised(context.authorized.card, context.recipe.keep_through):
        log.warning("not promised, since they move the boxes of what a detector finds: %s", ", ".join(left_out))
    workers = workers_of(arguments, settings, context)
    limits = Limits.of(context, arguments.memory, arguments.time_limit, 1 if workers is None else workers.count)
    check_known_photos(context, [entry.file for entry in checked.photos], limits, accepted=arguments.i_know)
    job = Job(
        source=places.source,
        out=places.out,
        context=context,
        uris=settings.uris_from(places.store.base),
        labels=checked.labels.find(context.authorized.card) or {},
        masks=settings.masks,
        batch_size=arguments.batch_size,
        workers=workers,
        shard=shard,
        identical=arguments.identical,
        results=places.store,
        limits=limits,
        scanned=checked.entries,
    )
    summary = protect_folder(job)
    if shard is not None:
        report(summary, f"{places.shown}/{shard.folder_name}", output.say, f"shard {shard}: ")
        then = "; omm evaluate then asks the judges" if heldout else ""
        output.say(f"when all shards are done: {places.how_to_merge}{then}")
        output.add(out=places.shown, shard=str(shard), **summary_fields(summary))
        return 0 if summary.all_protected else 1
    if seal_folder(job.out, signer):
        log.warning(SIGNATURE_LOST)
    job.store.finish_records()
    report(summary, places.shown, output.say)
    output.add(out=places.shown, **summary_fields(summary))
    if heldout and summary.written:
        from onlymymodel.cli.scores import scores

        judges, attributes = tuple(judges_for(context, heldout)), checked.labels.attributes
        evaluation = Evaluation(job.source, (job.out,), judges, attributes=attributes)
        command = recorded_command(arguments.words)
        results = evaluate_folders(evaluation, job.out, command=command, device=context.device)
        output.say(to_text(results, output.columns))
        output.add(report=job.out / PAGE, models=scores(results))
    return 0 if summary.all_protected else 1
