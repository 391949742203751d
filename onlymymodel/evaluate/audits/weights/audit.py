"""Audit of released weights: do they betray the pictures that a classifier was trained on, and can these be rebuilt?

The first finding is the evidence of `evidence`, a test of given pictures; then come candidates of `reconstruction`, and
a conditioned generator, after "Privacy Preserving Properties of Vision Classifiers" (Suhail and Sethi, arXiv
2502.00760), which compares an MLP, a CNN and a vision transformer by the SSIM of generated pictures to training
pictures. The evaluation is ours: generated pictures are matched to training pictures and to as many held-out pictures.
Only a higher similarity to training pictures is memorization; equal similarity to both shows knowledge of the class.
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
    balance_classes,
    match_one_to_one,
)
from onlymymodel.evaluate.audits.pictures import Pictures, display_picture
from onlymymodel.evaluate.audits.report import AuditReport, AuditRow, Findings, Value, audit_release
from onlymymodel.evaluate.audits.similarity import SIMILARITY_DEFINITION
from onlymymodel.evaluate.audits.weights.evidence import training_evidence
from onlymymodel.evaluate.audits.weights.gaps import gap_values, gaps_by_class
from onlymymodel.evaluate.audits.weights.generator import MAX_CLASSES, draw_codes
from onlymymodel.evaluate.audits.weights.network_inversion import (
    InversionSettings,
    invert_network,
    untrained_copy,
)
from onlymymodel.evaluate.audits.weights.reconstruction import (
    ReconstructionSettings,
    best_scores,
    correlations,
    reconstruct_pictures,
)
from onlymymodel.surrogates.fingerprint import parameters_sha256

DEFAULTS = WeightOptions()
# with weight decay a network that is trained to convergence is a stationary point, the premise of the attack
TRAINING: Mapping[str, Any] = {"rate": 2e-3, "weight_decay": 1e-3, "batch": 64}
NO_GENERATOR = (
    f"With more than {MAX_CLASSES} classes no generator is trained: a matrix with a row for each class conditions it."
)
LABELED_BY_NETWORK = (
    "The true classes of the pictures are unknown: pictures are sorted by the network's own answers. Held-out pictures "
    "that it misclassifies are in a class that they do not show, which may cause a gap without memorization."
)
# names of the controls
EVIDENCE, RIGHT = "combination of margin gradients", "the same, of pictures that are answered rightly"
RECONSTRUCTION, GENERATOR = "reconstruction: ten best", "all classes"
UNTRAINED_EVIDENCE = "combination of margin gradients of the untrained network"
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
        reconstruction: settings of the reconstruction.

    Raises:
        UserError: the pictures cannot be compared, there is one class only, or SciPy is not installed; it is raised at
            once, since the training takes minutes.
    """

    training: Pictures
    held_out: Pictures
    settings: InversionSettings = field(default_factory=InversionSettings)
    reconstruction: ReconstructionSettings = field(default_factory=ReconstructionSettings)

    name = "margin gradients, reconstruction and network inversion"

    def __post_init__(self) -> None:
        balance_classes(self.training, self.held_out)
        if self.training.classes < 2:
            raise UserError("an audit of weights needs a network of 2 classes or more")
        match_one_to_one(np.zeros((1, 1)))

    def assumptions(self, release: WeightsRelease) -> list[str]:
        """Return what the adversary knows, and on what it is evaluated."""
        training, _ = balance_classes(self.training, self.held_out)
        count = sum(parameter.numel() for parameter in release.network.parameters())
        settings = ", ".join(f"{name} {value:g}" for name, value in asdict(self.settings).items())
        return [
            *([LABELED_BY_NETWORK] if release.labeled_by_network else []),
            "Combination of margin gradients: the adversary has candidates and asks whether they were trained on. The "
            "training pictures are compared with as many others of the same classes, and, since a network answers its "
            "training pictures more rightly, with as many that it answers rightly too; the interval inverts a "
            "permutation test over the pictures of each class, and does not account for other trainings.",
            f"Reconstruction: {self.reconstruction.candidates} free candidates for each picture, of known classes, "
            f"{self.reconstruction.steps} steps, ReLUs with a relaxed derivative; its premise is that the weights are "
            "a combination of margin gradients, and the cosine of the training pictures says how far they are. Its "
            "score is the mean correlation of the ten best candidates with a picture, without a constant and the mean "
            "of the class.",
            *([] if self.training.classes <= MAX_CLASSES else [NO_GENERATOR]),
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
        network, seed = release.network, self.settings.seed
        rows = [
            AuditRow(name, training_evidence(network, training, held_out, seed=seed, right_only=right_only))
            for name, right_only in ((EVIDENCE, False), (RIGHT, True))
        ]
        rows.append(self._reconstruct(network, training, held_out, progress))
        untrained = training_evidence(untrained_copy(network, seed), training, held_out, seed=seed, right_only=False)
        controls = [AuditRow(UNTRAINED_EVIDENCE, untrained)]
        if training.classes <= MAX_CLASSES:
            rows += self._rows(network, self._invert(network, training, progress), training, held_out)
            controls += self._controls(network, training, held_out, progress)
        return Findings(rows, controls)

    def reasons(self, release: WeightsRelease) -> dict[str, str]:  # noqa: ARG002
        """Return why a measurement may have no value."""
        few = "fewer than four pictures on each side, of classes that both have"
        evidence = ("cosine_*", "difference*", "p", "right_*")
        return dict.fromkeys(evidence, few)

    def summary(self, rows: Sequence[AuditRow], controls: Sequence[AuditRow]) -> dict[str, Value]:
        """Return the evidence, the scores of the reconstruction, and the gaps of all classes and of the controls."""
        by_name = {row.name: row.values for row in rows}
        summary: dict[str, Value] = {**by_name[EVIDENCE]}
        summary |= {f"right_{name}": value for name, value in by_name[RIGHT].items()}
        summary |= by_name[RECONSTRUCTION]
        summary |= by_name.get(GENERATOR, {})
        gaps = {f"gap, {control.name}": control.values["gap"] for control in controls if "gap" in control.values}
        return {**summary, **gaps}

    def _reconstruct(self, network: nn.Module, training: Pictures, held_out: Pictures, progress: bool) -> AuditRow:
        """Rebuild pictures from the weights, and compare the ten best with training and with held-out pictures."""
        shape = training.pixels.shape[1:]
        candidates, labels = reconstruct_pictures(
            network, training.labels, shape, self.reconstruction, progress=progress
        )
        means = torch.zeros(training.classes, *shape)
        for label in torch.unique(training.labels):
            means[label] = training.pixels[training.labels == label].mean(0)
        scores = [best_scores(correlations(candidates, labels, side, means)) for side in (training, held_out)]
        own, other = (sum(score for score, _, _ in side) / len(side) for side in scores)
        best, candidate, picture = scores[0][0]
        values: dict[str, Value] = {
            "correlation_training": own, "correlation_others": other, "best_correlation": best,
            "best_correlation_others": scores[1][0][0],
        }  # fmt: skip
        low, high = candidates[candidate].aminmax()
        shown = {"candidate": (candidates[candidate] - low) / (high - low), "training": training.pixels[picture]}
        pictures = {caption: display_picture(pixels) for caption, pixels in shown.items()}
        return AuditRow(RECONSTRUCTION, values, pictures)

    def _rows(self, network: nn.Module, pixels: Tensor, training: Pictures, held_out: Pictures) -> list[AuditRow]:
        with torch.no_grad():
            answers = network(pixels.to(next(network.parameters()).device)).argmax(1).cpu()
        correct = (answers == training.labels).double()
        gaps = gaps_by_class(pixels, training, held_out)
        values = gap_values(list(gaps.values())) | {"answered_as_asked": correct.mean().item()}
        rows = [AuditRow(GENERATOR, values)]
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
            AuditRow(name, gap_values(list(gaps_by_class(pixels, training, held_out).values())))
            for name, pixels in guesses.items()
        ]

    def _invert(self, network: nn.Module, training: Pictures, progress: bool) -> Tensor:
        generator = torch.Generator().manual_seed(self.settings.seed)
        codes, shape = draw_codes(training.labels, training.classes, generator), training.pixels.shape[1:]
        return invert_network(network, codes, shape, self.settings, progress=progress).pixels


