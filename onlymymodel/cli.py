"""The command line: omm protect, verify, evaluate, tune, audit, protect-representation, models, demo, app."""

import argparse
import errno
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NoReturn

from onlymymodel import commands
from onlymymodel.audit_cli import add_audit, add_protect_representation
from onlymymodel.data.datasets import KINDS
from onlymymodel.errors import UserError
from onlymymodel.evaluate.channels import CHANNELS
from onlymymodel.protect.budget import SHAPES
from onlymymodel.protect.recipe import CHOICES, RECIPES, STRENGTHS, Recipe
from onlymymodel.protect.region import FACES, NO_FACE
from onlymymodel.runtime import configure
from onlymymodel.tune_cli import add_tune
from onlymymodel.version import __version__

USAGE, INTERRUPTED = 2, 130
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)
LABELS = f"a CSV with columns file,label, or a labelled set as KIND:PATH (KIND: {', '.join(KINDS)})"

BOUNDS = {
    "--luma": "largest change of the brightness of any pixel, in 1/255; the rest of epsilon goes into color",
    "--l2": "largest Euclidean norm of the change, in pixels of 0 to 1",
    "--psnr": "least peak signal-to-noise ratio, in dB",
    "--ssim": "least structural similarity, 0 to 1",
    "--lpips": "largest LPIPS (pip install 'onlymymodel[lpips]')",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code: 0 all well, 1 not all photos, 2 a mistake to put right, 130 Ctrl-C."""
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = build_parser().parse_args(words)
    arguments.words = words
    configure()
    try:
        code: int = arguments.run(arguments)
    except UserError as error:
        print(f"omm: {error}", file=sys.stderr)
        return USAGE
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        print(
            f"omm: {error.filename or 'the output'} cannot be written: {error.strerror}; what is finished is kept",
            file=sys.stderr,
        )
        return USAGE
    except KeyboardInterrupt:
        print("\nomm: stopped; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    return code


def build_parser() -> argparse.ArgumentParser:
    """All commands and flags."""
    parser = _Parser(prog="omm", description="One authorized model still reads the photo; unseen models do not.")
    parser.add_argument("--version", action="version", version=f"omm {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_protect(subparsers)
    _add_verify(subparsers)
    _add_evaluate(subparsers)
    _add_models(subparsers)
    add_tune(subparsers, roles=_add_roles, budget=_add_budget, files=_add_files, common=_add_common, knob=_add_knob)
    add_audit(subparsers)
    add_protect_representation(subparsers)
    _add_demo(subparsers)
    _add_app(subparsers)
    return parser


class _Parser(argparse.ArgumentParser):
    """Flags must be written out: an abbreviation that works today would mean another flag tomorrow."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)


def _add_protect(subparsers: Any) -> None:
    strengths = "\n".join(f"  {name:7} epsilon {s.epsilon:2g}/255   {s.meaning}" for name, s in STRENGTHS.items())
    parser = subparsers.add_parser(
        "protect",
        help="protect a folder of photos",
        description="Protect every photo below SRC and prove it on the written files.\n\n"
        f"strengths (--strength, or --epsilon for a number of your own):\n{strengths}",
    )
    parser.add_argument("source", type=Path, metavar="SRC", help="a folder of photos, or one photo; never changed")
    parser.add_argument("--out", type=Path, required=True, metavar="DST", help="folder for the protected photos")
    parser.add_argument("--labels", metavar="CSV", help=f"{LABELS}; other photos get the authorized model's own answer")
    parser.add_argument("--run", dest="run_file", type=Path, metavar="TOML", help="file that names models and settings")
    _add_roles(parser.add_argument_group("models, by their URIs (see omm models)"))
    _add_budget(parser.add_argument_group("how much may change, and how it is found"))
    _add_files(parser.add_argument_group("files"))
    _add_common(parser)
    knobs = parser.add_argument_group(
        "settings of the recipe (in brackets those of `default`; a named recipe has its own)"
    )
    for knob in fields(Recipe):
        if knob.name != "name":
            _add_knob(knobs, knob)
    parser.set_defaults(run=commands.protect)


def _add_roles(group: Any) -> None:
    several: dict[str, Any] = {"action": "extend", "nargs": "+", "default": [], "metavar": "URI"}
    group.add_argument("--authorized", metavar="URI", help="the model that must still read the photos")
    group.add_argument("--surrogate", help="models that stand in for the unknown ones", **several)
    judges = "models that take no part and judge the written files afterwards; writes DST/report.html"
    group.add_argument("--heldout", help=judges, **several)


def _add_budget(group: Any) -> None:
    usual = f"see above; medium by default, and high, as the outermost cap, beside {', '.join(BOUNDS)}"
    group.add_argument("--strength", choices=STRENGTHS, help=usual)
    group.add_argument("--epsilon", type=float, metavar="N", help="a number of your own, in 1/255 of a color channel")
    for flag, meaning in BOUNDS.items():
        group.add_argument(flag, type=float, metavar="N", help=f"{meaning}, for each photo; may be combined")
    shapes = "flat: every pixel may change by epsilon; texture: those beside texture, others by less (to an eighth)"
    group.add_argument("--shape", choices=SHAPES, help=f"{shapes}; flat by default")
    regions = (
        "image: everything (default); face: each face that is found; or masks, a picture (or a folder of them): bright "
        "may change"
    )
    group.add_argument("--region", metavar="WHERE", help=f"what may change; {regions}")
    faceless = "what becomes of a photo without a face: skip it (default), or take the whole image"
    group.add_argument("--no-face", choices=NO_FACE, help=faceless)
    faces = "where models read faces: work on all of a photo (default), or on the largest alone"
    group.add_argument("--faces", choices=FACES, help=faces)
    recipes = (
        "default: ensemble, views, guard; robust: the same through JPEG and resizing; face: for networks that read an "
        "aligned face; fmd: own features of the authorized model; the others: methods to compare with "
        "(benchmarks/README.md). Where the run file names another one, its [recipe] does not apply"
    )
    group.add_argument("--recipe", choices=RECIPES, help=recipes)


def _add_files(group: Any) -> None:
    group.add_argument("--format", choices=("png", "webp"), help="lossless both; png by default")
    stripped = "leave EXIF (camera, place, time) out; the color profile stays"
    group.add_argument("--strip-metadata", action=argparse.BooleanOptionalAction, help=stripped)
    group.add_argument("--batch-size", type=_count, default=8, metavar="N", help="photos of one size at once (8)")
    largest = "refuse larger photos (100 million)"
    group.add_argument("--max-pixels", type=_count, metavar="N", help=largest)


def _add_knob(group: Any, knob: Any) -> None:
    """A flag for a field of the recipe; given only where the user gives it."""
    flag = "--" + knob.name.replace("_", "-")
    assert knob.default is not MISSING
    usual = " ".join(knob.default) if isinstance(knob.default, tuple) else knob.default
    help_text = knob.metadata["help"] + (f" ({usual})" if usual != "" else "")
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


def _add_verify(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "verify",
        help="judge protected files again",
        description="Judge every protected file of DST again: same bytes, read right by the authorized model, "
        "inside the budget.",
    )
    parser.add_argument("out", type=Path, metavar="DST", help="folder that omm protect made")
    parser.add_argument("--source", type=Path, metavar="SRC", help="the originals, where they have moved")
    parser.add_argument("--authorized", metavar="URI", help="the authorized model, where it has moved")
    _add_common(parser)
    parser.set_defaults(run=commands.verify)


def _add_evaluate(subparsers: Any) -> None:
    channels = "\n".join(f"  {channel.name:9} {channel.meaning}" for channel in CHANNELS.values())
    parser = subparsers.add_parser(
        "evaluate",
        help="measure who still reads protected photos",
        description="Ask the authorized model, the surrogates and models that took no part about originals and "
        "protected\nfiles, and write results.json, results.csv, results.md and report.html to DIR. Stopped and begun "
        f"again, it asks\nnothing twice.\n\nchannels (what happens to the files before they are read):\n{channels}",
    )
    parser.add_argument("--original", type=Path, required=True, metavar="SRC", help="the originals")
    several = "folders of protected photos, each with the names of the originals; by omm protect or another tool"
    parser.add_argument("--protected", type=Path, required=True, nargs="+", metavar="DST", help=several)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    truth = "else those recorded when the photos were protected, else what the authorized model reads in the originals"
    parser.add_argument("--labels", metavar="CSV", help=f"{LABELS}; {truth}")
    parser.add_argument("--run", dest="run_file", type=Path, metavar="TOML", help="file that names the models")
    roles = parser.add_argument_group("models, by their URIs (see omm models)")
    recorded = "by default what the first protected folder was made with"
    several_uris: dict[str, Any] = {"action": "extend", "nargs": "+", "default": [], "metavar": "URI"}
    roles.add_argument("--authorized", metavar="URI", help=f"the model that must still read the photos; {recorded}")
    roles.add_argument("--surrogate", help=f"models that were used to make them; {recorded}", **several_uris)
    roles.add_argument("--heldout", help="models that took no part: the evidence", **several_uris)
    how = parser.add_argument_group("what is measured")
    how.add_argument("--channels", nargs="+", default=["png"], metavar="NAME", help="see above, or all; png by default")
    adapt = "also judge by held-out models that are trained further on protected photos (those with gradients)"
    how.add_argument("--adapt", action="store_true", help=adapt)
    how.add_argument("--lpips", action="store_true", help="measure LPIPS too (pip install 'onlymymodel[lpips]')")
    _add_common(parser)
    parser.set_defaults(run=commands.evaluate)


def _add_models(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "models",
        help="list kinds of models, or check one",
        description="List the kinds of models, or check those named.",
    )
    parser.add_argument("uris", nargs="*", metavar="URI", help="models to load and check")
    _add_common(parser)
    parser.set_defaults(run=commands.models)


def _add_demo(subparsers: Any) -> None:
    parser = subparsers.add_parser(
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
    parser.set_defaults(run=commands.demo)


def _add_app(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "app",
        help="a page in the browser: drop photos, protect, compare, save; needs onlymymodel[app]",
        description="Show a page on this machine. Photos stay here and are removed when it ends (Ctrl-C).",
    )
    others = "where to listen; this machine alone by default, any other lets whoever reaches it use the page"
    parser.add_argument("--host", default="127.0.0.1", help=others)
    parser.add_argument("--port", type=int, default=0, metavar="N", help="by default any that is free")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, mps; by default the first accelerator found, else the CPU"
    )
    parser.add_argument("--allow-python", action="store_true", help="let python: models run code of your own")
    parser.set_defaults(run=commands.app)


def entry() -> NoReturn:
    """The `omm` script."""
    sys.exit(main())
