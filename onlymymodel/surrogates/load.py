"""From a model URI to a frozen Classifier."""

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from onlymymodel.data.manifest import sha256_file
from onlymymodel.errors import UserError
from onlymymodel.surrogates import zoo
from onlymymodel.surrogates.classifier import Classifier, ModelCard, Preprocess
from onlymymodel.surrogates.fingerprint import fingerprint
from onlymymodel.surrogates.hub import downloads
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.uri import (
    BLACK_BOX_ONLY,
    ModelUri,
    did_you_mean,
    number,
    override_card,
    override_preprocess,
    parse_uri,
)


def load_model(
    uri: str,
    *,
    base: Path | None = None,
    allow_python: bool = False,
    device: torch.device | str = "cpu",
) -> Classifier:
    """Load the model that a URI names, frozen and in eval mode.

    Args:
        uri: see `onlymymodel.surrogates.uri.SCHEMES`.
        base: folder from which relative files are taken; the current one by default.
        allow_python: whether `python:module:factory` may import and run code.
        device: where the parameters go.

    Raises:
        UserError: unknown name, missing file, wrong class count, no network, pickled code.
    """
    parsed = parse_uri(uri, base)
    if parsed.scheme == "python" and not allow_python:
        raise UserError(f"model {uri!r} runs code of your own: add --allow-python if you trust it")
    if parsed.scheme in BLACK_BOX_ONLY:
        raise UserError(f"model {parsed.public!r} is a black box: it can judge, not guide (use it with --heldout)")
    return as_classifier(parsed, LOADERS[parsed.scheme](parsed)).to(device)


def as_classifier(uri: ModelUri, loaded: Loaded) -> Classifier:
    """What a loader found, with what the user declares, run once to see that it works.

    Raises:
        UserError: it does not, or not as declared.
    """
    if loaded.record.get("task") != "identity":
        require_people(uri)
    preprocess = override_preprocess(loaded.preprocess, uri)
    sha256, net, record = loaded.sha256 or parameters_sha256(loaded.net), loaded.net, loaded.record
    weights = _fingerprint(net) if loaded.weights is None else loaded.weights
    if "gallery" in uri.options:
        net, record = _recognizer(uri, loaded.net, preprocess, loaded.record)
    elif "threshold" in uri.options:
        raise UserError(f"model {uri.text!r}: a threshold is for an embedder with a gallery=FOLDER")
    classes = _count_classes(uri.text, net, preprocess)
    card = ModelCard(uri=uri.public, sha256=sha256, classes=classes, preprocess=preprocess, weights=weights, **record)
    return Classifier(net, override_card(card, uri))


def require_people(uri: ModelUri) -> None:
    """Refuse what is declared to tell people apart and does not say which: an embedder's numbers are no classes.

    Raises:
        UserError: `task=identity` without a gallery, and without the classes or labels of a classifier of people.
    """
    if uri.options.get("task") == "identity" and not {"gallery", "classes", "labels"} & uri.options.keys():
        raise UserError(
            f"model {uri.text!r} is to recognize people: give gallery=FOLDER with one folder of photos for each of "
            "them, or labels=FILE or classes=N if it is a classifier of its own people"
        )


