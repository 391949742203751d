"""The views, objectives and parties that a recipe can name.

This module does not import torch: the command line uses it.
"""

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Literal


@dataclass(frozen=True)
class View:
    """One row of `VIEWS`: a random view of a photo.

    Attributes:
        kind: `geometric` views return a sampling grid for the canvas, `intensity` views change the values of the center
            crop; see `views.GeometricView` and `views.IntensityView`.
        function: where it is, as `module:function`.
    """

    kind: Literal["geometric", "intensity"]
    function: str


@dataclass(frozen=True)
class ObjectiveKind:
    """One row of `OBJECTIVES`: an objective of the optimizer.

    Attributes:
        help: for the command line.
        loss: class of the loss on each surrogate, as `module:class`; "" for the authorized model's own features (FMD).
        ensemble: class that combines the surrogates' losses, as `module:class`.
        uses_classes: whether the loss has a class to move away from, so that `toward` is meaningful.
        uses_layers: whether it reads outputs of layers, and needs the networks as they are.
    """

    help: str
    loss: str = "onlymymodel.protect.attack.losses:CrossEntropy"
    ensemble: str = "onlymymodel.protect.attack.objective:EnsembleObjective"
    uses_classes: bool = True
    uses_layers: bool = False


@dataclass(frozen=True)
class OwnLoss:
    """One row of `OWN_LOSSES`.

    Attributes:
        loss: class of the loss, as `module:class`.
        center_view: whether it needs the photo as it is, not a random view of it.
    """

    loss: str
    center_view: bool = False


VIEWS = {
    "center": View("geometric", "onlymymodel.protect.attack.views:center"),
    "resize_pad": View("geometric", "onlymymodel.protect.attack.views:resize_pad"),
    "input_diversity": View("geometric", "onlymymodel.protect.attack.views:input_diversity"),
    "crop": View("geometric", "onlymymodel.protect.attack.views:crop"),
    "affine": View("geometric", "onlymymodel.protect.attack.views:affine"),
    "block_shuffle": View("geometric", "onlymymodel.protect.attack.views:block_shuffle"),
    "scales": View("intensity", "onlymymodel.protect.attack.views:scales"),
    "admix": View("intensity", "onlymymodel.protect.attack.views:admix"),
    "operators": View("intensity", "onlymymodel.protect.attack.operators:operators"),
}
# parties that clean a photo before they read it, see `differentiable_channels.CLEANING`
AGAINST = {
    "jpeg": "JPEG",
    "jpeg-ladder": "JPEG several times",
    "resize": "smaller and back",
    "averaged": "the mean of resized copies",
    "blur": "a Gaussian blur",
    "purifier": "the bundled denoising network",
}
OBJECTIVES = {
    "ensemble": ObjectiveKind("cross-entropy of the stand-ins' predictions"),
    "variance_reduced": ObjectiveKind(
        "the same with variance reduction (SVRE)",
        ensemble="onlymymodel.protect.attack.variance_reduced:VarianceReducedObjective",
    ),
    "warped": ObjectiveKind(
        "the same on warped views in which it is low (DeCoWA)",
        ensemble="onlymymodel.protect.attack.warping:WarpedObjective",
    ),
    "neighborhood": ObjectiveKind(
        "the same at random neighbors of the photo (OPS)",
        ensemble="onlymymodel.protect.attack.neighborhood:NeighborhoodObjective",
    ),
    "flatness": ObjectiveKind(
        "the same at neighbors that earlier gradients have moved (MEF)",
        ensemble="onlymymodel.protect.attack.neighborhood:FlatnessObjective",
    ),
    "surrogate_features": ObjectiveKind(
        "a feature map of the stand-ins (NRDM)",
        loss="onlymymodel.protect.attack.losses:FeatureDistance",
        uses_classes=False,
        uses_layers=True,
    ),
    "tap": ObjectiveKind(
        "cross-entropy and feature maps (TAP)", loss="onlymymodel.protect.attack.losses:Tap", uses_layers=True
    ),
    "feature": ObjectiveKind(
        "the authorized model's own features (FMD)", loss="", uses_classes=False, uses_layers=True
    ),
}
# losses of surrogates that have no classes, by the kind of the model; a loss that uses classes makes way for them
OWN_LOSSES = {
    "attributes": OwnLoss("onlymymodel.protect.attack.attribute_loss:AttributeEntropy"),
    "embedder": OwnLoss("onlymymodel.protect.attack.losses:SelfCosine"),
    "detector": OwnLoss("onlymymodel.protect.attack.detection_loss:DetectionScores", center_view=True),
}


def resolve(reference: str) -> Any:
    """Import and return what `module:name` refers to."""
    return resolve_name(reference)
