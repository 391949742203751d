"""What each command does with its arguments: 0 all well, 1 not all photos, and UserError for what can be put right."""

import argparse
import shlex
import sys
from pathlib import Path

import torch

from onlymymodel.arguments import budget_of, labels_of, masks_of, photo_settings_of, recipe_of, team_of
from onlymymodel.data.folder import check_destination, scan
from onlymymodel.evaluate.channels import CHANNELS, get_channels
from onlymymodel.evaluate.harness import Judge
from onlymymodel.evaluate.judgment import PAGE, RESULTS, Evaluation, judge_folders, panel
from onlymymodel.evaluate.results import Results
from onlymymodel.evaluate.tables import to_text
from onlymymodel.protect.folder import Job, Summary, protect_folder
from onlymymodel.protect.recipe import STRENGTHS
from onlymymodel.roles import roles_of_a_run, roles_of_an_evaluation
from onlymymodel.run_file import RunFile, read_run_file
from onlymymodel.runtime import pick_device
from onlymymodel.surrogates import zoo
from onlymymodel.surrogates.black_box import BlackBox, load_black_box
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.doctor import examine
from onlymymodel.surrogates.load import load_model
from onlymymodel.surrogates.uri import SCHEMES
from onlymymodel.surrogates.vocabulary import not_affectnet

OK, NOT_ALL_WELL = 0, 1


def protect(arguments: argparse.Namespace) -> int:
    """`omm protect`."""
    run = read_run_file(arguments.run_file) if arguments.run_file else RunFile()
    recipe = recipe_of(arguments, run)
    roles, settings = roles_of_a_run(arguments, run, recipe), photo_settings_of(arguments, run)
    photos = [entry for entry in scan(arguments.source, f".{settings.format}") if entry.status == "photo"]
    context, judges = team_of(arguments, settings, roles, recipe, budget_of(arguments, run, recipe))
    job = Job(
        source=arguments.source,
        out=arguments.out,
        context=context,
        uris=roles.seen_from(arguments.out),
        labels=labels_of(arguments, [str(entry.relative) for entry in photos], context.authorized.card),
        masks=masks_of(arguments, settings),
        batch_size=arguments.batch_size,
    )
    summary = protect_folder(job, progress=not arguments.quiet)
    _report(summary, arguments.out)
    if judges and summary.counts["protected"]:
        evaluation = Evaluation(job.source, (job.out,), tuple(panel(context, judges)))
        print(to_text(_judged(evaluation, arguments, context.device)))
    return OK if summary.all_protected else NOT_ALL_WELL


def evaluate(arguments: argparse.Namespace) -> int:
    """`omm evaluate`."""
    run = read_run_file(arguments.run_file) if arguments.run_file else RunFile()
    roles = roles_of_an_evaluation(arguments, run)
    device = pick_device(arguments.device)

    def load(uri: str) -> BlackBox:
        return load_black_box(uri, allow_python=arguments.allow_python, device=device)

    judges = [
        Judge("authorized", load(roles.authorized)),
        *(Judge("surrogate", load(uri)) for uri in roles.surrogates),
        *(Judge("held-out", load(uri)) for uri in roles.heldout),
    ]
    photos = [str(entry.relative) for entry in scan(arguments.original) if entry.status == "photo"]
    evaluation = Evaluation(
        source=arguments.original,
        protected=tuple(arguments.protected),
        judges=tuple(judges),
        # an empty table leaves photos without a label, which is an error; no table at all is none
        labels=None if arguments.labels is None else labels_of(arguments, photos, judges[0].model.card),
        channels=tuple(get_channels(list(CHANNELS) if arguments.channels == ["all"] else arguments.channels)),
        adapt=arguments.adapt,
        lpips=arguments.lpips,
    )
    check_destination(arguments.original, arguments.out)
    results = _judged(evaluation, arguments, device)
    print(to_text(results))
    if not roles.heldout:
        print("no held-out model took part: nothing here says what unknown models read (--heldout URI ...)")
    print(f"\nfigures, tables and pictures: {arguments.out / PAGE} and beside it")
    if results.failures:
        count, where = len(results.failures), arguments.out / RESULTS
        print(f"omm: {count} questions were not answered (counted; {where} says which)", file=sys.stderr)
    return NOT_ALL_WELL if results.failures else OK


