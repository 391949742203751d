"""Black boxes: models without gradients, which only evaluate and never guide the optimizer."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from onlymymodel.data.pixels import to_tensor
from onlymymodel.errors import UserError
from onlymymodel.surrogates.answers import scores_of
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.device_copy import to_device
from onlymymodel.surrogates.model_card import ModelCard, Preprocess

CPU = torch.device("cpu")


class BlackBoxError(UserError):
    """A model gave no answer, or an unusable one."""


class QueryBudgetExhausted(UserError):
    """No further query to a model may be sent."""


@runtime_checkable
class BlackBox(Protocol):
    """Any model that predicts classes."""

    @property
    def card(self) -> ModelCard:
        """Identity of the model."""
        ...

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32] | NDArray[np.integer[Any]]:
        """Predict the classes of images.

        Args:
            images: B images, HWC uint8 with C 1 or 3, of any sizes.

        Returns:
            (B, classes) finite scores, or (B,) answers, see `answers`: class indices, or codes of attributes. `query`
            accepts either.
        """
        ...


@runtime_checkable
class CountsQueries(Protocol):
    """A black box that may send several queries for one image, for example retries.

    Attributes:
        on_query: called before each query is sent; if it raises, the query is not sent.
        budget: total number of queries that the user allows; None for any number.
    """

    on_query: Callable[[], None]
    budget: int | None


def to_pixels(image: NDArray[np.uint8], device: torch.device = CPU) -> torch.Tensor:
    """Convert one HWC uint8 image to (1,C,H,W) float32 in [0,1]."""
    return to_device(to_tensor(image)[None], device).float() / 255


def network_input(image: NDArray[np.uint8], preprocess: Preprocess) -> torch.Tensor:
    """Resize, crop and normalize one HWC uint8 image (C 1 or 3) to (1,3,height,width) float32."""
    mean = torch.tensor(preprocess.mean).view(1, 3, 1, 1)
    std = torch.tensor(preprocess.std).view(1, 3, 1, 1)
    return (preprocess.center(preprocess.canvas(to_tensor(image)[None])) - mean) / std


def query(model: BlackBox, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Predict one HWC uint8 image; return (classes,) finite scores, of an answer without scores those of `scores_of`.

    Raises:
        BlackBoxError: the prediction is something else. Exceptions of the model itself pass through.
    """
    predictions = model.predict([image])
    shape = tuple(getattr(predictions, "shape", ()))
    if shape[:1] != (1,):
        description = f"shape {shape}" if shape else f"a {type(predictions).__name__}"
        raise BlackBoxError(
            f"model {model.card.uri} answers {description} for one image, where (1, {model.card.classes}) scores "
            "or (1,) class indices are needed"
        )
    return _to_scores(predictions[0], model.card)


def _to_scores(prediction: ArrayLike, card: ModelCard) -> NDArray[np.float32]:
    """Return the prediction for one image as (classes,) finite scores.

    An answer becomes scores that mean it, except where the scores themselves are needed, see `ModelCard.needs_scores`.
    """
    try:
        array = np.asarray(prediction)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BlackBoxError(f"model {card.uri}: its answer is not numbers ({error})") from error
    if array.ndim == 0 and array.dtype.kind in "iu" and 0 <= int(array) < card.answers and not card.needs_scores:
        return scores_of(card, int(array))
    description = repr(prediction) if array.ndim == 0 else f"shape {array.shape} of {array.dtype}"
    if array.shape == (card.classes,) and array.dtype.kind in "iuf":
        with np.errstate(over="ignore"):
            scores = array.astype(np.float32)
        if np.isfinite(scores).all():
            return scores
        description = "scores that are not finite"
    what = "the code of its attributes" if card.kind == "attributes" else "a class index"
    index = "" if card.needs_scores else f"or {what} from 0 to {card.answers - 1} "
    raise BlackBoxError(f"model {card.uri} answers {description}, where {card.classes} finite scores {index}are needed")


class ClassifierBlackBox:
    """A Classifier without its gradients.

    Args:
        classifier: the model; it stays on its device.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.card, self.assumed = classifier.card, classifier.assumed

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `BlackBox.predict`. Images go through one at a time, so that no answer depends on its neighbors."""
        device = self.classifier.mean.device
        with torch.inference_mode():
            # NumPy has no bfloat16
            rows = [
                self.classifier(to_device(to_tensor(image)[None], device))[0].float().cpu().numpy() for image in images
            ]
        return np.stack(rows) if rows else np.zeros((0, self.card.classes), np.float32)


class CallableBlackBox:
    """A function that predicts one image.

    Args:
        function: takes an HWC uint8 image (a copy, which it may change); returns (classes,) scores or a class index.
        card: identity of the model; nothing is resized or normalized before `function`.
    """

    def __init__(self, function: Callable[[NDArray[np.uint8]], ArrayLike], card: ModelCard) -> None:
        self.function = function
        self.card = card

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `BlackBox.predict`.

        Raises:
            BlackBoxError: a prediction is neither `classes` finite scores nor a class index.
        """
        rows = [_to_scores(self.function(image.copy()), self.card) for image in images]
        return np.stack(rows) if rows else np.zeros((0, self.card.classes), np.float32)
