"""What the weights of a classifier give away: a generator looks for the pictures that it was trained on.

After "Privacy Preserving Properties of Vision Classifiers" (Suhail and Sethi, arXiv 2502.00760), which compares an MLP,
a CNN and a vision transformer by the SSIM of generated pictures to training pictures. The judgment is ours: generated
pictures are matched to training pictures and to held-out pictures of equal number. Only what they resemble the former
more is memory; to resemble both is to know what a class looks like.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.audit import AuditReport, Finding, Value, audit_release
from onlymymodel.evaluate.audits.inversion_generator import check_classes, draw_codes
from onlymymodel.evaluate.audits.network_inversion import Inversion, invert_network, untrained
from onlymymodel.evaluate.audits.networks import Kind, accuracy, small_network, train_network
from onlymymodel.evaluate.audits.picture_matching import Gap, balanced, gap_interval, hungarian, measure_gap
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.similarity import SIMILARITY_DEFINITION, to_picture
from onlymymodel.surrogates.load import parameters_sha256

# weight decay makes a network that is trained to the end a stationary point, the premise of the attack
TRAINING: Mapping[str, Any] = {"rate": 2e-3, "weight_decay": 1e-3, "batch": 64}
# a tuple: said or not
BY_ANSWERS = (
    "Nobody said which of its classes a picture shows: pictures are sorted by the network's own answers. Held-out "
    "pictures that it mistakes lie in a class that they do not show, which may make a gap where there is no memory.",
)


@dataclass(frozen=True)
class WeightsRelease:
    """A network that somebody gives away.

    Attributes:
        name: of it.
        network: (B,C,S,S) in [0,1] -> (B,classes) logits, in eval mode.
        training: how it was trained, and how well it answers, as JSON values.
        by_answers: whether the pictures' labels are its own answers.
    """

    name: str
    network: nn.Module
    training: Mapping[str, Any] = field(default_factory=dict)
    by_answers: bool = False

    def describe(self) -> dict[str, Any]:
        return {
            "weights_sha256": parameters_sha256(self.network),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "training": dict(self.training),
        }


@dataclass(frozen=True)
class GeneratorInversion:
    """Somebody who has the weights and trains a generator against them.

    Attributes:
        members: pictures that the network was trained on.
        others: pictures of the same kind that it was not trained on.
        settings: of the generator's training.
    """

    members: Pictures
    others: Pictures
    settings: Inversion = field(default_factory=Inversion)

    name = "network inversion by a conditioned generator"

    def __post_init__(self) -> None:
        """Raise UserError for what cannot be compared or conditioned, and where scipy is not installed: at once, since
        the training takes minutes."""
        balanced(self.members, self.others)
        check_classes(self.members.classes)
        hungarian(np.zeros((1, 1)))

    def assumptions(self, release: WeightsRelease) -> tuple[str, ...]:
        members, _ = balanced(self.members, self.others)
        count = sum(parameter.numel() for parameter in release.network.parameters())
        chosen = ", ".join(f"{name} {value:g}" for name, value in asdict(self.settings).items())
        return (
            *(BY_ANSWERS if release.by_answers else ()),
            f"The adversary has all {count} weights and the architecture, in eval mode, and differentiates twice.",
            "It knows the size of the pictures, the classes, and how many pictures of each class to look for; it has "
            "no picture of the kind that it looks for.",
            f"It is judged on {len(members)} of {len(self.members)} training pictures and as many held-out ones, "
            "class by class; the gap between the two is the finding, an SSIM alone is not.",
            "The interval of the gap draws pictures anew, not trainings of the network or of the generator; it holds "
            "if training and held-out pictures come from one source.",
            "The stationarity term holds for homogeneous networks trained to the end (ReLU, no normalization, no "
            "attention); for others it is a guess. A gap near 0 means that this generator found nothing, not that "
            "nothing is there.",
            f"Its generator's training and the weights of the losses: {chosen}.",
            f"SSIM: {SIMILARITY_DEFINITION['ssim']}.",
        )

    def findings(self, release: WeightsRelease, *, progress: bool) -> list[Finding]:
        """A row for all classes and one for each, with the generated picture that resembles a training picture most."""
        members, others = balanced(self.members, self.others)
        pixels = self._invert(release.network, members, progress)
        with torch.no_grad():
            answers = release.network(pixels.to(next(release.network.parameters()).device)).argmax(1).cpu()
        right = (answers == members.labels).double()
        gaps = _gaps(pixels, members, others)
        rows = [Finding("all classes", gap_values(list(gaps.values())) | {"answered_as_asked": right.mean().item()})]
        for label, gap in gaps.items():
            own = (members.labels == label).nonzero()[:, 0]
            best = int(gap.members.argmax())
            first, second = own[gap.partner[best]], own[gap.other_partner[best]]
            values = gap_values([gap]) | {
                "answered_as_asked": right[own].mean().item(),
                "closest": members.names[first],
                "ssim_closest": float(gap.members[best]),
            }
            shown = {
                "generated": pixels[own[best]],
                "training": members.pixels[first],
                "held out": others.pixels[second],
            }
            pictures = {caption: to_picture(picture).numpy() for caption, picture in shown.items()}
            rows.append(Finding(f"class {label}", values, pictures))
        return rows

    def controls(self, release: WeightsRelease, *, progress: bool) -> list[Finding]:
        """What knows no training picture, what knows their mean, and what knows them all."""
        members, others = balanced(self.members, self.others)
        means = torch.stack([members.pixels[members.labels == label].mean(0) for label in members.labels])
        instead = {
            "generator of the untrained network": self._invert(
                untrained(release.network, self.settings.seed), members, progress
            ),
            "mean training picture of each class": means,
            "the training pictures themselves": members.pixels,
        }
        return [
            Finding(name, gap_values(list(_gaps(pixels, members, others).values()))) for name, pixels in instead.items()
        ]

    def summary(self, rows: Sequence[Finding], controls: Sequence[Finding]) -> dict[str, Value]:
        """The figures of all classes, and the gaps of the controls."""
        return {**rows[0].values, **{f"gap, {control.name}": control.values["gap"] for control in controls}}

    def _invert(self, network: nn.Module, members: Pictures, progress: bool) -> Tensor:
        codes = draw_codes(members.labels, members.classes, torch.Generator().manual_seed(self.settings.seed))
        shape = members.pixels.shape[1:]
        return invert_network(network, codes, shape, self.settings, progress=progress).pixels


def _gaps(pixels: Tensor, members: Pictures, others: Pictures) -> dict[int, Gap]:
    """By class, of pictures generated for the labels of the members; the others have the same labels."""
    masks = {label: members.labels == label for label in sorted(set(members.labels.tolist()))}
    return {
        label: measure_gap(pixels[own], members.pixels[own], others.pixels[own], seed=label)
        for label, own in masks.items()
    }


def gap_values(gaps: Sequence[Gap]) -> dict[str, Value]:
    """Mean matched SSIM to training and to held-out pictures, their gap and its 95 % interval."""
    near, far = (np.concatenate([getattr(gap, side) for gap in gaps]) for side in ("members", "others"))
    gap, low, high = gap_interval(gaps)
    return {
        "pictures": len(near),
        "ssim_training": float(near.mean()),
        "ssim_held_out": float(far.mean()),
        "gap": gap,
        "gap_low": low,
        "gap_high": high,
    }


def weights_report(
    subject: Kind | nn.Module,
    members: Pictures,
    others: Pictures,
    *,
    steps: int = 300,
    epochs: int = 300,
    seed: int = 0,
    progress: bool = True,
    by_answers: bool = False,
) -> AuditReport:
    """Audit the weights of a network that was trained on `members` and not on `others`.

    Args:
        subject: `mlp`, `cnn` or `vit`, trained here on the members until they are memorized (ReLU, weight decay);
            or a network (B,C,S,S) in [0,1] -> (B,classes) that was trained on them elsewhere.
        steps: of the generator's training.
        epochs: of the network's training, of no use to one that comes trained.
        by_answers: whether the labels are the network's own answers, see `networks.as_answered`: the report says so,
            and no accuracy, which would be 1.

    Raises:
        UserError: sets that cannot be compared, one class or more than 64, no step, a network of another number of
            classes or with weights that are no finite numbers; scipy is not installed.
    """
    adversary = GeneratorInversion(members, others, Inversion(steps=steps, seed=seed))
    training: dict[str, Any] = {}
    if isinstance(subject, nn.Module):
        name, network = type(subject).__name__, copy.deepcopy(subject).eval()
        _check_answers(name, network, members)
    else:
        channels, size = members.pixels.shape[1:3]
        name = subject
        network = small_network(subject, channels, size, members.classes, activation="relu", seed=seed)
        loss = train_network(network, members, epochs=epochs, seed=seed, progress=progress, **TRAINING)[-1]
        training = {"epochs": epochs, **TRAINING, "pictures": len(members), "last_loss": loss}
    if not by_answers:
        training |= {"accuracy_training": accuracy(network, members), "accuracy_held_out": accuracy(network, others)}
    release = WeightsRelease(f"weights of {name}", network, training, by_answers)
    return audit_release(release, adversary, progress=progress)


@torch.no_grad()
def _check_answers(name: str, network: nn.Module, pictures: Pictures) -> None:
    answer = network(pictures.pixels[:1].to(next(network.parameters()).device))
    if answer.shape != (1, pictures.classes):
        raise UserError(
            f"{name} answers {tuple(answer.shape)}: logits of the pictures' {pictures.classes} classes are needed"
        )