def weights_report(
    subject: NetworkKind | nn.Module,
    training: Pictures,
    held_out: Pictures,
    *,
    steps: int = DEFAULTS.steps,
    reconstruction_steps: int = DEFAULTS.reconstruction_steps,
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
        reconstruction_steps: number of steps of the reconstruction.
        epochs: number of training epochs of the network; ignored if it comes trained.
        seed: seed of everything that is drawn.
        labeled_by_network: whether the labels are the network's own predictions, see `networks.label_by_network`: the
            report then says so, and leaves out the accuracy, which would be 1.

    Raises:
        UserError: sets that cannot be compared, one class only, no step, a network with another number of
            classes or with weights that are not finite, or SciPy is not installed.
    """
    adversary = WeightsAdversary(
        training,
        held_out,
        InversionSettings(steps=steps, seed=seed),
        ReconstructionSettings(steps=reconstruction_steps, seed=seed),
    )
    details: dict[str, Any] = {}
    if isinstance(subject, nn.Module):
        name, network = type(subject).__name__, copy.deepcopy(subject).eval()
        _check_logits(name, network, training)
    else:
        channels, size = training.pixels.shape[1:3]
        name = subject
        network = small_network(
            subject, channels, size, training.classes, activation="relu", homogeneous=True, seed=seed
        )
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
