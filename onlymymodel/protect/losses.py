"""What each surrogate is made to suffer. A loss maps a network input to (B,) values to be raised."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.protect.features import feature_layer, tapped
from onlymymodel.surrogates.classifier import Classifier


class Suffered(NamedTuple):
    """What a loss says of a batch.

    Attributes:
        loss: (B,) to be raised.
        sureness: (B,) the surrogate's probability of what it is pushed from, or of all but what it is pushed toward;
            1 where nobody knows.
    """

    loss: Tensor
    sureness: Tensor


class Loss(Protocol):
    """(B,3,height,width) network input in [0,1] and (B,) rows of the whole batch -> `Suffered`."""

    def __call__(self, crop: Tensor, rows: Tensor) -> Suffered: ...


class CrossEntropy:
    """Cross-entropy at the class that the surrogate is pushed from; at one that it is pushed toward, less that.

    Args:
        targets: (photos,) long.
        signs: (photos,) 1 away from the target, -1 toward it; away if None.
    """

    def __init__(self, model: Classifier, targets: Tensor, signs: Tensor | None = None) -> None:
        self.model, self.targets = model, targets
        self.signs = torch.ones_like(targets) if signs is None else signs

    def __call__(self, crop: Tensor, rows: Tensor) -> Suffered:
        return self.of(self.model.logits(crop).float(), rows)

    def of(self, logits: Tensor, rows: Tensor) -> Suffered:
        """The same from (B,classes) logits."""
        entropy = F.cross_entropy(logits, self.targets[rows], reduction="none")
        signs = self.signs[rows]
        at_target = torch.exp(-entropy.detach())
        return Suffered(signs * entropy, torch.where(signs < 0, 1 - at_target, at_target))


class FeatureDistance:
    """NRDM (Naseer et al., 2018) and, on self-supervised surrogates, SSP (Naseer et al., CVPR 2020, eq. 1): the
    Euclidean distance of one feature map to that of the clean photo. It needs no label.

    Args:
        originals: (photos,C,H,W) in [0,1].
        landmarks: of their faces, see `canvas.landmarks_for`.
        depth: which map, see `feature_layer`; the papers take a map in the middle of VGG-16 (conv3_3).
    """

    def __init__(self, model: Classifier, originals: Tensor, depth: float, landmarks: Tensor | None = None) -> None:
        self.model = model
        crop = _center(model, originals, landmarks)
        with torch.no_grad():
            self.layer = feature_layer(model, crop[:1], "auto", depth)
            self.clean = _maps(model, [self.layer], crop)[1][0]

    def __call__(self, crop: Tensor, rows: Tensor) -> Suffered:
        features = _maps(self.model, [self.layer], crop)[1][0]
        distance = (features - self.clean[rows]).flatten(1)
        # the square, whose gradient has the norm's direction and is defined at the clean photo too
        loss = distance.square().sum(1)
        return Suffered(loss, torch.ones_like(loss).detach())


class Tap:
    """TAP (Zhou et al., ECCV 2018, eq. 6): cross-entropy, plus lambda times the distances of power-normalized feature
    maps, plus eta times the magnitude of the box-filtered change.

    lambda 0.005, eta 0.01, power 0.5, a 3x3 box; of the maps, our reading takes those at 1/4, 1/2, 3/4 and the end.

    Args:
        originals: (photos,C,H,W) in [0,1].
        landmarks: of their faces, see `canvas.landmarks_for`.
        targets, signs: see `CrossEntropy`; features are pushed apart whichever way the answers go.
    """

    WEIGHT, SMOOTHNESS, POWER, BOX = 0.005, 0.01, 0.5, 3
    DEPTHS = (0.25, 0.5, 0.75, 1.0)

    def __init__(
        self,
        model: Classifier,
        originals: Tensor,
        targets: Tensor,
        signs: Tensor | None = None,
        landmarks: Tensor | None = None,
    ) -> None:
        self.model, self.answers = model, CrossEntropy(model, targets, signs)
        self.clean_crop = _center(model, originals, landmarks)
        with torch.no_grad():
            self.layers = [feature_layer(model, self.clean_crop[:1], "auto", depth) for depth in self.DEPTHS]
            self.clean = [self._power(features) for features in _maps(model, self.layers, self.clean_crop)[1]]

    def __call__(self, crop: Tensor, rows: Tensor) -> Suffered:
        logits, maps = _maps(self.model, self.layers, crop)
        answers = self.answers.of(logits, rows)
        distance = sum(
            (self._power(features) - clean[rows]).flatten(1).square().sum(1)
            for features, clean in zip(maps, self.clean, strict=True)
        )
        smooth = F.avg_pool2d(crop - self.clean_crop[rows], self.BOX, stride=1, padding=self.BOX // 2)
        loss = answers.loss + self.WEIGHT * distance + self.SMOOTHNESS * smooth.abs().flatten(1).sum(1)
        return Suffered(loss, answers.sureness)

    def _power(self, features: Tensor) -> Tensor:
        # the smallest normal number keeps the root's gradient finite at zero
        return features.sign() * features.abs().clamp_min(torch.finfo(torch.float32).tiny ** 0.5) ** self.POWER


def _center(model: Classifier, pixels: Tensor, landmarks: Tensor | None) -> Tensor:
    return model.card.preprocess.center(model.card.preprocess.canvas(pixels, landmarks))


def _maps(model: Classifier, layers: list[nn.Module], crop: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits and the outputs of some modules, all in float32."""
    with ExitStack() as stack:
        taps: list[Callable[[], Tensor]] = [stack.enter_context(tapped(layer)) for layer in layers]
        logits = model.logits(crop)
        return logits.float(), [tap().float() for tap in taps]
