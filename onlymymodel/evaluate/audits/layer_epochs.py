"""How what layers give away changes while a network is trained."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import nn
from tqdm import tqdm

from onlymymodel.evaluate.audits.audit import AuditReport, Finding, Value, audit_release
from onlymymodel.evaluate.audits.intermediate import ATTACK_FREE, LayerAdversary, LayerRelease, attack_free, in_float64
from onlymymodel.evaluate.audits.layer_attacks import in_halves, look, membership, strangers
from onlymymodel.evaluate.audits.layers import layer_function, outputs_of
from onlymymodel.evaluate.audits.networks import accuracy, train_network
from onlymymodel.evaluate.audits.pictures import Pictures

PIXELS, STRANGERS = "the pixels themselves", "non-members against non-members"


@dataclass(frozen=True)
class EpochsRelease:
    """The outputs of one network's layers, after several epochs of its training.

    Attributes:
        name: of the network.
        networks: it after each saved epoch, 0 being untrained, in ascending order.
        members, others: pictures that it was and was not trained on, drawn alike.
    """

    name: str
    networks: Mapping[int, nn.Module]
    members: Pictures
    others: Pictures

    def at(self, epoch: int) -> LayerRelease:
        """The release after one epoch."""
        return LayerRelease(f"{self.name}, epoch {epoch}", self.networks[epoch], self.others, self.members)

    def describe(self) -> dict[str, Any]:
        """The network at its last epoch, and how well it did after each."""
        return {
            **self.at(max(self.networks)).describe(),
            "accuracy_members": {str(epoch): accuracy(net, self.members) for epoch, net in self.networks.items()},
            "accuracy_others": {str(epoch): accuracy(net, self.others) for epoch, net in self.networks.items()},
        }


@dataclass(frozen=True)
class EpochsAdversary:
    """Sees every layer after every saved epoch; no inverter, which would cost its training for each of them.

    Attributes:
        layerwise: gives tau, the pictures at which Jacobians are taken, and the seed.
    """

    layerwise: LayerAdversary = field(default_factory=lambda: LayerAdversary(steps=0))

    name = "figures without an attack and membership inference, epoch by epoch"

    def assumptions(self, release: EpochsRelease) -> Sequence[str]:
        """What it knows; one network, one seed."""
        said = replace(self.layerwise, steps=0).assumptions(release.at(max(release.networks)))
        return [*said, "One network from one seed: a rise or a fall between two epochs may be chance."]

    def findings(self, release: EpochsRelease, *, progress: bool) -> Sequence[Finding]:
        """A row for every layer after every epoch."""
        halves, rows = in_halves(release.others, release.members, self.layerwise.seed), []
        for epoch, network in tqdm(release.networks.items(), desc="epochs", disable=None if progress else True):
            precise = in_float64(network)
            for layer in release.at(epoch).seen:
                seen = look(partial(outputs_of, network, layer), halves)
                where = halves.judged.pixels[: self.layerwise.sensed]
                values: dict[str, Value] = {"epoch": epoch, "layer": layer.name}
                values |= attack_free(seen.judged, layer_function(precise, layer), where, self.layerwise)
                rows.append(
                    Finding(f"epoch {epoch}, {layer.name}", {**values, "auc": membership(seen, self.layerwise.seed)})
                )
        return rows

    def controls(self, release: EpochsRelease, *, progress: bool) -> Sequence[Finding]:  # noqa: ARG002
        """The pixels, which no training changes, and members that are none after the last epoch."""
        halves = in_halves(release.others, release.members, self.layerwise.seed)
        pixels = look(lambda pictures: pictures, halves)
        values = attack_free(pixels.judged, lambda x: x, halves.judged.pixels[: self.layerwise.sensed], self.layerwise)
        last = max(release.networks)
        looks = [look(partial(outputs_of, release.networks[last], layer), halves) for layer in release.at(last).seen]
        chance = [auc for seen in looks if (auc := strangers(seen, self.layerwise.seed)) is not None]
        found = [Finding(PIXELS, {**values, "auc": membership(pixels, self.layerwise.seed)})]
        if chance:
            found.append(Finding(STRANGERS, {"auc": sum(chance) / len(chance), "highest_auc": max(chance)}))
        return found

    def summary(self, rows: Sequence[Finding], controls: Sequence[Finding]) -> dict[str, Value]:  # noqa: ARG002
        """For every figure, in how many layers it is least neither first nor last: it falls, then rises.

        The paper says so of the degrees of freedom and of the rank.
        """
        layers = dict.fromkeys(str(row.values["layer"]) for row in rows)
        found: dict[str, Value] = {"layers": len(layers)}
        for figure in (*ATTACK_FREE, "auc"):
            curves = [[row.values[figure] for row in rows if row.values["layer"] == layer] for layer in layers]
            found[f"{figure}_falls_then_rises_in"] = sum(falls_then_rises(curve) for curve in curves)
        return found


def falls_then_rises(curve: Sequence[Value]) -> bool:
    """Whether the least of at least three figures is below both the first and the last; False where one is missing."""
    known = [float(value) for value in curve if value is not None]
    return len(known) == len(curve) > 2 and min(known) < min(known[0], known[-1])


def over_epochs(
    network: nn.Module,
    members: Pictures,
    others: Pictures,
    *,
    epochs: Sequence[int],
    name: str = "network",
    adversary: EpochsAdversary | None = None,
    seed: int = 0,
    progress: bool = True,
) -> AuditReport:
    """Train a small network and audit its layers, untrained and after some epochs.

    Args:
        network: untrained; in place it becomes the trained one.
        members: what it is trained on.
        epochs: after which it is audited, 0 being untrained; it is trained up to the largest.

    Returns:
        a report with a row for every epoch and layer.
    """
    saved = {0: copy.deepcopy(network).eval()} if 0 in epochs else {}

    def keep(epoch: int, trained: nn.Module) -> None:
        if epoch in epochs:
            saved[epoch] = copy.deepcopy(trained)

    train_network(network, members, epochs=max(epochs), seed=seed, progress=progress, on_epoch=keep)
    release = EpochsRelease(name, saved, members, others)
    return audit_release(release, adversary or EpochsAdversary(), progress=progress)
