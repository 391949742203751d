"""The command line: omm protect, verify, models, demo."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NoReturn

from onlymymodel.data.folder import scan
from onlymymodel.data.image_io import MAX_PIXELS
from onlymymodel.data.labels import read_labels
from onlymymodel.errors import UserError
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.folder import Job, Summary, protect_folder
from onlymymodel.protect.photo import Context
from onlymymodel.protect.recipe import CHOICES, RECIPE_EPSILON, RECIPES, STRENGTHS, Recipe, make_recipe
from onlymymodel.protect.run_record import ModelUris
from onlymymodel.run_file import RunFile, read_run_file
from onlymymodel.runtime import configure, pick_device
from onlymymodel.surrogates import zoo
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.doctor import check_team, examine
from onlymymodel.surrogates.load import load_model
from onlymymodel.surrogates.uri import SCHEMES, parse_uri
from onlymymodel.version import __version__

OK, NOT_ALL_WELL, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code: 0 all well, 1 not all photos, 2 a mistake to put right, 130 Ctrl-C."""
    arguments = build_parser().parse_args(argv)
    configure()
    try:
        code: int = arguments.run(arguments)
    except UserError as error:
        print(f"omm: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("\nomm: stopped; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    return code


def build_parser() -> argparse.ArgumentParser:
    """All commands and flags."""
    parser = _Parser(prog="omm", description="One authorized model still reads the photo; unseen models do not.")
    parser.add_argument("--version", action="version", version=f"omm {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_protect(commands)
    _add_verify(commands)
    _add_models(commands)
    _add_demo(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """Flags must be written out: an abbreviation that works today would mean another flag tomorrow."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)


def _add_protect(commands: Any) -> None:
    strengths = "\n".join(f"  {name:7} epsilon {s.epsilon:2g}/255   {s.meaning}" for name, s in STRENGTHS.items())
    parser = commands.add_parser(
        "protect",
        help="protect a folder of photos",
        description="Protect every photo below SRC and prove it on the written files.\n\n"
        f"strengths (--strength, or --epsilon for a number of your own):\n{strengths}",
    )
    parser.add_argument("source", type=Path, metavar="SRC", help="a folder of photos, or one photo; never changed")
    parser.add_argument("--out", type=Path, required=True, metavar="DST", help="folder for the protected photos")
    parser.add_argument(
        "--run", dest="run_file", type=Path, metavar="TOML", help="run file that names models and settings"
    )
    parser.add_argument("--authorized", metavar="URI", help="the model that must still read the photos")
    parser.add_argument(
        "--surrogate",
        action="extend",
        nargs="+",
        default=[],
        metavar="URI",
        help="models that stand in for the unknown ones",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help="columns file,label; other photos get the authorized model's own answer",
    )
    parser.add_argument("--strength", choices=STRENGTHS, help="how much may change (see above); medium by default")
    parser.add_argument("--epsilon", type=float, metavar="N", help="how much may change, in 1/255 of a color channel")
    parser.add_argument(
        "--recipe",
        choices=RECIPES,
        help="default: ensemble, views, guard; robust: the same through JPEG; fmd: own features of the "
        "authorized model; ens: MI-FGSM on the ensemble",
    )
    parser.add_argument(
        "--format",
        choices=("png", "webp"),
        default="png",
        help="of the written files, lossless; png by default",
    )
    parser.add_argument(
        "--strip-metadata",
        action="store_true",
        help="leave EXIF (camera, place, time) out; the color profile stays",
    )
    parser.add_argument(
        "--batch-size", type=_count, default=8, metavar="N", help="photos of one size at once; 8 by default"
    )
    parser.add_argument(
        "--max-pixels",
        type=_count,
        default=MAX_PIXELS,
        metavar="N",
        help="refuse larger photos; 100 million by default",
    )
    _add_common(parser)
    knobs = parser.add_argument_group(
        "settings of the recipe (in brackets those of `default`; a named recipe has its own)"
    )
    for knob in fields(Recipe):
        if knob.name != "name":
            _add_knob(knobs, knob)
    parser.set_defaults(run=_protect)


def _add_knob(group: Any, knob: Any) -> None:
    """A flag for a field of the recipe; given only where the user gives it."""
    flag = "--" + knob.name.replace("_", "-")
    assert knob.default is not MISSING
    usual = " ".join(knob.default) if isinstance(knob.default, tuple) else knob.default
    help_text = f"{knob.metadata['help']} ({usual})"
    options: dict[str, Any] = {"dest": f"recipe_{knob.name}", "default": None, "help": help_text}
    if knob.name in CHOICES:
        group.add_argument(flag, choices=CHOICES[knob.name], **options)
    elif isinstance(knob.default, bool):
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
    elif isinstance(knob.default, tuple):
        group.add_argument(flag, nargs="+", metavar="NAME", **options)
    else:
        group.add_argument(flag, type=type(knob.default), metavar=type(knob.default).__name__.upper(), **options)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, mps; by default the first accelerator found, else the CPU",
    )
    parser.add_argument("--allow-python", action="store_true", help="let python: models run code of your own")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _protect(arguments: argparse.Namespace) -> int:
    run = read_run_file(arguments.run_file) if arguments.run_file else RunFile()
    authorized_uri = arguments.authorized or run.authorized
    surrogate_uris = tuple(arguments.surrogate) or run.surrogates
    if authorized_uri is None:
        raise UserError("name the model that must still read the photos: --authorized URI (omm models lists the kinds)")
    recipe = _recipe(arguments, run)
    if recipe.objective == "ensemble" and not surrogate_uris:
        raise UserError("name at least one model that stands in for the unknown ones: --surrogate URI")
    entries = scan(arguments.source, f".{arguments.format}")
    device = pick_device(arguments.device)
    authorized, *surrogates = (
        load_model(uri, allow_python=arguments.allow_python, device=device) for uri in (authorized_uri, *surrogate_uris)
    )
    check_team(authorized, surrogates)
    known = [str(entry.relative) for entry in entries if entry.status == "photo"]
    card = authorized.card
    labels = {}
    if arguments.labels:
        labels = read_labels(arguments.labels, known=known, classes=card.labels or None, n_classes=card.classes)
    job = Job(
        source=arguments.source,
        out=arguments.out,
        context=Context(
            authorized,
            tuple(surrogates),
            Budget(_epsilon(arguments, run, recipe) / 255),
            recipe,
            arguments.format,
            arguments.strip_metadata,
            arguments.max_pixels,
        ),
        uris=ModelUris(*_seen_from(arguments.out, authorized_uri, surrogate_uris)),
        labels=labels,
        batch_size=arguments.batch_size,
    )
    return _report(protect_folder(job, progress=not arguments.quiet), arguments.out)


def _seen_from(out: Path, authorized: str, surrogates: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    return parse_uri(authorized).seen_from(out), tuple(parse_uri(uri).seen_from(out) for uri in surrogates)


def _recipe(arguments: argparse.Namespace, run: RunFile) -> Recipe:
    """Flags over the run file over the named recipe."""
    changes = {key: value for key, value in run.recipe.items() if key != "name"}
    for knob in fields(Recipe):
        value = getattr(arguments, f"recipe_{knob.name}", None)
        if value is not None:
            changes[knob.name] = tuple(value) if isinstance(value, list) else value
    return make_recipe(arguments.recipe or run.recipe.get("name", "default"), **changes)


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


def _report(summary: Summary, out: Path) -> int:
    """Say what became of the photos."""
    total = sum(summary.counts.values())
    print(f"{summary.counts['protected']} of {total} photos protected, in {out}")
    for status in ("unchanged", "skipped", "failed"):
        if summary.counts[status]:
            print(f"{summary.counts[status]} {status} (why: {out / 'manifest.jsonl'})")
    if summary.passed_over:
        print(f"{summary.passed_over} other files passed over")
    return OK if summary.all_protected else NOT_ALL_WELL


def _add_verify(commands: Any) -> None:
    parser = commands.add_parser(
        "verify",
        help="judge protected files again",
        description="Judge every protected file of DST again: same bytes, read right by the authorized model, "
        "inside the budget.",
    )
    parser.add_argument("out", type=Path, metavar="DST", help="folder that omm protect made")
    parser.add_argument("--source", type=Path, metavar="SRC", help="the originals, where they have moved")
    parser.add_argument("--authorized", metavar="URI", help="the authorized model, where it has moved")
    _add_common(parser)
    parser.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
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


def _add_models(commands: Any) -> None:
    parser = commands.add_parser(
        "models",
        help="list kinds of models, or check one",
        description="List the kinds of models, or check those named.",
    )
    parser.add_argument("uris", nargs="*", metavar="URI", help="models to load and check")
    _add_common(parser)
    parser.set_defaults(run=_models)


def _models(arguments: argparse.Namespace) -> int:
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


def _check_one(model: Classifier) -> bool:
    card, size = model.card, model.card.preprocess
    print(f"{card.uri}  {card.classes} classes, {size.height}x{size.width}, sha256 {card.sha256[:12]}")
    findings = examine(model)
    for finding in findings:
        advice = f": {finding.advice}" if finding.advice else ""
        print(f"  {'ok  ' if finding.passed else 'FAIL'}  {finding.check}{advice}")
    return all(finding.passed for finding in findings)


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="protect rendered portraits and show the result; needs no files and no network",
        description="Render portraits, protect them for one bundled model, judge them with others, write a page.",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("omm-demo"), metavar="DIR", help="new folder; omm-demo by default"
    )
    parser.add_argument("--photos", type=_count, default=24, metavar="N", help="how many portraits; 24 by default")
    parser.add_argument("--strength", choices=STRENGTHS, default="high", help="how much may change; high by default")
    parser.add_argument(
        "--pretrained",
        action="store_true",
        help="use timm's ImageNet models (downloads them) instead of the bundled ones",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, mps; by default the first accelerator found, else the CPU",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from onlymymodel.demo import run_demo

    return run_demo(
        arguments.out,
        photos=arguments.photos,
        epsilon=STRENGTHS[arguments.strength].epsilon,
        pretrained=arguments.pretrained,
        device=pick_device(arguments.device),
        progress=not arguments.quiet,
    )


def entry() -> NoReturn:
    """The `omm` script."""
    sys.exit(main())
