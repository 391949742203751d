"""`omm audit`: its flags. The audits run in `audit_work`."""

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from onlymymodel.cli.commands import COMMANDS
from onlymymodel.cli.flags import add_allow_python, device_name, folder_here, natural, positive, share
from onlymymodel.cli.interrupt import exit_on_interrupt
from onlymymodel.cli.parser import Parser
from onlymymodel.evaluate.audits.options import (
    ATTACK_NAMES,
    DEFENSE_GRAMMAR,
    MODES,
    NETWORK_KINDS,
    PICTURE_SOURCES,
    QUICK_GRADIENTS,
    QUICK_LAYERS,
    QUICK_REPRESENTATION,
    QUICK_WEIGHTS,
    REPRESENTATION_TASKS,
    SIZES,
    TASKS,
    GradientOptions,
    LayerOptions,
    NetworkKind,
    PictureOptions,
    RepresentationOptions,
    Task,
    WeightOptions,
)

AUDIT = "audit "
# defaults of the flags of each audit, and those with `--quick`; a flag that is given goes first
USUAL: dict[str, object] = {
    "gradients": GradientOptions(),
    "intermediate": LayerOptions(),
    "weights": WeightOptions(),
    "representation": RepresentationOptions(),
}
QUICK: dict[str, object] = {
    "gradients": QUICK_GRADIENTS,
    "intermediate": QUICK_LAYERS,
    "weights": QUICK_WEIGHTS,
    "representation": QUICK_REPRESENTATION,
}
AUDITS = {name.removeprefix(AUDIT): row.summary for name, row in COMMANDS.items() if name.startswith(AUDIT)}
LAYOUTS = {
    "gradients": "PHOTOS are a flat folder, or sorted as CLASS/photo. With --model the labels are its own answers,\n"
    "unless there is a folder for each of its classes, in their order; two or more without --model.",
    "intermediate": "PHOTOS are sorted as PERSON/photo or CLASS/PERSON/photo: an adversary learns from some people\n"
    "and is judged on others.",
    "weights": "PHOTOS and --others are both sorted as CLASS/photo, with a folder for each class of the network, in\n"
    "the order of its classes. With a --model of another number of classes the labels are its own answers.",
    "representation": "PHOTOS are sorted as CLASS/PERSON/photo, with several people of every class: some for\n"
    "the training of the encoder, some for the judge's decoders, and others whose pictures are attacked.\n"
    "With --labels celeba:PATH the task is to read attributes; PHOTOS are sorted as PERSON/photo, or in any way if\n"
    "the table of identities lies beside that of attributes.",
}


def add_flags(parser: Parser) -> None:
    """Add `omm audit gradients|intermediate|weights|representation`."""
    parser.description = (
        "Let an adversary attack a release of pictures, and report the result with controls and assumptions.\n"
        "Writes audit.json, audit.md and audit.html with the reconstructions to DIR."
    )
    kinds = parser.add_subparsers(dest="audit", required=True, metavar="RELEASE", title="releases")
    parsers = {
        name: kinds.add_parser(name, help=text, description=f"Measure {text}.\n{LAYOUTS[name]}")
        for name, text in AUDITS.items()
    }
    for name, audit in parsers.items():
        task: Task = "identity" if name == "gradients" else PictureOptions().task
        add_pictures(audit, task, REPRESENTATION_TASKS if name == "representation" else TASKS)
        audit.add_argument("--quick", action="store_true", help="fewer pictures and steps: a verdict in three minutes")
        audit.set_defaults(run=deferred(name))
    _add_gradients(parsers["gradients"])
    _add_intermediate(parsers["intermediate"])
    _add_weights(parsers["weights"])
    _add_representation(parsers["representation"])


