"""Models that only answer: images in, scores out, no gradients. They judge; they never guide."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from onlymymodel.errors import UserError
from onlymymodel.surrogates.classifier import Classifier, ModelCard, Preprocess
from onlymymodel.surrogates.load import as_classifier, call_factory, from_factory, load_model, require_people
from onlymymodel.surrogates.uri import WEB, ModelUri, parse_uri


class BlackBoxError(UserError):
    """A model gave no answer, or one that cannot be used."""


class BudgetSpent(UserError):
    """As many queries were sent as the user allows."""


@runtime_checkable
class BlackBox(Protocol):
    """Anything that answers. `card` says who it is; `predict` takes HWC uint8 images (C 1 or 3) of any sizes."""

    @property
    def card(self) -> ModelCard: ...

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32] | NDArray[np.integer[Any]]:
        """Images -> (B, classes) finite scores, or (B,) class indexes; `ask` reads either."""
        ...


@runtime_checkable
class CountsQueries(Protocol):
    """A black box that may send several queries for one image, as retries are.

    Attributes:
        on_query: called before each query leaves; what it raises keeps the query from being sent.
        budget: the number of queries that the user allows in all, None for any.
    """

    on_query: Callable[[], None]
    budget: int | None


def to_pixels(image: NDArray[np.uint8], device: torch.device | str = "cpu") -> torch.Tensor:
    """One HWC uint8 image as (1,C,H,W) float32 in [0,1]."""
    return torch.tensor(np.ascontiguousarray(image), device=device).permute(2, 0, 1)[None].float() / 255


def network_input(image: NDArray[np.uint8], preprocess: Preprocess) -> torch.Tensor:
    """One HWC uint8 image (C 1 or 3) as (1,3,height,width) float32, resized, cropped and normalized."""
    mean = torch.tensor(preprocess.mean).view(1, 3, 1, 1)
    std = torch.tensor(preprocess.std).view(1, 3, 1, 1)
    return (preprocess.center(preprocess.canvas(to_pixels(image))) - mean) / std


def one_hot(label: int, classes: int) -> NDArray[np.float32]:
    """A label as (classes,) scores: 1 at the label, 0 elsewhere."""
    scores = np.zeros(classes, np.float32)
    scores[label] = 1
    return scores


def ask(model: BlackBox, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a model says of one HWC uint8 image, as (classes,) finite scores; a class index becomes one-hot.

    Raises:
        BlackBoxError: it says something else. Whatever the model itself raises goes through.
    """
    said = model.predict([image])
    shape = tuple(getattr(said, "shape", ()))
    if shape[:1] != (1,):
        found = f"shape {shape}" if shape else f"a {type(said).__name__}"
        raise BlackBoxError(
            f"model {model.card.uri} answers {found} for one image, where (1, {model.card.classes}) scores "
            "or (1,) class indexes are needed"
        )
    return _as_scores(said[0], model.card)


def _as_scores(answer: ArrayLike, card: ModelCard) -> NDArray[np.float32]:
    """An answer to one image as (classes,) finite scores. A model with a gallery gives cosines: no index will do."""
    try:
        said = np.asarray(answer)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BlackBoxError(f"model {card.uri}: its answer is not numbers ({error})") from error
    if said.ndim == 0 and said.dtype.kind in "iu" and 0 <= int(said) < card.classes and not card.gallery:
        return one_hot(int(said), card.classes)
    shown = repr(answer) if said.ndim == 0 else f"shape {said.shape} of {said.dtype}"
    if said.shape == (card.classes,) and said.dtype.kind in "iuf":
        with np.errstate(over="ignore"):
            scores = said.astype(np.float32)
        if np.isfinite(scores).all():
            return scores
        shown = "scores that are not finite"
    index = "" if card.gallery else f"or a class index from 0 to {card.classes - 1} "
    raise BlackBoxError(f"model {card.uri} answers {shown}, where {card.classes} finite scores {index}are needed")


class ClassifierBlackBox:
    """A Classifier that keeps its gradients to itself."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.card = classifier.card

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `BlackBox.predict`. Images go through one at a time, so that no answer depends on its neighbors."""
        device = self.classifier.mean.device
        with torch.inference_mode():
            rows = [self.classifier(to_pixels(image, device))[0].cpu().numpy() for image in images]
        return np.stack(rows) if rows else np.zeros((0, self.card.classes), np.float32)


class CallableBlackBox:
    """Any function that answers for one image.

    Args:
        function: takes an HWC uint8 image (a copy, its own to change); gives (classes,) scores or a class index.
        card: who it is; nothing is resized or normalized before `function`.
    """

    def __init__(self, function: Callable[[NDArray[np.uint8]], ArrayLike], card: ModelCard) -> None:
        self.function = function
        self.card = card

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `BlackBox.predict`.

        Raises:
            BlackBoxError: an answer is neither `classes` finite scores nor a class index.
        """
        rows = [_as_scores(self.function(image.copy()), self.card) for image in images]
        return np.stack(rows) if rows else np.zeros((0, self.card.classes), np.float32)


def load_black_box(
    uri: str, *, base: Path | None = None, allow_python: bool = False, device: torch.device | str = "cpu"
) -> BlackBox:
    """Load a model to judge with.

    `onnx:` runs by ONNX Runtime (an embedder with a gallery as a Classifier), `http:` and `https:` ask a server,
    `recorded:` looks answers up, `python:` may name a factory of any BlackBox; all others, and factories of networks,
    are Classifiers without gradients.

    Args:
        uri: see `load_model`, as for what follows.
        base: of relative files.
        allow_python: let `python:` run code.
        device: of the Classifiers; ONNX Runtime stays on the CPU.

    Raises:
        UserError: see `load_model`; BlackBoxError where a server does not answer.
    """
    parsed = parse_uri(uri, base)
    if parsed.scheme == "onnx" and "gallery" not in parsed.options:
        require_people(parsed)
        from onlymymodel.surrogates.onnx_black_box import OnnxBlackBox

        return OnnxBlackBox(parsed)
    if parsed.scheme in WEB:
        from onlymymodel.surrogates.http_black_box import HttpBlackBox

        return HttpBlackBox(parsed)
    if parsed.scheme == "recorded":
        from onlymymodel.surrogates.recorded import RecordedBlackBox

        return RecordedBlackBox(parsed)
    if parsed.scheme == "python" and allow_python:
        made = call_factory(parsed)
        if isinstance(made, BlackBox):
            return _ready(parsed, made)
        return ClassifierBlackBox(as_classifier(parsed, from_factory(parsed, made)).to(device))
    return ClassifierBlackBox(load_model(uri, base=base, allow_python=allow_python, device=device))


def _ready(uri: ModelUri, made: BlackBox) -> BlackBox:
    """A factory's own black box as it is: there is nothing around it that options could change."""
    if uri.options:
        raise UserError(
            f"model {uri.text!r}: its factory gives a black box, whose card is made there: drop the options"
        )
    if not isinstance(made.card, ModelCard):
        raise UserError(f"model {uri.text!r}: the card of its black box is no ModelCard")
    return made
