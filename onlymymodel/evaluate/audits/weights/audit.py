"""Audit of released weights: a generator searches for the pictures that a classifier was trained on.

After "Privacy Preserving Properties of Vision Classifiers" (Suhail and Sethi, arXiv 2502.00760), which compares an MLP,
a CNN and a vision transformer by the SSIM of generated pictures to training pictures. The evaluation is ours: generated
pictures are matched to training pictures and to as many held-out pictures. Only a higher similarity to the training
pictures is memorization; equal similarity to both shows knowledge of the class.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.networks import accuracy, small_network, train_network
from onlymymodel.evaluate.audits.options import NetworkKind, WeightOptions
from onlymymodel.evaluate.audits.picture_matching import (
    SimilarityGap,
    balance_classes,
    gap_interval,
    match_one_to_one,
    measure_gap,
)
from onlymymodel.evaluate.audits.pictures import Pictures, display_picture
from onlymymodel.evaluate.audits.report import AuditReport, AuditRow, Findings, Value, audit_release
from onlymymodel.evaluate.audits.similarity import SIMILARITY_DEFINITION
from onlymymodel.evaluate.audits.weights.generator import check_classes, draw_codes
from onlymymodel.evaluate.audits.weights.network_inversion import (
    InversionSettings,
    invert_network,
    untrained_copy,
)
from onlymymodel.surrogates.fingerprint import parameters_sha256

DEFAULTS = WeightOptions()
# with weight decay a network that is trained to convergence is a stationary point, the premise of the attack
TRAINING: Mapping[str, Any] = {"rate": 2e-3, "weight_decay": 1e-3, "batch": 64}
LABELED_BY_NETWORK = (
    "The true classes of the pictures are unknown: pictures are sorted by the network's own answers. Held-out pictures "
    "that it misclassifies are in a class that they do not show, which may cause a gap without memorization."
)
# names of the controls
UNTRAINED, CLASS_MEAN = "generator of the untrained network", "mean training picture of each class"
TRAINING_PICTURES = "the training pictures themselves"


@dataclass(frozen=True)
class WeightsRelease:
    """A network whose weights are released.

    Attributes:
        name: name of the release.
        network: (B,C,S,S) in [0,1] -> (B,classes) logits, in eval mode.
        training: how the network was trained, and its accuracy, as JSON values.
        labeled_by_network: whether the pictures' labels are its own predictions.
    """

    name: str
    network: nn.Module
    training: Mapping[str, Any] = field(default_factory=dict)
    labeled_by_network: bool = False

    def describe(self) -> dict[str, Any]:
        """Return the network's hash, its size and its training as JSON values."""
        return {
            "weights_sha256": parameters_sha256(self.network),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "training": dict(self.training),
        }


@dataclass(frozen=True)
class WeightsAdversary:
    """An adversary who has the weights and trains a generator against them.

    Attributes:
        training: pictures that the network was trained on.
        held_out: pictures of the same kind that it was not trained on.
        settings: settings of the generator's training.

    Raises:
        UserError: the pictures cannot be compared, the generator cannot be conditioned, or SciPy is not installed; it
            is raised at once, since the training takes minutes.
    """

    training: Pictures
    held_out: Pictures
    settings: InversionSettings = field(default_factory=InversionSettings)

    name = "network inversion by a conditioned generator"

    def __post_init__(self) -> None:
        balance_classes(self.training, self.held_out)
        check_classes(self.training.classes)
        match_one_to_one(np.zeros((1, 1)))

    def assumptions(self, release: WeightsRelease) -> list[str]:
        """Return what the adversary knows, and on what it is evaluated."""
        training, _ = balance_classes(self.training, self.held_out)
        count = sum(parameter.numel() for parameter in release.network.parameters())
        settings = ", ".join(f"{name} {value:g}" for name, value in asdict(self.settings).items())
        return [
            *([LABELED_BY_NETWORK] if release.labeled_by_network else []),
            f"The adversary has all {count} weights and the architecture, in eval mode, and differentiates twice.",
            "It knows the size of the pictures, the classes, and how many pictures of each class to search for; it has "
            "no picture of the kind that it searches for.",
            f"It is evaluated on {len(training)} of {len(self.training)} training pictures and as many held-out ones, "
            "class by class; the gap between the two is the finding, an SSIM alone is not.",
            "The interval of the gap accounts for the choice of pictures, not of trainings of the network or of the "
            "generator; it is valid if training and held-out pictures come from one source.",
            "The stationarity term holds for homogeneous networks trained to convergence (ReLU, no normalization, no "
            "attention); for others it is a heuristic. A gap near 0 means that this generator found nothing, not that "
            "nothing can be found.",
            f"Its generator's training and the weights of the losses: {settings}.",
            f"SSIM: {SIMILARITY_DEFINITION['ssim']}.",
        ]

    def findings(self, release: WeightsRelease, *, progress: bool) -> Findings:
        """Invert the network, and measure the gap of all classes, of each class, and of the controls.

        The row of a class shows the generated picture that is most similar to a training picture.
        """
        training, held_out = balance_classes(self.training, self.held_out)
        pixels = self._invert(release.network, training, progress)
        rows = self._rows(release.network, pixels, training, held_out)
        return Findings(rows, self._controls(release.network, training, held_out, progress))

    def reasons(self, release: WeightsRelease) -> dict[str, str]:  # noqa: ARG002
        """Return why a measurement may have no value."""
        return {}

    def summary(self, rows: Sequence[AuditRow], controls: Sequence[AuditRow]) -> dict[str, Value]:
        """Return the values of all classes, and the gaps of the controls."""
        return {**rows[0].values, **{f"gap, {control.name}": control.values["gap"] for control in controls}}

    def _rows(self, network: nn.Module, pixels: Tensor, training: Pictures, held_out: Pictures) -> list[AuditRow]:
        with torch.no_grad():
            answers = network(pixels.to(next(network.parameters()).device)).argmax(1).cpu()
        correct = (answers == training.labels).double()
        gaps = _gaps_by_class(pixels, training, held_out)
        values = gap_values(list(gaps.values())) | {"answered_as_asked": correct.mean().item()}
        rows = [AuditRow("all classes", values)]
        for label, gap in gaps.items():
            of_class = (training.labels == label).nonzero()[:, 0]
            best = int(gap.training.argmax())
            closest = of_class[gap.training_match[best]]
            values = gap_values([gap]) | {
                "answered_as_asked": correct[of_class].mean().item(),
                "closest": training.names[closest],
                "ssim_closest": float(gap.training[best]),
            }
            shown = {
                "generated": pixels[of_class[best]],
                "training": training.pixels[closest],
                "held out": held_out.pixels[of_class[gap.held_out_match[best]]],
            }
            pictures = {caption: display_picture(picture) for caption, picture in shown.items()}
            rows.append(AuditRow(f"class {label}", values, pictures))
        return rows

    def _controls(self, network: nn.Module, training: Pictures, held_out: Pictures, progress: bool) -> list[AuditRow]:
        """Measure guesses without any training picture, from their means, and the training pictures themselves."""
        means = torch.stack([training.pixels[training.labels == label].mean(0) for label in training.labels])
        guesses = {
            UNTRAINED: self._invert(untrained_copy(network, self.settings.seed), training, progress),
            CLASS_MEAN: means,
            TRAINING_PICTURES: training.pixels,
        }
        return [
            AuditRow(name, gap_values(list(_gaps_by_class(pixels, training, held_out).values())))
            for name, pixels in guesses.items()
        ]

    def _invert(self, network: nn.Module, training: Pictures, progress: bool) -> Tensor:
        generator = torch.Generator().manual_seed(self.settings.seed)
        codes, shape = draw_codes(training.labels, training.classes, generator), training.pixels.shape[1:]
        return invert_network(network, codes, shape, self.settings, progress=progress).pixels