def deferred(name: str) -> Callable[[argparse.Namespace], int]:
    """Return the function of `audit_work` of that name; the module is imported when the function is called."""

    def run(arguments: argparse.Namespace) -> int:
        with exit_on_interrupt():
            from onlymymodel.cli.checks import check_audit

            _check_out(arguments.out)
            check_audit(arguments)
            if name in USUAL:
                _fill_defaults(name, arguments)
            from onlymymodel.runtime import configure

            audit: Callable[[argparse.Namespace], int] = getattr(import_module("onlymymodel.cli.audit_work"), name)
        configure()
        return audit(arguments)

    return run


def _check_out(out: Path) -> None:
    """Check before an audit that its results can be written; folders that are made for this check are removed again."""
    from onlymymodel.data.folder import check_writable

    whole = out.resolve()
    new = [folder for folder in (whole, *whole.parents) if not folder.exists()]
    check_writable(out)
    for folder in new:
        folder.rmdir()


def _fill_defaults(name: str, arguments: argparse.Namespace) -> None:
    """Set the flags that were not given to their defaults, or to those of `--quick`."""
    for option, value in vars((QUICK if arguments.quick else USUAL)[name]).items():
        if getattr(arguments, option, None) is None:
            setattr(arguments, option, value)


def add_pictures(parser: argparse.ArgumentParser, task: Task = "emotion", tasks: Sequence[Task] = TASKS) -> None:
    """Add the flags of the pictures, the output and the models of every audit; `task` labels rendered portraits."""
    usual = PictureOptions()
    parser.add_argument(
        "photos", nargs="?", type=folder_here, metavar="PHOTOS", help="a folder, sorted as described above"
    )
    parser.add_argument("--out", type=folder_here, required=True, metavar="DIR", help="folder for the results")
    drawn = "pictures without PHOTOS: rendered portraits (default), or scikit-learn's digits"
    parser.add_argument("--pictures", choices=PICTURE_SOURCES, default=usual.source, help=drawn)
    parser.add_argument("--task", choices=tasks, default=task, help=f"labels of the portraits ({task})")
    parser.add_argument(
        "--size", type=int, choices=SIZES, default=usual.size, help=f"side of the pictures, in pixels ({usual.size})"
    )
    parser.add_argument(
        "--seed", type=int, default=usual.seed, metavar="N", help=f"seed of all random numbers ({usual.seed})"
    )
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--device",
        type=device_name,
        default="cpu",
        metavar="NAME",
        help="device of the named model, and of trained representations (cpu)",
    )
    add_allow_python(machine)


def _add_network(parser: argparse.ArgumentParser, network: NetworkKind, epochs: int) -> None:
    parser.add_argument("--model", metavar="URI", help="the model that is audited (see omm models)")
    own = "without --model: kind of a small network to train"
    parser.add_argument("--network", choices=NETWORK_KINDS, help=f"{own} ({network})")
    trained = f"training epochs of the small network ({epochs})"
    parser.add_argument("--epochs", type=natural, metavar="N", help=trained)


def _add_gradients(parser: argparse.ArgumentParser) -> None:
    usual = GradientOptions()
    _add_network(parser, usual.network, usual.epochs)
    parser.add_argument("--limit", type=positive, metavar="N", help=f"number of pictures to attack ({usual.limit})")
    attacks = f"{', '.join(ATTACK_NAMES)} ({' '.join(usual.attacks)})"
    parser.add_argument("--attacks", nargs="+", metavar="NAME", help=attacks)
    defenses = f"{DEFENSE_GRAMMAR} ({' '.join(usual.defenses)})"
    parser.add_argument("--defenses", nargs="+", metavar="NAME", help=defenses)
    parser.add_argument("--mode", choices=MODES, help=f"mode of the network at the client ({usual.mode})")
    parser.add_argument(
        "--batch",
        type=positive,
        metavar="N",
        help=f"number of pictures in each gradient ({usual.batch})",
    )
    parser.add_argument(
        "--local-steps",
        type=positive,
        metavar="N",
        help=f"local steps of SGD behind one update, as in FedAvg ({usual.local_steps}: a gradient is sent)",
    )
    parser.add_argument(
        "--local-rate", type=share, metavar="RATE", help=f"step size of a local step ({usual.local_rate:g})"
    )
    restarts = f"random initializations of each attack beyond the first ({usual.restarts})"
    parser.add_argument("--restarts", type=natural, metavar="N", help=restarts)
    protected = "protected versions of PHOTOS: do their gradients give the originals away?"
    parser.add_argument("--protected", type=folder_here, metavar="DST", help=protected)
    parser.add_argument("--lpips", action="store_true", help="measure LPIPS too (pip install 'onlymymodel[lpips]')")


