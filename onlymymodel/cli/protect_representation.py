"""`omm protect-representation`."""

from onlymymodel.cli.audit import add_people, add_pictures, deferred
from onlymymodel.cli.flags import positive
from onlymymodel.cli.parser import Parser
from onlymymodel.evaluate.audits.options import REPRESENTATION_TASKS, RepresentationSettings


def add_flags(parser: Parser) -> None:
    """Add the flags."""
    parser.description = (
        "Train an encoder and a task head against a decoder on a share of the people, write safetensors, ONNX and a "
        "card\nto DIR, and audit it with decoders of other people on the rest. PHOTOS is sorted as CLASS/PERSON/photo."
    )
    usual = RepresentationSettings()
    add_pictures(parser, tasks=REPRESENTATION_TASKS)
    add_people(parser)
    parser.add_argument(
        "--weight",
        type=float,
        default=usual.weight,
        metavar="LAMBDA",
        help=f"weight of hiding the picture ({usual.weight:g})",
    )
    steps = f"training steps ({usual.steps})"
    parser.add_argument("--steps", type=positive, default=usual.steps, metavar="N", help=steps)
    parser.set_defaults(run=deferred("protect_representation"))