def _gaps_by_class(pixels: Tensor, training: Pictures, held_out: Pictures) -> dict[int, SimilarityGap]:
    """Return the gaps of pictures generated for the labels of the training pictures, which held-out pictures share."""
    masks = {label: training.labels == label for label in sorted(set(training.labels.tolist()))}
    return {
        label: measure_gap(pixels[mask], training.pixels[mask], held_out.pixels[mask], seed=label)
        for label, mask in masks.items()
    }


def gap_values(gaps: Sequence[SimilarityGap]) -> dict[str, Value]:
    """Return mean matched SSIM to training and to held-out pictures, their gap and its 95 % interval."""
    training, held_out = (np.concatenate([getattr(gap, side) for gap in gaps]) for side in ("training", "held_out"))
    gap, low, high = gap_interval(gaps)
    return {
        "pictures": len(training),
        "ssim_training": float(training.mean()),
        "ssim_held_out": float(held_out.mean()),
        "gap": gap,
        "gap_low": low,
        "gap_high": high,
    }


def weights_report(
    subject: NetworkKind | nn.Module,
    training: Pictures,
    held_out: Pictures,
    *,
    steps: int = DEFAULTS.steps,
    epochs: int = DEFAULTS.epochs,
    seed: int = 0,
    progress: bool = True,
    labeled_by_network: bool = False,
) -> AuditReport:
    """Audit the weights of a network that was trained on some pictures and not on held-out ones.

    Args:
        subject: `mlp`, `cnn` or `vit`, trained here until it memorizes the training pictures (ReLU, weight decay);
            or a network (B,C,S,S) in [0,1] -> (B,classes) that was trained on them elsewhere.
        training: pictures that the network is, or was, trained on.
        held_out: other pictures of the same kind.
        steps: number of training steps of the generator.
        epochs: number of training epochs of the network; ignored if it comes trained.
        seed: seed of everything that is drawn.
        labeled_by_network: whether the labels are the network's own predictions, see `networks.label_by_network`: the
            report then says so, and leaves out the accuracy, which would be 1.

    Raises:
        UserError: sets that cannot be compared, one class or more than 64, no step, a network with another number of
            classes or with weights that are not finite, or SciPy is not installed.
    """
    adversary = WeightsAdversary(training, held_out, InversionSettings(steps=steps, seed=seed))
    details: dict[str, Any] = {}
    if isinstance(subject, nn.Module):
        name, network = type(subject).__name__, copy.deepcopy(subject).eval()
        _check_logits(name, network, training)
    else:
        channels, size = training.pixels.shape[1:3]
        name = subject
        network = small_network(subject, channels, size, training.classes, activation="relu", seed=seed)
        loss = train_network(network, training, epochs=epochs, seed=seed, progress=progress, **TRAINING)[-1]
        details = {"epochs": epochs, **TRAINING, "pictures": len(training), "last_loss": loss}
    if not labeled_by_network:
        details |= {"accuracy_training": accuracy(network, training), "accuracy_held_out": accuracy(network, held_out)}
    release = WeightsRelease(f"weights of {name}", network, details, labeled_by_network)
    return audit_release(release, adversary, progress=progress)


@torch.no_grad()
def _check_logits(name: str, network: nn.Module, pictures: Pictures) -> None:
    logits = network(pictures.pixels[:1].to(next(network.parameters()).device))
    if logits.shape != (1, pictures.classes):
        raise UserError(
            f"{name} answers {tuple(logits.shape)}: logits of the pictures' {pictures.classes} classes are needed"
        )
