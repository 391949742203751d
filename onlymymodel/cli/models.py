"""`omm models`."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from onlymymodel.cli.flags import add_machine, folder_here
from onlymymodel.cli.interrupt import exit_on_interrupt
from onlymymodel.cli.output import Output
from onlymymodel.cli.parser import Parser
from onlymymodel.errors import UserError, nearest, number_of
from onlymymodel.surrogates.schemes import VARIABLE
from onlymymodel.surrogates.uri import parse_uri

if TYPE_CHECKING:
    from onlymymodel.surrogates.classifier import Classifier


FETCH = "fetch"


def add_flags(parser: Parser) -> None:
    """Add the flags."""
    parser.description = (
        "List the kinds of models, check the named models, or fetch their weights for a machine without a network:\n"
        f"there, {VARIABLE}=DIR in the environment lets every command use the files in DIR, and no others."
    )
    parser.add_argument("uris", nargs="*", metavar="[fetch] URI", help="models to load and check, or to fetch")
    fetched = parser.add_argument_group("omm models fetch")
    fetched.add_argument("--preset", metavar="NAME", help="fetch the models of a preset (omm preset list)")
    to = "folder for the weights; without it they go to the caches that runs on this machine use"
    fetched.add_argument("--to", type=folder_here, metavar="DIR", help=to)
    add_machine(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the kinds of models, or check models; return 0 if all pass, else 1."""
    output = arguments.output
    if arguments.uris[:1] == [FETCH]:
        return _fetch(arguments)
    if arguments.uris and ":" not in arguments.uris[0] and nearest(arguments.uris[0], [FETCH], cutoff=0.75):
        raise UserError(f"unknown command {arguments.uris[0]!r}; did you mean {FETCH!r}?")
    if arguments.preset is not None or arguments.to is not None:
        raise UserError("--preset and --to are for fetching weights: omm models fetch --preset NAME --to DIR")
    if not arguments.uris:
        _list(output)
        return 0
    with exit_on_interrupt():
        from onlymymodel.surrogates.early_checks import check_uris

        for uri in arguments.uris:
            check_uris(uri, allow_python=arguments.allow_python)
        from onlymymodel.progress import track
        from onlymymodel.runtime import configure, pick_device
        from onlymymodel.surrogates.load import load_model
    configure()
    device = pick_device(arguments.device)
    checked = [
        _check(load_model(uri, allow_python=arguments.allow_python, device=device), output)
        for uri in track(arguments.uris, "checking", unit="model")
    ]
    output.add(models=checked)
    return 0 if all(model["passed"] for model in checked) else 1


def _fetch(arguments: argparse.Namespace) -> int:
    """Download the weights of models, or say that all are there; return 0."""
    from onlymymodel.presets.preset import load_preset

    uris = list(arguments.uris[1:])
    if arguments.preset is not None:
        preset = load_preset(arguments.preset)
        uris += [preset.authorized or "", *preset.surrogates, *preset.heldout]
    if not uris:
        raise UserError("name what to fetch: omm models fetch URI, or omm models fetch --preset NAME")
    for uri in uris:
        if not parse_uri(uri).kind.downloads:
            raise UserError(f"the weights of {parse_uri(uri).public} are not downloaded: there is nothing to fetch")
    with exit_on_interrupt():
        from onlymymodel.surrogates.fetch import fetch_weights
        from onlymymodel.surrogates.weight_files import Caches
    folder = arguments.to
    fetch_weights(uris, None if folder is None else Caches.below(folder, fixed=False))
    where = "the caches of this machine" if folder is None else f"{folder}; use them with {VARIABLE}={folder}"
    arguments.output.say(f"the weights of {number_of(len(uris), 'model')} are in {where}")
    arguments.output.add(models=[parse_uri(uri).public for uri in uris], folder=folder)
    return 0


def _list(output: Output) -> None:
    from onlymymodel.surrogates import zoo
    from onlymymodel.surrogates.schemes import SCHEMES

    output.say("models are named by URIs:", *(f"  {scheme.help}" for scheme in SCHEMES.values()))
    output.say("bundled:", *(f"  zoo:{name}" for name in zoo.NAMES))
    output.add(schemes={name: scheme.help for name, scheme in SCHEMES.items()})
    output.add(bundled=[f"zoo:{name}" for name in zoo.NAMES])


def _check(model: "Classifier", output: Output) -> dict[str, Any]:
    """Print the result of every check of a model, and return it as JSON values."""
    from onlymymodel.surrogates.assumed import assumed_options, assumption
    from onlymymodel.surrogates.checks import check_model
    from onlymymodel.surrogates.class_mapping import compare_with_affectnet

    card, size = model.card, model.card.preprocess
    output.say(f"{card.uri}  {card.classes} classes, {size.height}x{size.width}, sha256 {card.sha256[:12]}")
    if card.task == "emotion" and card.labels:
        missing, extra = compare_with_affectnet(card)
        output.say(f"  expressions of AffectNet that it does not have: {', '.join(missing) or 'none'}")
        output.say(f"  classes that are not in AffectNet: {', '.join(extra) or 'none'}")
    results = check_model(model)
    for result in results:
        advice = f": {result.advice}" if result.advice else ""
        output.say(f"  {'ok  ' if result.passed else 'FAIL'}  {result.check}{advice}")
    if options := assumed_options(model):
        output.say(f"  WARN  preprocessing: partly {assumption(options)}")
    return {
        "uri": card.uri,
        "classes": card.classes,
        "height": size.height,
        "width": size.width,
        "sha256": card.sha256,
        "assumed": options,
        "checks": [asdict(result) for result in results],
        "passed": all(result.passed for result in results),
    }
