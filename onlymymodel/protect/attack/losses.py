"""Attack losses: functions of one surrogate's input that the optimizer increases.

A loss is added here as a class with `for_surrogate`, and as a row of `tables.OBJECTIVES`. A surrogate without classes
has a loss of its own in place of one that needs them, see `tables.OWN_LOSSES`.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.protect.attack.batch import AttackBatch, SurrogateTargets
from onlymymodel.protect.attack.features import capture_output, feature_layer
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.heads import ORIGINAL, original_logits


class LossOutput(NamedTuple):
    """The loss of each photo of a batch.

    Attributes:
        loss: (B,) values to increase.
        confidence: (B,) the surrogate's probability of the class that it is to leave, or of all classes except the one
            that it is to reach; 1 where the loss has no class.
    """

    loss: Tensor
    confidence: Tensor


class Loss(Protocol):
    """The loss of one surrogate."""

    def __call__(self, crop: Tensor, rows: Tensor) -> LossOutput:
        """Compute the loss.

        Args:
            crop: (B,3,height,width) network input in [0,1].
            rows: (B,) long, which photos of the whole batch these are.
        """

    @classmethod
    def for_surrogate(cls, model: Classifier, targets: SurrogateTargets, batch: AttackBatch, recipe: Recipe) -> Self:
        """Make the loss of one surrogate on a batch."""


class CrossEntropy:
    """Cross-entropy at the class to leave, or minus the cross-entropy at the class to reach.

    Args:
        classes, signs: (photos,), see `SurrogateTargets`; every class is to be left if signs is None.
    """

    def __init__(self, model: Classifier, classes: Tensor, signs: Tensor | None = None) -> None:
        self.model, self.classes = model, classes
        self.signs = torch.ones_like(classes) if signs is None else signs

    @classmethod
    def for_surrogate(cls, model: Classifier, targets: SurrogateTargets, batch: AttackBatch, recipe: Recipe) -> Self:  # noqa: ARG003
        """See `Loss`."""
        return cls(model, *targets)

    def __call__(self, crop: Tensor, rows: Tensor) -> LossOutput:
        """See `Loss`."""
        return self.from_logits(self.model.logits(crop).float(), rows)

    def from_logits(self, logits: Tensor, rows: Tensor) -> LossOutput:
        """Compute the loss from (B,classes) logits."""
        entropy = F.cross_entropy(logits, self.classes[rows], reduction="none")
        signs = self.signs[rows]
        probability = torch.exp(-entropy.detach())
        return LossOutput(signs * entropy, torch.where(signs < 0, 1 - probability, probability))


class SelfCosine:
    """One minus the cosine of the embeddings of a photo and of its original; needs no label.

    The original's embedding is moved by `AWAY` of its length in a fixed direction, which is ours.

    Args:
        originals: (photos,C,H,W) in [0,1].
        landmarks: (photos,5,2) of their faces, see `find_landmarks`.
    """

    AWAY = 0.01

    def __init__(self, model: Classifier, originals: Tensor, landmarks: Tensor | None = None) -> None:
        self.model = model
        with torch.no_grad():
            self.clean = model.logits(_center_crop(model, originals, landmarks)).float()
        # at the original itself the cosine has no gradient: beside it, the first step has a direction
        signs = torch.ones_like(self.clean[0])
        signs[1::2] = -1
        self.beside = F.normalize(self.clean + self.AWAY * F.normalize(signs, dim=0), dim=1)

    @classmethod
    def for_surrogate(cls, model: Classifier, targets: SurrogateTargets, batch: AttackBatch, recipe: Recipe) -> Self:  # noqa: ARG003
        """See `Loss`."""
        return cls(model, batch.originals, batch.landmarks)

    def __call__(self, crop: Tensor, rows: Tensor) -> LossOutput:
        """See `Loss`; the confidence is that of the answer `ORIGINAL`."""
        embeddings = self.model.logits(crop).float()
        logits = original_logits(embeddings.detach(), self.clean[rows], self.model.card.threshold or 0.0)
        return LossOutput(1 - (embeddings * self.beside[rows]).sum(1), logits.softmax(1)[:, ORIGINAL])


class FeatureDistance:
    """Squared Euclidean distance of one feature map to that of the clean photo; needs no label.

    NRDM (Naseer et al., 2018) and, on self-supervised surrogates, SSP (Naseer et al., CVPR 2020, eq. 1).

    Args:
        originals: (photos,C,H,W) in [0,1].
        depth: of the feature map, see `feature_layer`; the papers use one in the middle of VGG-16 (conv3_3).
        landmarks: (photos,5,2) of their faces, see `find_landmarks`.
    """

    def __init__(self, model: Classifier, originals: Tensor, depth: float, landmarks: Tensor | None = None) -> None:
        self.model = model
        crop = _center_crop(model, originals, landmarks)
        with torch.no_grad():
            self.layer = feature_layer(model, crop[:1], "auto", depth)
            self.clean = _logits_and_features(model, [self.layer], crop)[1][0]

    @classmethod
    def for_surrogate(cls, model: Classifier, targets: SurrogateTargets, batch: AttackBatch, recipe: Recipe) -> Self:  # noqa: ARG003
        """See `Loss`."""
        return cls(model, batch.originals, recipe.depth, batch.landmarks)

    def __call__(self, crop: Tensor, rows: Tensor) -> LossOutput:
        """See `Loss`."""
        features = _logits_and_features(self.model, [self.layer], crop)[1][0]
        difference = (features - self.clean[rows]).flatten(1)
        # the square, whose gradient has the norm's direction and is defined at the clean photo too
        loss = difference.square().sum(1)
        return LossOutput(loss, torch.ones_like(loss).detach())


class Tap:
    """TAP (Zhou et al., ECCV 2018, eq. 6): cross-entropy and distances of feature maps, with a smooth change.

    The loss is the cross-entropy, plus lambda times the distances of power-normalized feature maps, plus eta times the
    magnitude of the box-filtered change; lambda 0.005, eta 0.01, power 0.5, a 3x3 box. The choice of the feature maps
    at 1/4, 1/2, 3/4 and the end of the network is ours.

    Args:
        originals: (photos,C,H,W) in [0,1].
        classes, signs: see `CrossEntropy`; feature maps move away from the clean ones for any sign.
        landmarks: (photos,5,2) of their faces, see `find_landmarks`.
    """

    LAMBDA, ETA, POWER, BOX = 0.005, 0.01, 0.5, 3
    DEPTHS = (0.25, 0.5, 0.75, 1.0)

    def __init__(
        self,
        model: Classifier,
        originals: Tensor,
        classes: Tensor,
        signs: Tensor | None = None,
        landmarks: Tensor | None = None,
    ) -> None:
        self.model, self.cross_entropy = model, CrossEntropy(model, classes, signs)
        self.clean_crop = _center_crop(model, originals, landmarks)
        with torch.no_grad():
            self.layers = [feature_layer(model, self.clean_crop[:1], "auto", depth) for depth in self.DEPTHS]
            features = _logits_and_features(model, self.layers, self.clean_crop)[1]
            self.clean = [self._power_normalize(values) for values in features]

    @classmethod
    def for_surrogate(cls, model: Classifier, targets: SurrogateTargets, batch: AttackBatch, recipe: Recipe) -> Self:  # noqa: ARG003
        """See `Loss`."""
        return cls(model, batch.originals, *targets, batch.landmarks)

    def __call__(self, crop: Tensor, rows: Tensor) -> LossOutput:
        """See `Loss`."""
        logits, features = _logits_and_features(self.model, self.layers, crop)
        cross_entropy = self.cross_entropy.from_logits(logits, rows)
        distance = sum(
            (self._power_normalize(values) - clean[rows]).flatten(1).square().sum(1)
            for values, clean in zip(features, self.clean, strict=True)
        )
        filtered = F.avg_pool2d(crop - self.clean_crop[rows], self.BOX, stride=1, padding=self.BOX // 2)
        loss = cross_entropy.loss + self.LAMBDA * distance + self.ETA * filtered.abs().flatten(1).sum(1)
        return LossOutput(loss, cross_entropy.confidence)

    def _power_normalize(self, features: Tensor) -> Tensor:
        # the smallest normal number keeps the gradient of the root finite at zero
        return features.sign() * features.abs().clamp_min(torch.finfo(torch.float32).tiny ** 0.5) ** self.POWER


def _center_crop(model: Classifier, pixels: Tensor, landmarks: Tensor | None) -> Tensor:
    return model.card.preprocess.center(model.card.preprocess.canvas(pixels, landmarks))


def _logits_and_features(model: Classifier, layers: list[nn.Module], crop: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the logits and the outputs of some modules, all in float32."""
    with ExitStack() as stack:
        outputs: list[Callable[[], Tensor]] = [stack.enter_context(capture_output(layer)) for layer in layers]
        logits = model.logits(crop)
        return logits.float(), [output().float() for output in outputs]