def _add_intermediate(parser: argparse.ArgumentParser) -> None:
    usual = LayerOptions()
    _add_network(parser, usual.network, usual.epochs)
    members = "with --model: pictures that it was trained on; PHOTOS are pictures that it was not trained on"
    parser.add_argument("--members", type=folder_here, metavar="FOLDER", help=members)
    parser.add_argument(
        "--layers", nargs="+", default=[], metavar="NAME", help="layers, by the names of their modules; all by default"
    )
    most = f"largest number of layers, spread evenly ({usual.max_layers})"
    parser.add_argument("--most-layers", dest="max_layers", type=positive, metavar="N", help=most)
    parser.add_argument(
        "--steps",
        type=natural,
        metavar="N",
        help=f"training steps of the inverter ({usual.steps})",
    )
    bound = (
        "noise on the outputs that is audited too: so much that no estimate has an error below this share of the "
        f"pixels' variance, by the Fisher information ({usual.bound:g})"
    )
    parser.add_argument("--bound", type=share, metavar="SHARE", help=bound)


def _add_weights(parser: argparse.ArgumentParser) -> None:
    usual = WeightOptions()
    _add_network(parser, usual.network, usual.epochs)
    nonmembers = "with --model: pictures that it was not trained on; PHOTOS are pictures that it was trained on"
    parser.add_argument("--others", type=folder_here, metavar="FOLDER", help=nonmembers)
    parser.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help=f"training pictures of a small network ({usual.limit})",
    )
    parser.add_argument(
        "--steps",
        type=positive,
        metavar="N",
        help=f"training steps of the generator ({usual.steps})",
    )
    parser.add_argument(
        "--reconstruction-steps",
        type=positive,
        metavar="N",
        help=f"steps of the reconstruction of pictures ({usual.reconstruction_steps})",
    )


def _add_representation(parser: argparse.ArgumentParser) -> None:
    usual = RepresentationOptions()
    lambdas = f"weights of hiding the picture, for the curve ({' '.join(f'{weight:g}' for weight in usual.weights)})"
    parser.add_argument("--weights", nargs="+", type=float, metavar="LAMBDA", help=lambdas)
    backbone = "the encoder begins with this model, frozen and cut at --layer (see omm models)"
    parser.add_argument("--model", metavar="URI", help=backbone)
    parser.add_argument("--layer", metavar="NAME", help="name of the model's module at whose output it is cut")
    add_people(parser)
    parser.add_argument("--steps", type=positive, metavar="N", help=f"training steps ({usual.steps})")


def add_people(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the people whose pictures are trained on."""
    usual = RepresentationOptions()
    training = f"share of the people for the training of the encoder ({usual.training:g})"
    parser.add_argument("--training", type=share, default=usual.training, metavar="SHARE", help=training)
    public = f"share of the people for the training of the judge; the others are private ({usual.public:g})"
    parser.add_argument("--public", type=share, default=usual.public, metavar="SHARE", help=public)
    labels = "attributes of PHOTOS, celeba:PATH: the folders are people, or identity_CelebA.txt beside the table says"
    parser.add_argument("--labels", metavar="KIND:PATH", help=labels)
    embedder = f"face model that compares identities ({usual.embedder})"
    parser.add_argument("--embedder", default=usual.embedder, metavar="URI", help=embedder)
