"""Somebody who gets a client's gradient and wants the pictures back."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from onlymymodel.evaluate.audits.audit import Finding, Value
from onlymymodel.evaluate.audits.client_gradient import (
    Statistics,
    batch_statistics,
    client,
    flat,
    read_linear,
    recover_labels,
    running_statistics,
)
from onlymymodel.evaluate.audits.gradient_comparison import MEASURES, MOST_PSNR, TO_ORIGINAL, Compared, compare
from onlymymodel.evaluate.audits.gradient_matching import Attack, Match, match_gradient
from onlymymodel.evaluate.audits.gradient_release import GradientRelease, has_signal
from onlymymodel.evaluate.audits.gradient_risk import NOISE, PREDICTORS, GradientRisk
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.ranking import rank_correlation
from onlymymodel.evaluate.audits.similarity import SIMILARITY_DEFINITION

ANOTHER, MEAN = "another batch's gradient", "mean of the other pictures"
LINEAR, PROTECTED = "a linear classifier instead, in closed form", "the protected picture itself"
NO_SIGNAL = "no signal: the gradient is zero or not finite, which does not make the picture private"
SIGNAL = "yes"


@dataclass
class GradientAdversary:
    """Gradient matching on each batch's gradient.

    Attributes:
        attack: how.
        risks: attack-free predictors by the names of pictures, to be judged by what the attack gets; may be empty.
        lpips: also LPIPS of the pictures as shown (small ones enlarged); needs the extra.
        seed: of the starts.
    """

    attack: Attack
    risks: Mapping[str, GradientRisk | None] = field(default_factory=dict)
    lpips: bool = False
    seed: int = 0
    _matches: list[Match | None] = field(default_factory=list, init=False, repr=False)

    @property
    def name(self) -> str:
        """The attack's."""
        return self.attack.name

    def assumptions(self, release: GradientRelease) -> Sequence[str]:
        """What it is given, and how far the attack goes."""
        labels = {
            "known": "are given to it",
            "recovered": "it reads off the last layer's gradient",
            "joint": "it looks for along with the pixels",
        }[self.attack.labels]
        said = [
            f"The network is in {release.mode} mode, without dropout; its weights are known, and so is the size of the "
            f"pictures; the loss is the mean cross-entropy over a batch of {release.batch}; the labels {labels}.",
            self._statistics_said(release),
            f"Defence: {release.defense.name}. It knows of the defence, but not of noise what was drawn, and does to "
            "its own gradient what it can. Noise is a share of each gradient's own norm: no differential privacy.",
            f"{self.attack.steps} steps from {1 + self.attack.restarts} start(s): a longer attack may get more, so a "
            "low similarity is no proof of privacy. Reconstructions are compared clipped to [0, 1].",
            "gradient_cosine and gradient_l2 (relative) compare the reconstruction's gradient with the true one before "
            f"any defence. PSNR: {SIMILARITY_DEFINITION['psnr']}, at most {MOST_PSNR:g} dB. "
            f"SSIM: {SIMILARITY_DEFINITION['ssim']}.",
        ]
        said.append("Spearman's rho is over the pictures; with fewer than about twenty only a large one says anything.")
        if release.batch > 1:
            said.append("Within a batch reconstructions are put to pictures so that the mean squared error is least.")
        if self.risks:
            said.append(
                "Predictors are taken at each picture alone, in float64, with its true label and without the defence; "
                f"noise_bound is the mean squared error of a linear estimate at noise of {NOISE:g} of the norm."
            )
        return said

    def findings(self, release: GradientRelease, *, progress: bool) -> Sequence[Finding]:
        """A row for every picture: gradient similarity, data similarity, predictors; original and reconstruction."""
        self._matches, rows = [], list[Finding]()
        numbers = tqdm(
            range(len(release.batches)),
            desc=f"{self.name}, {release.defense.name}",
            unit="gradient",
            disable=None if progress else True,
        )
        for number in numbers:
            match = self._match(release, number)
            self._matches.append(match)
            rows += self._rows(release, number, match)
        return rows

    def controls(self, release: GradientRelease, *, progress: bool) -> Sequence[Finding]:  # noqa: ARG002 - no work
        """Where nothing is to be found: another batch's gradient, and no gradient but the mean of the other pictures;
        where everything is, at a batch of one: a linear classifier's gradient. Means over the pictures."""
        pixels = torch.stack([batch.pixels for batch in release.batches])
        others = (pixels.sum((0, 1)) - pixels.sum(1)) / (len(pixels) - 1) / release.batch
        guesses: dict[str, Sequence[Tensor | None]] = {
            ANOTHER: [match.pixels if match else None for match in [*self._matches[1:], self._matches[0]]],
            MEAN: [mean.expand_as(own) for mean, own in zip(others, pixels, strict=True)],
        }
        if release.batch == 1:
            guesses[LINEAR] = [_by_linear(release, number) for number in range(len(pixels))]
        found = [_mean_finding(name, self._compare_all(own, release)) for name, own in guesses.items()]
        if self.attack.labels != "known":
            found[0] = replace(found[0], values={**found[0].values, "label_found": self._labels_by_another(release)})
        if release.originals is not None:
            itself = _mean_finding(PROTECTED, self._compare_all(list(pixels), release))
            values = {name: value for name, value in itself.values.items() if name.endswith(TO_ORIGINAL)}
            found.append(Finding(PROTECTED, values, itself.pictures))
        return found

    def summary(self, rows: Sequence[Finding], controls: Sequence[Finding]) -> Mapping[str, Value]:
        """Means over pictures with a signal, their gaps to the controls, and Spearman's rho over the pictures: of
        gradient similarity and of every predictor with data similarity. The MSE ranks as the PSNR does."""
        signal = [row for row in rows if row.values["signal"] == SIGNAL]
        said: dict[str, Value] = {"pictures": len(rows), "without_signal": len(rows) - len(signal)}
        measures = [name for name in MEASURES if name in rows[0].values]
        for name in ("gradient_cosine", "gradient_l2", *measures, *(name + TO_ORIGINAL for name in measures)):
            said[f"mean_{name}"] = _mean(signal, name)
        if "label_found" in rows[0].values:
            said["labels_found"] = _mean(signal, "label_found")
        by_name = {control.name: control for control in controls}
        for control, short in ((ANOTHER, "another"), (MEAN, "mean_picture"), (PROTECTED, "protected")):
            for name in ("psnr", "ssim"):
                column = name + TO_ORIGINAL if control == PROTECTED else name
                if control in by_name:
                    said[f"{column}_over_{short}"] = _gap(said[f"mean_{column}"], by_name[control].values.get(column))
        likeness = ("psnr", "ssim", "lpips") if self.lpips else ("psnr", "ssim")
        for closeness in ("gradient_cosine", "gradient_l2"):
            said |= {f"rho_{closeness}_{name}": _rho(signal, closeness, name) for name in likeness}
        if self.risks:
            said |= {f"rho_{name}_psnr": _rho(signal, name, "psnr") for name in PREDICTORS}
        return {name: value for name, value in said.items() if value is not None or not name.endswith(TO_ORIGINAL)}

    def _match(self, release: GradientRelease, number: int) -> Match | None:
        sent, batch = release.gradient(number), release.batches[number]
        if not has_signal(sent):
            return None
        network = client(release.network, release.mode, self.attack.dtype)
        labels: Tensor | None = None
        if self.attack.labels != "joint":
            recovered = self.attack.labels == "recovered"
            labels = recover_labels(network, sent, len(batch)) if recovered else batch.labels
        match = match_gradient(
            network,
            sent,
            self.attack,
            batch.pixels.shape,
            labels=labels,
            statistics=self._statistics(network, batch.pixels),
            imitate=release.defense.imitate,
            seed=self.seed * 1_000_003 + number,
        )
        return match._replace(pixels=match.pixels.cpu().float(), labels=match.labels.cpu())

    def _statistics(self, network: nn.Module, pixels: Tensor) -> Statistics | None:
        if not self.attack.statistics_weight:
            return None
        if self.attack.statistics == "running":
            return running_statistics(network)
        parameter = next(network.parameters())
        return batch_statistics(network, pixels.to(parameter))

    def _statistics_said(self, release: GradientRelease) -> str:
        if not self.attack.statistics_weight:
            return "It makes no use of batch norm statistics."
        if not running_statistics(release.network):
            return "The network has no batch norm, so that the attack's term for its statistics is idle."
        if self.attack.statistics == "running":
            return "It uses the running statistics of the batch norms, which are public with the network."
        return "It is given the batch norm statistics of the very batch, as a client that sends its buffers gives them."

    def _rows(self, release: GradientRelease, number: int, match: Match | None) -> list[Finding]:
        batch, original = release.batches[number], release.original_batches[number]
        compared = compare(match.pixels if match else None, batch.pixels, original, lpips=self.lpips)
        cosine, distance = _gradient_likeness(release, batch, match) if match else (None, None)
        labels = _found(batch.labels.tolist(), match.labels.tolist()) if match else [None] * len(batch)
        rows = []
        for name, (figures, pictures), found in zip(batch.names, compared, labels, strict=True):
            values: dict[str, Value] = {"signal": SIGNAL if match else NO_SIGNAL}
            values |= {"gradient_cosine": cosine, "gradient_l2": distance, **figures}
            if self.attack.labels != "known":
                values["label_found"] = found
            if self.risks:
                risk = self.risks.get(name)
                values |= risk.values() if risk else dict.fromkeys(PREDICTORS)
            rows.append(Finding(name, values, pictures))
        return rows

    def _labels_by_another(self, release: GradientRelease) -> float | None:
        """The share of labels that another batch's gradient gives."""
        pairs = zip(release.batches, [*self._matches[1:], self._matches[0]], strict=True)
        hits = [_found(batch.labels.tolist(), match.labels.tolist()) for batch, match in pairs if match]
        return sum(map(sum, hits)) / sum(map(len, hits)) if hits else None

    def _compare_all(self, guesses: Sequence[Tensor | None], release: GradientRelease) -> list[Compared]:
        triples = zip(guesses, release.batches, release.original_batches, strict=True)
        return [
            one
            for guess, batch, original in triples
            if guess is not None
            for one in compare(guess, batch.pixels, original, lpips=self.lpips)
        ]


