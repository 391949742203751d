"""What each command does with its arguments: 0 all well, 1 not all photos, and UserError for what can be put right."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from onlymymodel.data.datasets import KINDS, labels_for, open_dataset
from onlymymodel.data.folder import check_destination, scan
from onlymymodel.data.labels import read_labels
from onlymymodel.errors import UserError
from onlymymodel.evaluate.channels import CHANNELS, get_channels
from onlymymodel.evaluate.harness import Judge, check_independence
from onlymymodel.evaluate.judgment import PAGE, RESULTS, Evaluation, judge_folders, panel
from onlymymodel.evaluate.results import Results
from onlymymodel.evaluate.tables import to_text
from onlymymodel.protect import run_record
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.folder import Job, Summary, protect_folder
from onlymymodel.protect.photo import Context
from onlymymodel.protect.recipe import RECIPE_EPSILON, STRENGTHS, Recipe, make_recipe
from onlymymodel.protect.region import Kind, Region
from onlymymodel.protect.run_record import ModelUris
from onlymymodel.run_file import RunFile, read_run_file
from onlymymodel.runtime import pick_device
from onlymymodel.surrogates import zoo
from onlymymodel.surrogates.black_box import BlackBox, load_black_box
from onlymymodel.surrogates.classifier import Classifier, ModelCard
from onlymymodel.surrogates.doctor import check_team, examine
from onlymymodel.surrogates.load import load_model
from onlymymodel.surrogates.uri import SCHEMES, parse_uri

OK, NOT_ALL_WELL = 0, 1


@dataclass(frozen=True)
class Roles:
    """The URIs of a run's models: flags over the run file."""

    authorized: str
    surrogates: tuple[str, ...]
    heldout: tuple[str, ...]

    def seen_from(self, folder: Path) -> ModelUris:
        """The models that the optimizer uses, with their files relative to `folder`."""
        surrogates = tuple(parse_uri(uri).seen_from(folder) for uri in self.surrogates)
        return ModelUris(parse_uri(self.authorized).seen_from(folder), surrogates)


