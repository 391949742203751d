"""The adversary of the gradient audit, who gets clients' gradients and reconstructs the pictures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from onlymymodel.errors import number_of
from onlymymodel.evaluate.audits.gradients.client_gradient import (
    Statistics,
    batch_statistics,
    client_copy,
    has_signal,
    invert_linear_layer,
    recover_labels,
    running_statistics,
)
from onlymymodel.evaluate.audits.gradients.comparison import (
    MAX_PSNR,
    MEASURES,
    TO_ORIGINAL,
    Comparison,
    compare_batch,
)
from onlymymodel.evaluate.audits.gradients.matching import Attack, Match, match_gradient
from onlymymodel.evaluate.audits.gradients.release import GradientRelease
from onlymymodel.evaluate.audits.gradients.risk import MAX_EXACT, PREDICTORS, GradientRisk
from onlymymodel.evaluate.audits.gradients.trajectory import gradient_similarity, similarity_series
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.ranking import correlate_rows
from onlymymodel.evaluate.audits.report import AuditRow, Findings, Value
from onlymymodel.evaluate.audits.similarity import SIMILARITY_DEFINITION
from onlymymodel.progress import track
from onlymymodel.protect.budget.distortion import batch_psnr, batch_ssim

# names of the controls
OTHER_GRADIENT, MEAN_PICTURE = "another batch's gradient", "mean of the other pictures"
LINEAR_CLASSIFIER, PROTECTED = "a linear classifier instead, in closed form", "the protected picture itself"
NO_SIGNAL = "no signal: the gradient is zero or not finite, which does not make the picture private"
SIGNAL = "yes"
MEAN_PICTURE_COLUMNS = ("psnr_mean_picture", "ssim_mean_picture")


@dataclass(frozen=True)
class GradientAdversary:
    """Gradient inversion by gradient matching on each batch's gradient.

    Attributes:
        attack: settings of gradient matching.
        risks: attack-free predictors by the names of pictures, to be correlated with the reconstructions; may be empty.
        lpips: whether to measure LPIPS of the pictures as displayed (small ones enlarged), which needs the extra.
        seed: seed of the initializations.
    """

    attack: Attack
    risks: Mapping[str, GradientRisk | None] = field(default_factory=dict)
    lpips: bool = False
    seed: int = 0

    @property
    def name(self) -> str:
        """Name of the attack."""
        return self.attack.name

    def assumptions(self, release: GradientRelease) -> Sequence[str]:
        """Return what the adversary is given, and how far the attack goes."""
        attack = self.attack
        labels = {
            "known": "are given to the adversary",
            "recovered": "are read from the last layer's gradient",
            "joint": "are optimized along with the pixels",
        }[attack.labels]
        sentences = [
            f"The network is in {release.mode} mode, without dropout; its weights are known, and so is the size of the "
            f"pictures; the loss is the mean cross-entropy over a batch of {release.batch}; the labels {labels}.",
            self._statistics_assumption(release),
            f"Defense: {release.defense.name}. The adversary knows the defense, but not the noise that was drawn, and "
            "applies to its own gradient what it can. Noise of `noise` is a share of each gradient's own norm, "
            "which is not differential privacy; that of `dp` is absolute.",
            f"{attack.steps} steps from {number_of(1 + attack.restarts, 'initialization')}: a longer attack may "
            "recover more, so a low similarity is no proof of privacy. Reconstructions are compared clipped to [0, 1].",
            "gradient_cosine and gradient_l2 (relative) compare the reconstruction's gradient with the true one before "
            f"any defense. PSNR: {SIMILARITY_DEFINITION['psnr']}, at most {MAX_PSNR:g} dB. "
            f"SSIM: {SIMILARITY_DEFINITION['ssim']}.",
            "Spearman's rho is over the pictures, with its p-value and n; predictors of the risk are judged by its "
            "sign and p, which takes 30 pictures or more.",
        ]
        side = release.pictures.pixels.shape[-1]
        sentences.append(
            f"Pictures have a side of {side} pixels; larger ones are harder to reconstruct, so that for photos of full "
            "size this overstates the danger."
        )
        if release.labeled_by_network:
            sentences.append(
                "The labels are the network's own answers, with which gradients are smaller than with the true labels: "
                "this understates the danger."
            )
        if release.local_steps > 1:
            sentences.append(
                f"An update is the change of the weights by {release.local_steps} local steps of SGD on the whole "
                f"batch at rate {release.local_rate:g}, over rate and steps; the adversary knows both and makes the "
                "same steps. Predictors are of a single gradient."
            )
        if release.batch > 1:
            sentences.append("Within a batch reconstructions are matched to pictures by least mean squared error.")
        if self.risks:
            sentences.append(
                "Predictors are computed for each picture alone, in float64, with its true label. jacobian_norm, s_max "
                "and s_min_cosine are of the gradient without the defense; noise_bound is the least mean squared error "
                "of a linear estimate at the noise of this defense, for pictures of the audited variance around their "
                f"mean; above {MAX_EXACT} entries of a picture s_min_cosine is an upper bound (LOBPCG)."
            )
        return sentences

    def findings(self, release: GradientRelease, *, progress: bool) -> Findings:
        """Reconstruct every batch, and compare the reconstructions with the pictures and with the controls."""
        matches, means = self.reconstruct(release, progress=progress), _means_of_others(release)
        rows = [
            row
            for index, (match, mean) in enumerate(zip(matches, means, strict=True))
            for row in self._rows(release, index, match, mean)
        ]
        return Findings(rows, self._controls(release, matches, means), similarity_series(release, matches))

    def reasons(self, release: GradientRelease) -> Mapping[str, str]:
        """Return why a measurement may have no value."""
        few = f"fewer than three pictures, or one side does not vary (n = {len(release.batches) * release.batch})"
        return {
            "noise_bound": "the defense adds no Gaussian noise to the whole gradient, so that there is no such bound",
            "rho_*": few,
            "p_*": few,
            "*_over_*": "there was nothing to attack, so there is no gap to the control",
            "labels_found": NO_SIGNAL,
            "*": NO_SIGNAL,
        }

    def reconstruct(self, release: GradientRelease, *, progress: bool) -> list[Match | None]:
        """Match the gradient of each batch; None for a gradient without a signal."""
        name = f"{self.name}, {release.defense.name}"
        task = track(range(len(release.batches)), name, unit="gradient", progress=progress)
        return [self._match(release, index) for index in task]

    def summary(self, rows: Sequence[AuditRow], controls: Sequence[AuditRow]) -> Mapping[str, Value]:
        """Return means over the pictures with a signal, gaps to the controls, and Spearman's rho over the pictures.

        Rho is of gradient similarity, and of every predictor, with data similarity. The MSE ranks as the PSNR does.
        """
        signal = [row for row in rows if row.values["signal"] == SIGNAL]
        summary: dict[str, Value] = {"pictures": len(rows), "without_signal": len(rows) - len(signal)}
        measures = [name for name in MEASURES if name in rows[0].values]
        for name in ("gradient_cosine", "gradient_l2", *measures, *(name + TO_ORIGINAL for name in measures)):
            summary[f"mean_{name}"] = _mean(signal, name)
        if "label_found" in rows[0].values:
            summary["labels_found"] = _mean(signal, "label_found")
        by_name = {control.name: control for control in controls}
        for control, short in ((OTHER_GRADIENT, "another"), (MEAN_PICTURE, "mean_picture"), (PROTECTED, "protected")):
            for name in ("psnr", "ssim"):
                column = name + TO_ORIGINAL if control == PROTECTED else name
                if control in by_name:
                    gap = _difference(summary[f"mean_{column}"], by_name[control].values.get(column))
                    summary[f"{column}_over_{short}"] = gap
        similarities = ("psnr", "ssim", "lpips") if self.lpips else ("psnr", "ssim")
        for measure in ("gradient_cosine", "gradient_l2"):
            for name in similarities:
                summary |= correlate_rows(signal, measure, name)
        if self.risks:
            for name in PREDICTORS:
                summary |= correlate_rows(signal, name, "psnr")
        return {name: value for name, value in summary.items() if value is not None or not name.endswith(TO_ORIGINAL)}

    def _controls(
        self, release: GradientRelease, matches: Sequence[Match | None], means: Sequence[Tensor]
    ) -> list[AuditRow]:
        """Return means over the pictures for controls where nothing, or everything, can be recovered.

        Nothing: the reconstruction from another batch's gradient; the mean of the other pictures, without a gradient.
        Everything, for a batch of one: a linear classifier's gradient.
        """
        pixels = torch.stack([batch.pixels for batch in release.batches])
        of_other_batch = [*matches[1:], matches[0]]
        guesses: dict[str, Sequence[Tensor | None]] = {
            OTHER_GRADIENT: [match.pixels if match else None for match in of_other_batch],
            MEAN_PICTURE: [mean.expand_as(batch) for mean, batch in zip(means, pixels, strict=True)],
        }
        if release.batch == 1:
            guesses[LINEAR_CLASSIFIER] = [_invert_linear_classifier(release, index) for index in range(len(pixels))]
        controls = [_mean_row(name, self._compare_all(guess, release)) for name, guess in guesses.items()]
        if self.attack.labels != "known":
            share = _share_of_labels(release.batches, of_other_batch)
            controls[0] = replace(controls[0], values={**controls[0].values, "label_found": share})
        if release.originals is not None:
            protected = _mean_row(PROTECTED, self._compare_all(list(pixels), release))
            values = {name: value for name, value in protected.values.items() if name.endswith(TO_ORIGINAL)}
            controls.append(AuditRow(PROTECTED, values, protected.pictures))
        return controls

    def _match(self, release: GradientRelease, index: int) -> Match | None:
        sent, batch, attack = release.gradient(index), release.batches[index], self.attack
        if not has_signal(sent):
            return None
        network = client_copy(release.network, release.mode, attack.dtype)
        labels: Tensor | None = None
        if attack.labels != "joint":
            labels = recover_labels(network, sent, len(batch)) if attack.labels == "recovered" else batch.labels
        match = match_gradient(
            network,
            sent,
            attack,
            batch.pixels.shape,
            labels=labels,
            statistics=self._statistics(network, batch.pixels),
            imitate=release.defense.imitate,
            update=release.update,
            seed=self.seed * 1_000_003 + index,
        )
        snapshots = {step: pixels.cpu().float() for step, pixels in match.snapshots.items()}
        return match._replace(pixels=match.pixels.cpu().float(), labels=match.labels.cpu(), snapshots=snapshots)

    def _statistics(self, network: nn.Module, pixels: Tensor) -> Statistics | None:
        if not self.attack.statistics_weight:
            return None
        if self.attack.statistics == "running":
            return running_statistics(network)
        return batch_statistics(network, pixels.to(next(network.parameters())))

    def _statistics_assumption(self, release: GradientRelease) -> str:
        if not self.attack.statistics_weight:
            return "The attack does not use batch norm statistics."
        if not running_statistics(release.network):
            return "The network has no batch norm, so the attack's term for its statistics has no effect."
        if self.attack.statistics == "running":
            return "The attack uses the running statistics of the batch norms, which are public with the network."
        return "The attack gets the batch norm statistics of the very batch, which a client that sends buffers reveals."

    def _rows(self, release: GradientRelease, index: int, match: Match | None, mean: Tensor) -> list[AuditRow]:
        batch, originals = release.batches[index], release.original_batches[index]
        comparisons = compare_batch(match.pixels if match else None, batch.pixels, originals, lpips=self.lpips)
        guesses = mean.expand_as(batch.pixels)
        reference = batch.pixels if originals is None else originals
        cosine, distance = gradient_similarity(release, batch, match.pixels, match.labels) if match else (None, None)
        hits = _label_hits(batch.labels.tolist(), match.labels.tolist()) if match else [None] * len(batch)
        rows = []
        baselines = zip(batch_psnr(guesses, reference).tolist(), batch_ssim(guesses, reference).tolist(), strict=True)
        for name, (measures, pictures), hit, baseline in zip(batch.names, comparisons, hits, baselines, strict=True):
            values: dict[str, Value] = {"signal": SIGNAL if match else NO_SIGNAL}
            values |= {"gradient_cosine": cosine, "gradient_l2": distance, **measures}
            values |= dict(zip(MEAN_PICTURE_COLUMNS, baseline, strict=True))
            if self.attack.labels != "known":
                values["label_found"] = hit
            if self.risks:
                risk = self.risks.get(name)
                values |= risk.values(release.defense) if risk else dict.fromkeys(PREDICTORS)
            rows.append(AuditRow(name, values, pictures))
        return rows

    def _compare_all(self, guesses: Sequence[Tensor | None], release: GradientRelease) -> list[Comparison]:
        """Compare the guesses of all batches with their pictures; batches without a guess are left out."""
        triples = zip(guesses, release.batches, release.original_batches, strict=True)
        return [
            comparison
            for guess, batch, originals in triples
            if guess is not None
            for comparison in compare_batch(guess, batch.pixels, originals, lpips=self.lpips)
        ]


def _means_of_others(release: GradientRelease) -> list[Tensor]:
    """Return for each batch the (C,S,S) mean of the pictures of all other batches."""
    pixels = torch.stack([batch.pixels for batch in release.batches])
    return list((pixels.sum((0, 1)) - pixels.sum(1)) / (len(pixels) - 1) / release.batch)


def _invert_linear_classifier(release: GradientRelease, index: int) -> Tensor | None:
    """Return the picture as read from the gradient of a random linear classifier under the release's defense."""
    pixels = release.pictures.pixels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(release.seed)
        linear = nn.Sequential(nn.Flatten(), nn.Linear(pixels[0].numel(), release.pictures.classes))
    sent = replace(release, network=linear).gradient(index)
    if not has_signal(sent) or not sent[1].any():
        return None
    return invert_linear_layer(*sent).view(1, *pixels.shape[1:]).clamp(0, 1).cpu()