def _gradient_likeness(release: GradientRelease, batch: Pictures, match: Match) -> tuple[float, float]:
    """Cosine, and relative L2 distance, of the reconstruction's gradient to the true one."""
    true, own = (
        flat(release.clean_gradient(pixels, labels)).double()
        for pixels, labels in ((batch.pixels, batch.labels), (match.pixels, match.labels))
    )
    return F.cosine_similarity(true, own, dim=0).item(), ((own - true).norm() / true.norm()).item()


def _by_linear(release: GradientRelease, number: int) -> Tensor | None:
    """The picture as read off the gradient of a linear classifier, random weights, under the release's defence."""
    pixels = release.pictures.pixels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(release.seed)
        linear = nn.Sequential(nn.Flatten(), nn.Linear(pixels[0].numel(), release.pictures.classes))
    sent = replace(release, network=linear).gradient(number)
    if not has_signal(sent) or not sent[1].any():
        return None
    return read_linear(*sent).view(1, *pixels.shape[1:]).clamp(0, 1).cpu()


def _found(truth: Sequence[int], found: Sequence[int]) -> list[bool]:
    """For each label of a batch whether it is among those found, each of which counts once."""
    left = Counter(found)
    answers = []
    for label in truth:
        answers.append(left[label] > 0)
        left[label] -= 1
    return answers


def _mean_finding(name: str, compared: Sequence[Compared]) -> Finding:
    """The means of all figures, with the pictures of the first."""
    if not compared:
        return Finding(name, {"signal": NO_SIGNAL})
    parts = [Finding(name, figures) for figures, _ in compared]
    return Finding(name, {key: _mean(parts, key) for key in compared[0][0]}, compared[0][1])


def _mean(rows: Sequence[Finding], name: str) -> float | None:
    values = [float(value) for row in rows if (value := row.values.get(name)) is not None]
    return sum(values) / len(values) if values else None


def _gap(first: Value, second: Value) -> float | None:
    return None if first is None or second is None else float(first) - float(second)


def _rho(rows: Sequence[Finding], first: str, second: str) -> float | None:
    pairs = [(row.values.get(first), row.values.get(second)) for row in rows]
    known = [(float(a), float(b)) for a, b in pairs if a is not None and b is not None]
    return rank_correlation([a for a, _ in known], [b for _, b in known])
