"""What an answer depends on beside a model's weights and the image, as one short name."""

import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

from onlymymodel.data.manifest import sha256_file
from onlymymodel.surrogates.black_box import BlackBox, CallableBlackBox, ClassifierBlackBox
from onlymymodel.surrogates.uri import SCHEMES


def view_of(box: BlackBox) -> str:
    """16 hex digits of how a model wants its input, whom it knows, the network that a file of weights is for, and the
    source files of a model of the user's own: where one of them is another, so may the answer be."""
    card = box.card
    arch = card.uri.partition("?arch=")[2]
    asked = json.dumps(asdict(card.preprocess), sort_keys=True) + card.gallery + arch + _source(box)
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


def _source(box: BlackBox) -> str:
    """sha256 of the Python files of `_modules`, empty where there are none. What these import is not looked at."""
    lines = []
    for name in sorted(_modules(box)):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and Path(file).is_file():
            lines.append(f"{name} {sha256_file(Path(file))}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else ""


def _modules(box: BlackBox) -> set[str]:
    """Names of the modules in which a model of the user's own is written: its factory, its class or function, the
    classes of its network. None for all other kinds: their hashes and options say which network answers."""
    if isinstance(box, CallableBlackBox):
        return {getattr(box.function, "__module__", None) or ""}
    if isinstance(box, ClassifierBlackBox):
        scheme, _, rest = box.card.uri.partition(":")
        if scheme in SCHEMES and scheme != "python":
            return set()
        return {rest.partition(":")[0], *(type(part).__module__ for part in box.classifier.net.modules())}
    module = type(box).__module__
    return set() if module.startswith("onlymymodel.") else {module}