def _label_hits(truth: Sequence[int], recovered: Sequence[int]) -> list[bool]:
    """Return for each label of a batch whether it was recovered; each recovered label counts once."""
    remaining = Counter(recovered)
    hits = []
    for label in truth:
        hits.append(remaining[label] > 0)
        remaining[label] -= 1
    return hits


def _share_of_labels(batches: Sequence[Pictures], matches: Sequence[Match | None]) -> float | None:
    """Return the share of the batches' labels that the matches have; None without matches."""
    pairs = zip(batches, matches, strict=True)
    hits = [_label_hits(batch.labels.tolist(), match.labels.tolist()) for batch, match in pairs if match]
    return sum(map(sum, hits)) / sum(map(len, hits)) if hits else None


def _mean_row(name: str, comparisons: Sequence[Comparison]) -> AuditRow:
    """Return the means of all measures, with the pictures of the first comparison."""
    if not comparisons:
        return AuditRow(name, {"signal": NO_SIGNAL})
    rows = [AuditRow(name, comparison.values) for comparison in comparisons]
    first = comparisons[0]
    return AuditRow(name, {key: _mean(rows, key) for key in first.values}, first.pictures)


def _mean(rows: Sequence[AuditRow], name: str) -> float | None:
    """Return the mean of a measure over the rows that have it."""
    values = [float(value) for row in rows if (value := row.values.get(name)) is not None]
    return sum(values) / len(values) if values else None


def _difference(first: Value, second: Value) -> float | None:
    return None if first is None or second is None else float(first) - float(second)
