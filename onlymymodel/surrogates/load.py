"""Load models from their URIs, as a frozen Classifier or as a black box."""

import logging
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn

from onlymymodel.errors import UserError, first_line
from onlymymodel.surrogates.assumed import still_assumed
from onlymymodel.surrogates.black_box import BlackBox
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.detector import DETECTION, as_judge, with_kept_classes
from onlymymodel.surrogates.fingerprint import fingerprint, parameters_sha256
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.model_card import ATTRIBUTES, ModelCard, Preprocess
from onlymymodel.surrogates.options import (
    attribute_record,
    embeds_photos,
    least_outputs,
    override_card,
    override_preprocess,
    read_names,
    read_template,
    read_threshold,
    refuse_unused,
    require_gallery,
)
from onlymymodel.surrogates.schemes import import_loader
from onlymymodel.surrogates.uri import ModelUri, parse_uri

log = logging.getLogger(__name__)


def load_model(
    uri: str,
    *,
    base: Path | None = None,
    allow_python: bool = False,
    device: torch.device | str = "cpu",
) -> Classifier:
    """Load the model that a URI names, frozen and in eval mode.

    Args:
        uri: see `onlymymodel.surrogates.schemes.SCHEMES`.
        base: folder from which relative files are taken; the current one by default.
        allow_python: whether `python:module:factory` may import and run code.
        device: where the parameters go.

    Raises:
        UserError: unknown name, missing file, wrong class count, no network, pickled code.
    """
    parsed = _parse(uri, base, allow_python)
    if parsed.kind.judges_only:
        raise UserError(f"model {parsed.public!r} is a black box: it can judge, not guide (use it with --heldout)")
    began = monotonic()
    model = to_classifier(parsed, import_loader(parsed.kind.loader)(parsed)).to(device)
    log.info("loaded %s in %.1f s", parsed.public, monotonic() - began)
    return model


def load_black_box(
    uri: str, *, base: Path | None = None, allow_python: bool = False, device: torch.device | str = "cpu"
) -> BlackBox:
    """Load a model to judge with.

    `onnx:` runs by ONNX Runtime (an embedder with a gallery as a Classifier), `http:` and `https:` query a server,
    `recorded:` looks answers up, `python:` may name a factory of any BlackBox; all others, and factories of networks,
    are Classifiers without gradients.

    Args:
        uri: see `load_model`.
        base: folder from which relative files are taken; the current one by default.
        allow_python: whether `python:module:factory` may import and run code.
        device: of the Classifiers; ONNX Runtime stays on the CPU.

    Raises:
        UserError: see `load_model`; BlackBoxError where a server does not answer.
    """
    parsed = _parse(uri, base, allow_python)
    loaded: BlackBox | Loaded = import_loader(parsed.kind.black_box_loader or parsed.kind.loader)(parsed)
    if isinstance(loaded, Loaded):
        return as_judge(to_classifier(parsed, loaded).to(device))
    return loaded


def _parse(uri: str, base: Path | None, allow_python: bool) -> ModelUri:
    parsed = parse_uri(uri, base)
    if parsed.kind.runs_code and not allow_python:
        raise UserError(f"model {uri!r} runs code of your own: add --allow-python if you trust it")
    return parsed


def to_classifier(uri: ModelUri, loaded: Loaded) -> Classifier:
    """Apply the URI's options to a loaded network, and run it once to see that it works.

    Raises:
        UserError: it fails, or is not what the options declare.
    """
    if loaded.record.get("task") != "identity":
        require_gallery(uri)
    preprocess = override_preprocess(loaded.preprocess, uri)
    sha256, weights = loaded.sha256 or parameters_sha256(loaded.net), loaded.weights
    if weights is None:
        weights = fingerprint(value for value in loaded.net.state_dict().values() if isinstance(value, Tensor))
    net, record = _with_head(uri, loaded, preprocess)
    classes = _count_classes(uri.text, net, preprocess, least_outputs(record.get("task", "")))
    card = ModelCard(uri=uri.public, sha256=sha256, classes=classes, preprocess=preprocess, weights=weights, **record)
    return Classifier(net, override_card(card, uri), still_assumed(loaded.assumed, preprocess, uri))


def _with_head(uri: ModelUri, loaded: Loaded, preprocess: Preprocess) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network with the head that the URI asks for, and the fields of its card."""
    from onlymymodel.surrogates.gallery import enroll
    from onlymymodel.surrogates.heads import EMBEDDING, SELF_THRESHOLD, SelfHead, WordsHead, words_sha256

    if loaded.record.get("task") == DETECTION:
        refuse_unused(uri, "detector")
        return with_kept_classes(uri, loaded.net, loaded.record)
    if uri.options.get("task", loaded.record.get("task")) == ATTRIBUTES:
        refuse_unused(uri, "attributes")
        return _with_attributes(uri, loaded, preprocess)
    if "gallery" in uri.options:
        refuse_unused(uri, "people")
        folder, embedder = Path(uri.options["gallery"]).expanduser(), loaded.net.eval()
        enrolled = enroll(repr(uri.text), embedder, preprocess, folder, read_threshold(uri, None))
        people = {"task": "identity", "labels": enrolled.names, "gallery": enrolled.sha256}
        return enrolled.head, {**loaded.record, **people}
    if loaded.embed_texts is not None and "labels" in uri.options:
        refuse_unused(uri, "words")
        names, template = read_names(uri), read_template(uri)
        with torch.no_grad():
            texts = loaded.embed_texts([template.replace("{}", name) for name in names])
        words = {"labels": names, "words": words_sha256(names, template)}
        return WordsHead(loaded.net, texts, loaded.text_scale), {**loaded.record, **words}
    if embeds_photos(uri, loaded.features):
        refuse_unused(uri, "embedder")
        threshold = read_threshold(uri, SELF_THRESHOLD)
        return SelfHead(loaded.net), {**loaded.record, "task": EMBEDDING, "labels": (), "threshold": threshold}
    refuse_unused(uri, "classes")
    return loaded.net, loaded.record


def _with_attributes(uri: ModelUri, loaded: Loaded, preprocess: Preprocess) -> tuple[nn.Module, dict[str, Any]]:
    """Return a network with the logits of the attributes that count, and the fields of its card."""
    from onlymymodel.surrogates.heads import ChosenOutputs

    outputs = _count_classes(uri.text, loaded.net, preprocess, least_outputs(ATTRIBUTES))
    kept, record = attribute_record(uri, outputs, loaded.record.get("labels", ()))
    return loaded.net if kept is None else ChosenOutputs(loaded.net, kept), {**loaded.record, **record}


def _count_classes(uri: str, net: nn.Module, preprocess: Preprocess, least: int) -> int:
    """Run the network once on a constant input and return its number of logits."""
    constant = torch.zeros(1, 3, preprocess.height, preprocess.width)  # the mean color, once normalized
    try:
        with torch.no_grad():
            out = net.eval()(constant)
    except Exception as error:  # a network of the user's own code, or of a stranger's graph, may raise anything
        size, reason = f"{preprocess.height}x{preprocess.width}", f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"model {uri!r} fails on a {size} input: {reason}") from error
    if not isinstance(out, Tensor) or out.ndim != 2 or out.shape[0] != 1 or out.shape[1] < least:
        shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise UserError(f"model {uri!r} gives {shape} for one photo, where (1, classes) logits are needed")
    return out.shape[1]
