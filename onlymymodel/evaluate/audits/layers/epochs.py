"""Audit the layers of networks of several seeds after several epochs of their training."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from onlymymodel.errors import number_of
from onlymymodel.evaluate.audits.intervals import Interval, mean_interval
from onlymymodel.evaluate.audits.layers.attacks import AttackSplit, infer_membership, release_outputs
from onlymymodel.evaluate.audits.layers.audit import NONMEMBERS, PIXELS, LayerAdversary
from onlymymodel.evaluate.audits.layers.figures import ATTACK_FREE
from onlymymodel.evaluate.audits.layers.layers import float64_copy, layer_function, layer_outputs
from onlymymodel.evaluate.audits.layers.release import LayerRelease
from onlymymodel.evaluate.audits.networks import accuracy, train_network
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.report import AuditReport, AuditRow, Findings, Value, audit_release
from onlymymodel.progress import track

MEASURES = (*ATTACK_FREE, "auc")


@dataclass(frozen=True)
class EpochsRelease:
    """The outputs of the layers of networks that differ in their seed only, after several epochs of their training.

    Attributes:
        name: name of the networks.
        runs: for each seed the network after each saved epoch, in ascending order; 0 is untrained.
        members: pictures that they were trained on.
        nonmembers: pictures that they were not trained on, of the same distribution.
    """

    name: str
    runs: tuple[Mapping[int, nn.Module], ...]
    members: Pictures
    nonmembers: Pictures

    @property
    def epochs(self) -> list[int]:
        """The saved epochs."""
        return list(self.runs[0])

    def after(self, epoch: int, run: int = 0) -> LayerRelease:
        """Return the release after one epoch of one run."""
        return LayerRelease(f"{self.name}, epoch {epoch}", self.runs[run][epoch], self.nonmembers, self.members)

    def describe(self) -> dict[str, Any]:
        """Return the first network after its last epoch, and the mean accuracy after each, as JSON values."""
        return {
            **self.after(self.epochs[-1]).describe(),
            "seeds": len(self.runs),
            "accuracy_members": {str(epoch): self._accuracy(epoch, self.members) for epoch in self.epochs},
            "accuracy_others": {str(epoch): self._accuracy(epoch, self.nonmembers) for epoch in self.epochs},
        }

    def _accuracy(self, epoch: int, pictures: Pictures) -> float:
        return sum(accuracy(run[epoch], pictures) for run in self.runs) / len(self.runs)


@dataclass(frozen=True)
class EpochsAdversary:
    """An adversary who sees every layer after every saved epoch.

    It has no inverter, which would have to be trained for each of them.

    Attributes:
        layerwise: settings of the attack-free measures and of membership inference.
    """

    layerwise: LayerAdversary = field(default_factory=lambda: LayerAdversary(steps=0, jacobian_pictures=1))

    name = "figures without an attack and membership inference, epoch by epoch"

    def assumptions(self, release: EpochsRelease) -> Sequence[str]:
        """Return what the adversary knows, and how falls and rises are measured."""
        sentences = replace(self.layerwise, steps=0).assumptions(release.after(release.epochs[-1]))
        return [
            *sentences,
            f"Figures are means over networks of {number_of(len(release.runs), 'seed')}, of initialization and of the "
            "order of the pictures; the pictures are the same.",
            "A measure falls and then rises in a layer if both relative changes, from the untrained network to an "
            "epoch and from there to the last one, have 95 % intervals over the seeds (Student's t) on these sides of "
            "0; for each seed the epoch is that of the lowest mean of the other seeds, since the lowest of its own "
            "would always fall and rise.",
        ]

    def findings(self, release: EpochsRelease, *, progress: bool) -> Findings:
        """Measure and attack every layer after every epoch of every run, and the controls."""
        pictures = self.layerwise.split(release.after(release.epochs[-1]))
        numbers = track(range(len(release.runs)), "seeds", unit="seed", progress=progress)
        runs = [self._measure_run(release, run, pictures) for run in numbers]
        rows = []
        for epoch, layer in runs[0]:
            values: dict[str, Value] = {"epoch": epoch, "layer": layer}
            values |= _means([run[epoch, layer] for run in runs])
            rows.append(AuditRow(f"epoch {epoch}, {layer}", values))
        for layer in dict.fromkeys(layer for _, layer in runs[0]):
            changes: dict[str, Value] = {"layer": layer}
            for measure in MEASURES:
                curves = [[run[epoch, layer].get(measure) for epoch in release.epochs] for run in runs]
                changes |= _change_values(measure, curves)
            rows.append(AuditRow(f"{layer}: fall and rise", changes))
        return Findings(rows, self._controls(release))

    def reasons(self, release: EpochsRelease) -> Mapping[str, str]:
        """Return why a measurement may have no value."""
        missing = "the measure is missing or 0 in an epoch, or there is one seed only"
        own = self.layerwise.reasons(release.after(release.epochs[-1]))
        return {**own, "*_fall*": missing, "*_rise*": missing}

    def summary(self, rows: Sequence[AuditRow], controls: Sequence[AuditRow]) -> dict[str, Value]:  # noqa: ARG002
        """Return for every measure in how many layers it falls and then rises over the epochs, see `assumptions`.

        The paper reports this of the degrees of freedom and of the rank.
        """
        changes = [row.values for row in rows if "epoch" not in row.values]
        summary: dict[str, Value] = {"layers": len(changes)}
        for measure in MEASURES:
            ends = [(values[f"{measure}_fall_low"], values[f"{measure}_rise_low"]) for values in changes]
            both = [fall is not None and rise is not None and min(float(fall), float(rise)) > 0 for fall, rise in ends]
            summary[f"{measure}_falls_then_rises_in"] = sum(both)
        return summary

    def _measure_run(
        self, release: EpochsRelease, run: int, pictures: AttackSplit[Pictures]
    ) -> dict[tuple[int, str], dict[str, Value]]:
        """Return the measures of one run by epoch and layer."""
        found = {}
        for epoch, network in release.runs[run].items():
            precise = float64_copy(network)
            for layer in release.after(epoch, run).audited_layers:
                outputs = release_outputs(partial(layer_outputs, network, layer), pictures)
                values = self.layerwise.measure(outputs, layer_function(precise, layer), pictures)
                values["auc"] = infer_membership(outputs, self.layerwise.seed)
                found[epoch, layer.name] = values
        return found

    def _controls(self, release: EpochsRelease) -> list[AuditRow]:
        """Measure the pixels, which no training changes, and mock members after the last epoch."""
        last = release.after(release.epochs[-1])
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


class Changes(NamedTuple):
    """Relative changes of a measure over a training, each over the seeds.

    Attributes:
        fall: 1 - value at the lowest epoch / first value.
        rise: last value / value at the lowest epoch - 1.
    """

    fall: Interval
    rise: Interval


def fall_and_rise(curves: Sequence[Sequence[float]]) -> Changes:
    """Return how far curves, one for each seed, fall to their lowest epoch and rise from there, with intervals.

    Each curve's lowest epoch is that of the mean of the other curves, so that noise of its own is not taken for a
    minimum; a curve that only falls has a rise of 0, one that only rises a fall of 0. Our reading.

    Args:
        curves: two or more, of the same length, with values above 0.
    """
    falls, rises = [], []
    for index, curve in enumerate(curves):
        others = [other for number, other in enumerate(curves) if number != index]
        sums = [sum(values) for values in zip(*others, strict=True)]
        lowest = curve[sums.index(min(sums))]
        falls.append(1 - lowest / curve[0])
        rises.append(curve[-1] / lowest - 1)
    return Changes(mean_interval(falls), mean_interval(rises))


def _change_values(measure: str, curves: Sequence[Sequence[Value]]) -> dict[str, Value]:
    """Return fall and rise of a measure with their intervals; None if a value is missing, or with one seed."""
    complete = [[float(value) for value in curve if value is not None] for curve in curves]
    names = [f"{measure}_{change}{end}" for change in ("fall", "rise") for end in ("", "_low", "_high")]
    broken = any(len(own) < len(curve) or min(own) <= 0 for own, curve in zip(complete, curves, strict=True))
    if broken or len(curves) < 2:
        return dict.fromkeys(names)
    fall, rise = fall_and_rise(complete)
    return dict(zip(names, (*fall[:3], *rise[:3]), strict=True))


def _means(runs: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    """Return the mean of every measure over the runs, None if one lacks it; texts are those of the first run."""
    means: dict[str, Value] = {}
    for name, first in runs[0].items():
        values = [run[name] for run in runs]
        if isinstance(first, str) or any(value is None for value in values):
            means[name] = first if isinstance(first, str) else None
        else:
            means[name] = sum(float(value) for value in values if value is not None) / len(values)
    return means


def epochs_report(
    make: Callable[[int], nn.Module],
    members: Pictures,
    nonmembers: Pictures,
    *,
    epochs: Sequence[int],
    seeds: Sequence[int] = (0,),
    name: str = "network",
    adversary: EpochsAdversary | None = None,
    progress: bool = True,
) -> tuple[AuditReport, nn.Module]:
    """Train a small network from several seeds, and audit its layers after some epochs.

    Args:
        make: returns the untrained network of a seed.
        members: pictures that it is trained on.
        nonmembers: other pictures of the same distribution.
        epochs: epochs after which it is audited, 0 being untrained; it is trained up to the largest.
        seeds: seeds of the networks and of their training.
        name: name of the network.
        adversary: `EpochsAdversary()` by default.

    Returns:
        a report with a row for every epoch and layer, and for the fall and rise of every layer; and the trained network
        of the first seed.
    """
    runs = [_save_epochs(make(seed), members, epochs, seed, progress) for seed in seeds]
    release = EpochsRelease(name, tuple(runs), members, nonmembers)
    report = audit_release(release, adversary or EpochsAdversary(), progress=progress)
    return report, runs[0][max(epochs)]


def _save_epochs(
    network: nn.Module, members: Pictures, epochs: Sequence[int], seed: int, progress: bool
) -> dict[int, nn.Module]:
    """Train a network, and return copies of it after the epochs."""
    saved = {0: copy.deepcopy(network).eval()} if 0 in epochs else {}

    def save(epoch: int, trained: nn.Module) -> None:
        if epoch in epochs:
            saved[epoch] = copy.deepcopy(trained)

    train_network(network, members, epochs=max(epochs), seed=seed, progress=progress, on_epoch=save)
    return saved
