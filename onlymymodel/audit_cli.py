"""The flags of `omm audit` and `omm protect-representation`."""

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from onlymymodel.data.folder import check_writable
from onlymymodel.evaluate.audits.networks import Kind
from onlymymodel.protect.representation import RepresentationSettings

AUDITS = {
    "gradients": "what a gradient that is shared in training gives away of the pictures",
    "intermediate": "what the output of each layer gives away",
    "weights": "what released weights give away of the training pictures",
    "representation": "what a protected representation gives away, and what the task keeps",
}
LAYOUTS = {
    "gradients": "PHOTOS are a flat folder, or sorted as CLASS/photo; the classes of a --model are its own answers,\n"
    "a small network needs two folders or more.",
    "intermediate": "PHOTOS are sorted as PERSON/photo or CLASS/PERSON/photo: an adversary learns from some people\n"
    "and is judged on others.",
    "weights": "PHOTOS and --others are sorted alike as CLASS/photo, with a folder for each class of the network, in\n"
    "the order of its classes; a --model with another number of classes sorts them by its own answers.",
    "representation": "PHOTOS are sorted as CLASS/PERSON/photo, with several people of every class.",
}


def add_audit(subparsers: Any) -> None:
    """`omm audit gradients|intermediate|weights|representation`."""
    parser = subparsers.add_parser(
        "audit",
        help="measure what gradients, layers, weights or representations give away",
        description="Let an adversary work on what somebody sees of pictures, beside controls, under stated "
        "assumptions.\nWrites audit.json, audit.md and audit.html with the reconstructions to DIR.",
    )
    kinds = parser.add_subparsers(dest="audit", required=True, metavar="RELEASE")
    made = {
        name: kinds.add_parser(name, help=text, description=f"Measure {text}.\n{LAYOUTS[name]}")
        for name, text in AUDITS.items()
    }
    for name, audit in made.items():
        _add_pictures(audit)
        audit.set_defaults(run=_deferred(name))
    _add_gradients(made["gradients"])
    _add_intermediate(made["intermediate"])
    _add_weights(made["weights"])
    _add_representation(made["representation"])


def add_protect_representation(subparsers: Any) -> None:
    """`omm protect-representation`."""
    usual = RepresentationSettings()
    parser = subparsers.add_parser(
        "protect-representation",
        help="train an encoder whose output serves a task and does not give the picture away",
        description="Train an encoder and a task head against a decoder on a share of the people, write safetensors, "
        "ONNX and a card\nto DIR, and let new decoders judge it on the others. PHOTOS is sorted as CLASS/PERSON/photo.",
    )
    _add_pictures(parser)
    _add_people(parser)
    parser.add_argument("--weight", type=float, default=usual.weight, metavar="LAMBDA", help="of hiding the picture")
    parser.add_argument("--steps", type=int, default=usual.steps, metavar="N", help=f"of training ({usual.steps})")
    parser.set_defaults(run=_deferred("protect_representation"))


def _deferred(name: str) -> Any:
    """The command, imported when it is run: audits bring their own libraries."""

    def run(arguments: argparse.Namespace) -> int:
        _check_out(arguments.out)
        code: int = getattr(import_module("onlymymodel.audit_commands"), name)(arguments)
        return code

    return run


def _check_out(out: Path) -> None:
    """See before the work that its results can be written; a folder that was made to see it is not left behind."""
    whole = out.resolve()
    new = [folder for folder in (whole, *whole.parents) if not folder.exists()]
    check_writable(out)
    for folder in new:
        folder.rmdir()


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="?", type=Path, metavar="PHOTOS", help="a folder, sorted as said above")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for what was found")
    drawn = "without PHOTOS: rendered portraits (default), or scikit-learn's digits"
    parser.add_argument("--pictures", choices=("portraits", "digits"), default="portraits", help=drawn)
    parser.add_argument("--task", choices=("emotion", "identity"), default="emotion", help="of the portraits")
    parser.add_argument("--size", type=int, choices=(16, 32, 64), default=32, help="of the pictures, in pixels (32)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all that is drawn (0)")
    parser.add_argument("--device", default="cpu", help="of a model that is named (cpu)")
    parser.add_argument("--allow-python", action="store_true", help="let python: models run code of your own")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_network(parser: argparse.ArgumentParser, epochs: int) -> None:
    parser.add_argument("--model", metavar="URI", help="whose release it is (see omm models)")
    own = "or a small network that is trained here"
    parser.add_argument("--network", choices=get_args(Kind), default="cnn", help=f"{own} (cnn)")
    trained = f"training of the small network ({epochs})"
    parser.add_argument("--epochs", type=_natural, default=epochs, metavar="N", help=trained)