def verify(arguments: argparse.Namespace) -> int:
    """`omm verify`."""
    from onlymymodel.evaluate.verify import verify_folder

    found = verify_folder(
        arguments.out,
        source=arguments.source,
        authorized=arguments.authorized,
        allow_python=arguments.allow_python,
        device=str(pick_device(arguments.device)),
        progress=not arguments.quiet,
    )
    for fault in found.faults:
        print(f"FAULT  {fault.file}: {fault.what}", file=sys.stderr)
    if found.without_source:
        print(f"{found.without_source} originals were not at hand: their budget was not measured again")
    if found.faults:
        print(f"omm: {len(found.faults)} faults in {found.checked} protected files", file=sys.stderr)
        return NOT_ALL_WELL
    print(f"{found.checked} protected files are as the manifest says")
    return OK


def models(arguments: argparse.Namespace) -> int:
    """`omm models`."""
    if not arguments.uris:
        print("models are named by URIs:")
        for example in SCHEMES.values():
            print(f"  {example}")
        print("bundled:")
        for name in zoo.NAMES:
            print(f"  zoo:{name}")
        return OK
    device = pick_device(arguments.device)
    sound = [_check_one(load_model(uri, allow_python=arguments.allow_python, device=device)) for uri in arguments.uris]
    return OK if all(sound) else NOT_ALL_WELL


def demo(arguments: argparse.Namespace) -> int:
    """`omm demo`."""
    from onlymymodel.demo import run_demo

    return run_demo(
        arguments.out,
        photos=arguments.photos,
        epsilon=STRENGTHS[arguments.strength].epsilon,
        pretrained=arguments.pretrained,
        device=pick_device(arguments.device),
        progress=not arguments.quiet,
    )


def app(arguments: argparse.Namespace) -> int:
    """`omm app`."""
    from onlymymodel.app.server import serve

    return serve(
        arguments.host,
        arguments.port,
        browser=not arguments.no_browser,
        device=arguments.device,
        allow_python=arguments.allow_python,
    )


def _judged(evaluation: Evaluation, arguments: argparse.Namespace, device: torch.device) -> Results:
    command = shlex.join(["omm", *arguments.words])
    return judge_folders(evaluation, arguments.out, command=command, device=device, progress=not arguments.quiet)


def _report(summary: Summary, out: Path) -> None:
    """Say what became of the photos."""
    total = sum(summary.counts.values())
    print(f"{summary.counts['protected']} of {total} photos protected, in {out}")
    for status in ("unchanged", "skipped", "failed"):
        if summary.counts[status]:
            print(f"{summary.counts[status]} {status} (why: {out / 'manifest.jsonl'})")
    if summary.passed_over:
        print(f"{summary.passed_over} other files passed over")


def _check_one(model: Classifier) -> bool:
    card, size = model.card, model.card.preprocess
    print(f"{card.uri}  {card.classes} classes, {size.height}x{size.width}, sha256 {card.sha256[:12]}")
    if card.task == "emotion" and card.labels:
        missing, own = not_affectnet(card)
        print(f"  expressions of AffectNet that it has not: {', '.join(missing) or 'none'}")
        print(f"  classes that are none of AffectNet's: {', '.join(own) or 'none'}")
    findings = examine(model)
    for finding in findings:
        advice = f": {finding.advice}" if finding.advice else ""
        print(f"  {'ok  ' if finding.passed else 'FAIL'}  {finding.check}{advice}")
    return all(finding.passed for finding in findings)
