"""Audit the layers of a network after several epochs of its training."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from onlymymodel.evaluate.audits.layers.attacks import infer_membership, release_outputs
from onlymymodel.evaluate.audits.layers.audit import NONMEMBERS, PIXELS, LayerAdversary, LayerRelease
from onlymymodel.evaluate.audits.layers.figures import ATTACK_FREE
from onlymymodel.evaluate.audits.layers.layers import float64_copy, layer_function, layer_outputs
from onlymymodel.evaluate.audits.networks import accuracy, train_network
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.report import AuditReport, AuditRow, Findings, Value, audit_release
from onlymymodel.progress import track


@dataclass(frozen=True)
class EpochsRelease:
    """The outputs of one network's layers, after several epochs of its training.

    Attributes:
        name: name of the network.
        networks: the network after each saved epoch, in ascending order; 0 is untrained.
        members: pictures that it was trained on.
        nonmembers: pictures that it was not trained on, of the same distribution.
    """

    name: str
    networks: Mapping[int, nn.Module]
    members: Pictures
    nonmembers: Pictures

    def after(self, epoch: int) -> LayerRelease:
        """Return the release after one epoch."""
        return LayerRelease(f"{self.name}, epoch {epoch}", self.networks[epoch], self.nonmembers, self.members)

    def describe(self) -> dict[str, Any]:
        """Return the network after its last epoch, and its accuracy after each, as JSON values."""
        return {
            **self.after(max(self.networks)).describe(),
            "accuracy_members": {str(epoch): accuracy(net, self.members) for epoch, net in self.networks.items()},
            "accuracy_others": {str(epoch): accuracy(net, self.nonmembers) for epoch, net in self.networks.items()},
        }


@dataclass(frozen=True)
class EpochsAdversary:
    """An adversary who sees every layer after every saved epoch.

    It has no inverter, which would have to be trained for each of them.

    Attributes:
        layerwise: settings of the attack-free measures and of membership inference.
    """

    layerwise: LayerAdversary = field(default_factory=lambda: LayerAdversary(steps=0))

    name = "figures without an attack and membership inference, epoch by epoch"

    def assumptions(self, release: EpochsRelease) -> Sequence[str]:
        """Return what the adversary knows."""
        sentences = replace(self.layerwise, steps=0).assumptions(release.after(max(release.networks)))
        return [*sentences, "One network from one seed: a rise or a fall between two epochs may be due to chance."]

    def findings(self, release: EpochsRelease, *, progress: bool) -> Findings:
        """Measure and attack every layer after every epoch, and the controls."""
        pictures, rows = self.layerwise.split(release.after(max(release.networks))), []
        for epoch, network in track(release.networks.items(), "epochs", unit="epoch", progress=progress):
            precise = float64_copy(network)
            for layer in release.after(epoch).audited_layers:
                outputs = release_outputs(partial(layer_outputs, network, layer), pictures)
                values: dict[str, Value] = {"epoch": epoch, "layer": layer.name}
                values |= self.layerwise.measure(outputs, layer_function(precise, layer), pictures)
                values["auc"] = infer_membership(outputs, self.layerwise.seed)
                rows.append(AuditRow(f"epoch {epoch}, {layer.name}", values))
        return Findings(rows, self._controls(release))

    def reasons(self, release: EpochsRelease) -> Mapping[str, str]:
        """Return why a measurement may have no value."""
        return self.layerwise.reasons(release.after(max(release.networks)))

    def summary(self, rows: Sequence[AuditRow], controls: Sequence[AuditRow]) -> dict[str, Value]:  # noqa: ARG002
        """Return for every measure in how many layers it falls and then rises over the epochs.

        The paper reports this of the degrees of freedom and of the rank.
        """
        layers = dict.fromkeys(str(row.values["layer"]) for row in rows)
        summary: dict[str, Value] = {"layers": len(layers)}
        for measure in (*ATTACK_FREE, "auc"):
            curves = [[row.values[measure] for row in rows if row.values["layer"] == layer] for layer in layers]
            summary[f"{measure}_falls_then_rises_in"] = sum(has_interior_minimum(curve) for curve in curves)
        return summary

    def _controls(self, release: EpochsRelease) -> list[AuditRow]:
        """Measure the pixels, which no training changes, and mock members after the last epoch."""
        last = release.after(max(release.networks))
        pictures = self.layerwise.split(last)

        def identity(pixels: Tensor) -> Tensor:
            return pixels

        pixels = release_outputs(identity, pictures)
        values = self.layerwise.measure(pixels, identity, pictures)
        values["auc"] = infer_membership(pixels, self.layerwise.seed)
        controls = [AuditRow(PIXELS, values)]
        aucs = self.layerwise.nonmember_aucs(last.network, last.audited_layers, pictures)
        if aucs:
            controls.append(AuditRow(NONMEMBERS, {"auc": sum(aucs) / len(aucs), "highest_auc": max(aucs)}))
        return controls


def has_interior_minimum(curve: Sequence[Value]) -> bool:
    """Return whether a curve of at least three values falls and then rises: its minimum is below both ends.

    False if a value is missing.
    """
    values = [float(value) for value in curve if value is not None]
    return len(values) == len(curve) > 2 and min(values) < min(values[0], values[-1])


def epochs_report(
    network: nn.Module,
    members: Pictures,
    nonmembers: Pictures,
    *,
    epochs: Sequence[int],
    name: str = "network",
    adversary: EpochsAdversary | None = None,
    seed: int = 0,
    progress: bool = True,
) -> AuditReport:
    """Train a small network, and audit its layers after some epochs.

    Args:
        network: untrained network, which is trained in place.
        members: pictures that it is trained on.
        nonmembers: other pictures of the same distribution.
        epochs: epochs after which it is audited, 0 being untrained; it is trained up to the largest.
        name: name of the network.
        adversary: `EpochsAdversary()` by default.
        seed: seed of the training.

    Returns:
        a report with a row for every epoch and layer.
    """
    saved = {0: copy.deepcopy(network).eval()} if 0 in epochs else {}

    def save(epoch: int, trained: nn.Module) -> None:
        if epoch in epochs:
            saved[epoch] = copy.deepcopy(trained)

    train_network(network, members, epochs=max(epochs), seed=seed, progress=progress, on_epoch=save)
    release = EpochsRelease(name, saved, members, nonmembers)
    return audit_release(release, adversary or EpochsAdversary(), progress=progress)