def _add_gradients(parser: argparse.ArgumentParser) -> None:
    _add_network(parser, epochs=0)
    parser.add_argument("--limit", type=_positive, default=8, metavar="N", help="pictures that are attacked (8)")
    attacks = "dlg, idlg, inverting, gradinversion (dlg inverting)"
    parser.add_argument("--attacks", nargs="+", default=["dlg", "inverting"], metavar="NAME", help=attacks)
    defenses = "none, noise:SHARE, clip:NORM, topk:SHARE, and chains with + (none)"
    parser.add_argument("--defenses", nargs="+", default=["none"], metavar="NAME", help=defenses)
    parser.add_argument("--mode", choices=("eval", "train"), default="eval", help="of the network at the client (eval)")
    parser.add_argument("--batch", type=_positive, default=1, metavar="N", help="pictures behind one gradient (1)")
    protected = "protected versions of PHOTOS: do their gradients give the originals away?"
    parser.add_argument("--protected", type=Path, metavar="DST", help=protected)
    parser.add_argument("--lpips", action="store_true", help="measure LPIPS too (pip install 'onlymymodel[lpips]')")


def _add_intermediate(parser: argparse.ArgumentParser) -> None:
    _add_network(parser, epochs=20)
    members = "pictures that the named model was trained on; PHOTOS are then those that it was not"
    parser.add_argument("--members", type=Path, metavar="FOLDER", help=members)
    parser.add_argument(
        "--layers", nargs="+", default=[], metavar="NAME", help="by their module's name; all by default"
    )
    most = "at most so many, spread evenly (16)"
    parser.add_argument("--most-layers", type=_positive, default=16, metavar="N", help=most)
    parser.add_argument("--steps", type=_natural, default=300, metavar="N", help="of the inverter's training (300)")


def _add_weights(parser: argparse.ArgumentParser) -> None:
    _add_network(parser, epochs=300)
    others = "pictures that the named model was not trained on; PHOTOS are then those that it was"
    parser.add_argument("--others", type=Path, metavar="FOLDER", help=others)
    parser.add_argument(
        "--limit", type=_positive, default=60, metavar="N", help="training pictures of a small network (60)"
    )
    parser.add_argument("--steps", type=_positive, default=300, metavar="N", help="of the generator's training (300)")


def _add_representation(parser: argparse.ArgumentParser) -> None:
    usual = RepresentationSettings()
    lambdas = "lambdas of the curve (0 1 2)"
    parser.add_argument("--weights", nargs="+", type=float, default=[0.0, 1.0, 2.0], metavar="LAMBDA", help=lambdas)
    _add_people(parser)
    parser.add_argument(
        "--steps", type=_positive, default=usual.steps, metavar="N", help=f"of training ({usual.steps})"
    )


def _add_people(parser: argparse.ArgumentParser) -> None:
    public = "share of the people whose pictures are trained on (0.6)"
    parser.add_argument("--public", type=_share, default=0.6, metavar="SHARE", help=public)
    embedder = "model of faces by which identity is compared (zoo:identity-residual)"
    parser.add_argument("--embedder", default="zoo:identity-residual", metavar="URI", help=embedder)


def _share(text: str) -> float:
    if not 0 < float(text) < 1:
        raise argparse.ArgumentTypeError("lies between 0 and 1")
    return float(text)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def _natural(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError("counts from 0")
    return int(text)