def protect(arguments: argparse.Namespace) -> int:
    """`omm protect`."""
    run = read_run_file(arguments.run_file) if arguments.run_file else RunFile()
    recipe = _recipe(arguments, run)
    roles = _roles(arguments, run, recipe)
    photos = [entry for entry in scan(arguments.source, f".{arguments.format}") if entry.status == "photo"]
    context, judges = _load(arguments, roles, recipe, _epsilon(arguments, run, recipe))
    job = Job(
        source=arguments.source,
        out=arguments.out,
        context=context,
        uris=roles.seen_from(arguments.out),
        labels=_labels(arguments, [str(entry.relative) for entry in photos], context.authorized.card),
        masks=_masks(arguments),
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
    roles = _evaluated_roles(arguments, run)
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
        labels=_labels(arguments, photos, judges[0].model.card) or None,
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


def _roles(arguments: argparse.Namespace, run: RunFile, recipe: Recipe) -> Roles:
    authorized = arguments.authorized or run.authorized
    if authorized is None:
        raise UserError("name the model that must still read the photos: --authorized URI (omm models lists the kinds)")
    roles = Roles(authorized, tuple(arguments.surrogate) or run.surrogates, tuple(arguments.heldout) or run.heldout)
    if recipe.objective == "ensemble" and not roles.surrogates:
        raise UserError("name at least one model that stands in for the unknown ones: --surrogate URI")
    return roles


def _load(
    arguments: argparse.Namespace, roles: Roles, recipe: Recipe, epsilon: float
) -> tuple[Context, Sequence[BlackBox]]:
    """Load and check every model, so that nothing is left to fail after the first photo."""
    device, allow = pick_device(arguments.device), arguments.allow_python
    authorized, *surrogates = (
        load_model(uri, allow_python=allow, device=device) for uri in (roles.authorized, *roles.surrogates)
    )
    check_team(authorized, surrogates)
    judges = [load_black_box(uri, allow_python=allow, device=device) for uri in roles.heldout]
    context = Context(
        authorized=authorized,
        surrogates=tuple(surrogates),
        budget=Budget(epsilon / 255),
        recipe=recipe,
        format=arguments.format,
        strip_metadata=arguments.strip_metadata,
        max_pixels=arguments.max_pixels,
        region=_region(arguments),
    )
    check_independence(panel(context, judges))
    return context, judges


def _evaluated_roles(arguments: argparse.Namespace, run: RunFile) -> Roles:
    """Flags over the run file over what the first protected folder was made with."""
    authorized, surrogates = arguments.authorized or run.authorized, tuple(arguments.surrogate) or run.surrogates
    first = arguments.protected[0]
    for folder in arguments.protected:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder of protected photos")
    if (authorized is None or not surrogates) and (first / run_record.NAME).exists():
        recorded = run_record.read(first)["models"]
        authorized = authorized or _seen_from_here(recorded["authorized"], first)
        surrogates = surrogates or tuple(_seen_from_here(uri, first) for uri in recorded["surrogates"])
    if authorized is None:
        raise UserError(f"{first} does not say for which model it was made: name it by --authorized URI")
    return Roles(authorized, surrogates, tuple(arguments.heldout) or run.heldout)


def _seen_from_here(uri: str, folder: Path) -> str:
    return parse_uri(uri, folder).seen_from(Path())


def _judged(evaluation: Evaluation, arguments: argparse.Namespace, device: torch.device) -> Results:
    command = shlex.join(["omm", *arguments.words])
    return judge_folders(evaluation, arguments.out, command=command, device=device, progress=not arguments.quiet)


def _labels(arguments: argparse.Namespace, known: Sequence[str], card: ModelCard) -> Mapping[str, int]:
    """Labels from a CSV or a labelled set, KIND:PATH."""
    if arguments.labels is None:
        return {}
    names = card.labels or None
    if arguments.labels.partition(":")[0] in KINDS:
        return labels_for(open_dataset(arguments.labels), known=known, classes=names, n_classes=card.classes)
    return read_labels(Path(arguments.labels), known=known, classes=names, n_classes=card.classes)


def _recipe(arguments: argparse.Namespace, run: RunFile) -> Recipe:
    """Flags over the run file over the named recipe."""
    changes = {key: value for key, value in run.recipe.items() if key != "name"}
    for knob in fields(Recipe):
        value = getattr(arguments, f"recipe_{knob.name}", None)
        if value is not None:
            changes[knob.name] = tuple(value) if isinstance(value, list) else value
    return make_recipe(arguments.recipe or run.recipe.get("name", "default"), **changes)


def _region(arguments: argparse.Namespace) -> Region:
    kind: Kind = arguments.region if arguments.region in ("image", "face") else "mask"
    return Region(kind, arguments.no_face)


def _masks(arguments: argparse.Namespace) -> Path | None:
    """The picture, or the folder of pictures, that `--region` names.

    Raises:
        UserError: it is not there.
    """
    if arguments.region in ("image", "face"):
        return None
    path = Path(arguments.region)
    if not path.exists():
        raise UserError(f"--region is image, face, or a picture or folder of masks; there is no {arguments.region}")
    return path


def _epsilon(arguments: argparse.Namespace, run: RunFile, recipe: Recipe) -> float:
    """Flags over the run file over the budget of the recipe's own paper over `medium`."""
    for place, strength, epsilon in (
        ("the command", arguments.strength, arguments.epsilon),
        ("the run file", run.strength, run.epsilon),
    ):
        if strength is not None and epsilon is not None:
            raise UserError(f"{place} gives both a strength and an epsilon; give one")
        if strength is not None and strength not in STRENGTHS:
            raise UserError(f"{place} gives strength {strength!r}; it is one of {', '.join(STRENGTHS)}")
        if strength is not None:
            return STRENGTHS[strength].epsilon
        if epsilon is not None:
            return float(epsilon)
    return RECIPE_EPSILON.get(recipe.name, STRENGTHS["medium"].epsilon)


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
    findings = examine(model)
    for finding in findings:
        advice = f": {finding.advice}" if finding.advice else ""
        print(f"  {'ok  ' if finding.passed else 'FAIL'}  {finding.check}{advice}")
    return all(finding.passed for finding in findings)
