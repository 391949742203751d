"""A short key of everything that a prediction depends on besides the model's weights and the image."""

import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

from onlymymodel.data.manifest import sha256_file
from onlymymodel.surrogates.black_box import BlackBox, CallableBlackBox, ClassifierBlackBox
from onlymymodel.surrogates.detector import DetectorBlackBox, detector_of
from onlymymodel.surrogates.readings import DeployedClassifier
from onlymymodel.surrogates.schemes import SCHEMES


def cache_key(box: BlackBox) -> str:
    """Return 16 hex digits that change whenever predictions of the same weights may change.

    They cover the preprocessing, the gallery, the words or what is kept, the meaning of the outputs, the architecture
    that a weights file is loaded into, and the source files of a model that the user's own code defines.
    """
    card = box.card
    arch = card.uri.partition("?arch=")[2]
    variant = getattr(box, "variant", "")  # of a network that is fed in another way than its card says
    kept = json.dumps(card.keep) if card.keep else ""
    references = card.gallery + card.words + kept
    text = (
        json.dumps(asdict(card.preprocess), sort_keys=True) + references + _meaning(box) + arch + _source(box) + variant
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _meaning(box: BlackBox) -> str:
    """Return what the outputs of a network are, which its weights do not tell; "" for logits of classes."""
    if isinstance(box, DetectorBlackBox):
        detector = detector_of(box.classifier)
        return json.dumps([getattr(detector.decode, "__qualname__", ""), detector.found, detector.overlap])
    return box.card.kind if box.card.kind in ("attributes", "embedder") else ""


def _source(box: BlackBox) -> str:
    """Return the sha256 over the URI and the files of `_modules`, empty if there are none.

    Imports of these files are not followed. The URI tells models of one file apart, which have equal hashes where they
    have no weights.
    """
    lines = []
    for name in sorted(_modules(box)):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and Path(file).is_file():
            lines.append(f"{name} {sha256_file(Path(file))}\n")
    return hashlib.sha256("".join([f"{box.card.uri}\n", *lines]).encode()).hexdigest() if lines else ""


def _modules(box: BlackBox) -> set[str]:
    """Return the names of the modules that define a model of the user's own code.

    These are the modules of its factory, of its class or function, and of the classes of its network. The set is empty
    for all other models: their hashes and options identify the network.
    """
    if isinstance(box, CallableBlackBox):
        return {getattr(box.function, "__module__", None) or ""}
    if isinstance(box, (ClassifierBlackBox, DeployedClassifier)):
        scheme, _, rest = box.card.uri.partition(":")
        if scheme in SCHEMES and not SCHEMES[scheme].runs_code:
            return set()
        return {rest.partition(":")[0], *(type(layer).__module__ for layer in box.classifier.net.modules())}
    module = type(box).__module__
    return set() if module.startswith("onlymymodel.") else {module}
