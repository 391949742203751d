"""What a layer's outputs give away: figures without an attack beside what an adversary gets.

After "Intermediate Outputs Are More Sensitive Than You Think". Its attack-free figures are in `layer_figures`; the two
attacks by which they are judged here, a learned inverter and membership inference, are our choice.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from onlymymodel.evaluate.audits.audit import Finding, Value
from onlymymodel.evaluate.audits.jacobian import MOST, Function
from onlymymodel.evaluate.audits.layer_attacks import (
    Halves,
    Seen,
    in_halves,
    likeness,
    look,
    membership,
    reconstruct,
    strangers,
)
from onlymymodel.evaluate.audits.layer_figures import degrees_of_freedom, sensitivity, variation
from onlymymodel.evaluate.audits.layers import Layer, chosen_layers, layer_function, outputs_of
from onlymymodel.evaluate.audits.membership import membership_auc
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.ranking import rank_correlation
from onlymymodel.evaluate.audits.similarity import SIMILARITY_DEFINITION, to_picture
from onlymymodel.surrogates.load import parameters_sha256

ATTACK_FREE = ("degrees_of_freedom", "jacobian_rank", "stable_rank", "variation")
PIXELS, SHUFFLED, MEAN = "the pixels themselves", "inverter of shuffled pairs", "mean picture"
STRANGERS, LOSS = "non-members against non-members", "loss of the true label"


@dataclass(frozen=True)
class LayerRelease:
    """The outputs of a network's layers, as a device sends them to a server that computes the rest.

    Attributes:
        name: of the network.
        network: (B,C,S,S) in [0,1] -> anything, in eval mode, such as a `Classifier`.
        others: pictures that the network was not trained on.
        members: pictures that it was trained on, drawn like the others; None if nobody knows.
        layers: names of those that are seen, see `layers.Layer.name`; all if empty.
        most_layers: at most that many of them, spread evenly, the first and the last among them.
    """

    name: str
    network: nn.Module
    others: Pictures
    members: Pictures | None = None
    layers: tuple[str, ...] = ()
    most_layers: int | None = None

    @cached_property
    def seen(self) -> list[Layer]:
        """The layers that are audited, in the order of work."""
        return chosen_layers(self.network, self.others.pixels, self.layers, self.most_layers)

    def describe(self) -> dict[str, Any]:
        """The network by its weights, its layers, the pictures."""
        return {
            "network": type(self.network).__name__,
            "weights_sha256": parameters_sha256(self.network),
            "layers": [layer.name for layer in self.seen],
            "pictures": len(self.others),
            "members": len(self.members) if self.members else 0,
            "shape": list(self.others.pixels.shape[1:]),
        }


@dataclass(frozen=True)
class LayerAdversary:
    """Somebody who sees one layer's outputs and wants the pictures back, or wants to know who was trained on.

    Attributes:
        tau: of the Jacobian's numerical rank: relative to the largest singular value.
        sensed: pictures at which the Jacobian is taken.
        most: rows up to which a Jacobian is computed whole.
        steps: of the inverter's training; with 0 none is trained, and SSIM and PSNR are None.
        seed: of the halves, the inverter, the attacker and the probes.
    """

    tau: float = 0.01
    sensed: int = 2
    most: int = MOST
    steps: int = 300
    seed: int = 0

    name = "inverter and membership inference, layer by layer"

    def assumptions(self, release: LayerRelease) -> Sequence[str]:
        """What it knows, and on what it is judged."""
        halves = in_halves(release.others, release.members, self.seed)
        said = [
            "The network is in eval mode; the adversary sees one layer's whole output for one picture, neither noisy "
            "nor rounded.",
            f"Figures without an attack: over {len(halves.judged)} pictures, so that at most {len(halves.judged) - 1} "
            f"degrees of freedom can be seen; Jacobians at {min(self.sensed, len(halves.judged))} of them in float64, "
            f"their rank counted above {self.tau:g} of the largest singular value.",
            "Over layers of one network figures and attacks both change with depth: a rank correlation says that they "
            "change together, not that one predicts the other elsewhere.",
        ]
        if self.steps:
            said += [
                f"Its inverter, a small decoder, learns for {self.steps} steps from {len(halves.own)} pictures of its "
                f"own that the network was not trained on, and is judged on {len(halves.judged)} pictures of other "
                "people (groups); a stronger one may get more.",
                f"SSIM: {SIMILARITY_DEFINITION['ssim']}.",
            ]
        if halves.own_members is None or halves.judged_members is None:
            return [*said, "Nobody said which pictures the network was trained on: no membership inference."]
        members, others = len(halves.judged_members), len(halves.judged)
        chance = math.sqrt((members + others + 1) / (12 * members * others))  # of Mann and Whitney's statistic
        return [
            *said,
            "Its membership attacker, a logistic regression on principal components and the distribution of the "
            f"outputs, without labels, knows {len(halves.own_members)} members and {len(halves.own)} others, and is "
            f"judged on {members} and {others} of other groups; guessing gives an AUC of 0.5, with a standard "
            f"deviation of {chance:.2f}. Members and others are taken to be drawn alike; the AUC of the pixels shows "
            "whether they are.",
        ]

    def findings(self, release: LayerRelease, *, progress: bool) -> Sequence[Finding]:
        """A row for every layer: figures without an attack, SSIM and PSNR of the inverter, AUC of the attacker."""
        halves, precise = in_halves(release.others, release.members, self.seed), in_float64(release.network)
        rows = []
        for layer in tqdm(release.seen, desc="layers", unit="layer", disable=None if progress else True):
            seen = look(partial(outputs_of, release.network, layer), halves)
            rows.append(self._row(layer.name, seen, layer_function(precise, layer), halves, progress))
        return rows

    def controls(self, release: LayerRelease, *, progress: bool) -> Sequence[Finding]:
        """The pixels as a release; an inverter that can learn nothing; the mean picture; members that are none."""
        halves = in_halves(release.others, release.members, self.seed)
        found = [self._row(PIXELS, look(lambda pixels: pixels, halves), lambda x: x, halves, progress)]
        if self.steps:
            first = look(partial(outputs_of, release.network, release.seen[0]), halves)
            options: dict[str, Any] = {"steps": self.steps, "seed": self.seed, "progress": progress}
            found.append(Finding(SHUFFLED, reconstruct(first, halves, shuffled=True, **options)[0]))
            mean = halves.own.pixels.mean(0).expand_as(halves.judged.pixels)
            found.append(Finding(MEAN, likeness(mean, halves.judged.pixels), {"mean": to_picture(mean[0]).numpy()}))
        if release.members:
            looks = [look(partial(outputs_of, release.network, layer), halves) for layer in release.seen]
            chance = [auc for seen in looks if (auc := strangers(seen, self.seed)) is not None]
            if chance:
                values = {"auc": sum(chance) / len(chance), "lowest_auc": min(chance), "highest_auc": max(chance)}
                found.append(Finding(STRANGERS, values))
            auc = _loss_auc(release.network, halves)
            found.extend([Finding(LOSS, {"auc": auc})] if auc is not None else [])
        return found

    def summary(self, rows: Sequence[Finding], controls: Sequence[Finding]) -> dict[str, Value]:
        """Spearman's rho over layers of every figure with every attack, and the extremes of both attacks.

        Ranks of equal figures are their mean; None where a figure is missing or the same in all layers.
        """
        found: dict[str, Value] = {"layers": len(rows)}
        for attack in ("ssim", "auc"):
            for figure in ATTACK_FREE:
                pairs = [(row.values[figure], row.values[attack]) for row in rows]
                known = [(float(a), float(b)) for a, b in pairs if a is not None and b is not None]
                found[f"rho_{figure}_{attack}"] = rank_correlation([a for a, _ in known], [b for _, b in known])
        for attack in ("ssim", "auc"):
            scores = [(float(score), row.name) for row in rows if (score := row.values[attack]) is not None]
            if scores:
                (least, _), (most, where) = min(scores), max(scores)
                found |= {f"lowest_{attack}": least, f"highest_{attack}": most, f"highest_{attack}_at": where}
        ends = {PIXELS: "ssim_of_the_pixels", SHUFFLED: "ssim_without_a_signal"}
        return found | {ends[one.name]: one.values["ssim"] for one in controls if one.name in ends}

    def _row(self, name: str, seen: Seen, function: Function, halves: Halves, progress: bool) -> Finding:
        """What one release gives away; `function` is the same release of one picture in float64."""
        values = attack_free(seen.judged, function, halves.judged.pixels[: self.sensed], self)
        pictures = {}
        if self.steps:
            alike, drawn = reconstruct(seen, halves, steps=self.steps, seed=self.seed, progress=progress)
            values |= alike
            pictures = {"original": halves.judged.pixels[0], "from the outputs": drawn[0]}
        else:
            values |= {"ssim": None, "psnr": None}
        values["auc"] = membership(seen, self.seed)
        return Finding(name, values, {caption: to_picture(pixels).numpy() for caption, pixels in pictures.items()})


def attack_free(outputs: Tensor, function: Function, pictures: Tensor, adversary: LayerAdversary) -> dict[str, Value]:
    """The figures of a layer that need no attack.

    Args:
        outputs: (N,...) of the layer.
        function: one picture -> output in float64.
        pictures: at which the Jacobian is taken.
        adversary: gives tau, the size of an exact Jacobian and the seed.
    """
    generator = torch.Generator().manual_seed(adversary.seed)
    where = list(pictures.double().to(outputs.device))
    values: dict[str, Value] = {
        "features": outputs[0].numel(),
        "degrees_of_freedom": degrees_of_freedom(outputs),
        "variation": variation(outputs),
    }
    return values | sensitivity(function, where, tau=adversary.tau, most=adversary.most, generator=generator)


def in_float64(network: nn.Module) -> nn.Module:
    """A copy in float64 whose parameters need no gradient."""
    return copy.deepcopy(network).double().eval().requires_grad_(False)


@torch.no_grad()
def _loss_auc(network: nn.Module, halves: Halves) -> float | None:
    """AUC of the threshold on the loss of the true label (Yeom et al. 2018), if the network says logits of it."""
    device, losses = next(iter(network.parameters()), torch.empty(0)).device, []
    for part in (halves.judged_members, halves.judged):
        if part is None:
            return None
        said = torch.cat([network(pixels.to(device)) for pixels in torch.split(part.pixels, 64)]).cpu()
        if said.ndim != 2 or said.shape[1] != part.classes:
            return None
        losses.append(F.cross_entropy(said, part.labels, reduction="none"))
    return membership_auc(-losses[0], -losses[1])