def _recognizer(
    uri: ModelUri, embedder: nn.Module, preprocess: Preprocess, record: dict[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """The embedder with its gallery as a network, and what the card says of it."""
    from onlymymodel.surrogates.gallery import enroll

    text = uri.options.get("threshold")
    threshold = None if text is None else float(number(uri, "threshold", text, float))
    if threshold is not None and not -1 <= threshold <= 1:
        raise UserError(f"model {uri.text!r}: the threshold is a cosine, from -1 to 1")
    people = enroll(repr(uri.text), embedder.eval(), preprocess, Path(uri.options["gallery"]).expanduser(), threshold)
    return people.head, {**record, "task": "identity", "labels": people.names, "gallery": people.sha256}


def parameters_sha256(net: nn.Module) -> str:
    """sha256 over the parameters and buffers in order of their names, independent of any file format."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _fingerprint(net: nn.Module) -> str:
    return fingerprint(value for value in net.state_dict().values() if isinstance(value, Tensor))


def _facenet(uri: ModelUri) -> Loaded:
    from onlymymodel.surrogates import faces

    if uri.rest not in faces.PEOPLE:
        raise UserError(f"model {uri.text!r}{did_you_mean(uri.rest, faces.PEOPLE)}")
    with downloads(uri.text, "copy its weights into torch's cache folder, or use a bundled zoo: model"):
        net = faces.identity_network(uri.rest, embed="gallery" in uri.options)
    record = {"task": "identity", "family": "inception-resnet", "parent": f"facenet-pytorch-{uri.rest}"}
    return Loaded(net, faces.PREPROCESS, record)


def _zoo(uri: ModelUri) -> Loaded:
    net, record = zoo.read(uri.rest)
    preprocess = Preprocess(
        height=record["size"],
        width=record["size"],
        fit="squash",
        mean=tuple(record["mean"]),
        std=tuple(record["std"]),
    )
    kept = {key: record[key] for key in ("task", "family", "parent", "licence")}
    return Loaded(net, preprocess, {**kept, "labels": tuple(record["labels"])}, sha256_file(zoo.path(uri.rest)))


def call_factory(uri: ModelUri) -> object:
    """What the factory of a `python:` URI returns; this runs the user's code."""
    module, _, name = uri.rest.partition(":")
    if not module or not name:
        raise UserError(f"model {uri.text!r}: write python:module:factory")
    try:
        factory: Callable[[], object] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"model {uri.text!r}: {error}") from error
    if not callable(factory):
        raise UserError(f"model {uri.text!r}: {name} is not a function")
    return factory()


def from_factory(uri: ModelUri, made: object) -> Loaded:
    """A factory's network or Classifier as loaded."""
    if isinstance(made, Classifier):
        kept = {key: getattr(made.card, key) for key in ("task", "labels", "family", "parent", "licence")}
        return Loaded(made.net, made.card.preprocess, kept)
    if not isinstance(made, nn.Module):
        raise UserError(f"model {uri.text!r}: the factory must return a torch.nn.Module or a Classifier")
    return Loaded(made, Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))


def _from(module: str, name: str) -> Callable[[ModelUri], Loaded]:
    """A loader that is imported when first used: timm and torchvision alone take seconds."""

    def load(uri: ModelUri) -> Loaded:
        loader: Callable[[ModelUri], Loaded] = getattr(
            importlib.import_module(f"onlymymodel.surrogates.{module}"), name
        )
        return loader(uri)

    return load


LOADERS: dict[str, Callable[[ModelUri], Loaded]] = {
    "timm": _from("pretrained", "load_timm"),
    "hf-hub": _from("pretrained", "load_hf_hub"),
    "torchvision": _from("pretrained", "load_torchvision"),
    "checkpoint": _from("checkpoint", "load_checkpoint"),
    "onnx": _from("onnx_file", "load_onnx"),
    "facenet": _facenet,
    "zoo": _zoo,
    "python": lambda uri: from_factory(uri, call_factory(uri)),
}


def _count_classes(uri: str, net: nn.Module, preprocess: Preprocess) -> int:
    """Run once on the mean color: the only proof of what a network gives."""
    gray = torch.zeros(1, 3, preprocess.height, preprocess.width)
    try:
        with torch.no_grad():
            out = net.eval()(gray)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise UserError(f"model {uri!r} fails on a {preprocess.height}x{preprocess.width} input: {error}") from error
    if not isinstance(out, Tensor) or out.ndim != 2 or out.shape[0] != 1 or out.shape[1] < 2:
        shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise UserError(f"model {uri!r} gives {shape} for one photo, where (1, classes) logits are needed")
    return out.shape[1]
