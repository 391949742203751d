"""Audit of intermediate outputs: attack-free measures of each layer beside what an adversary recovers.

After "Intermediate Outputs Are More Sensitive Than You Think". Its attack-free measures are in `figures`; the two
attacks that they are compared with, a learned inverter and membership inference, are our choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from onlymymodel.evaluate.audits.jacobian import MAX_EXACT, Function
from onlymymodel.evaluate.audits.layers.attacks import (
    AttackSplit,
    closer_of,
    infer_membership,
    infer_membership_of_nonmembers,
    mean_similarity,
    reconstruct,
    release_outputs,
    shares_revealed,
    split_by_person,
)
from onlymymodel.evaluate.audits.layers.figures import ATTACK_FREE, attack_free_measures
from onlymymodel.evaluate.audits.layers.layers import (
    Layer,
    batch_function,
    float64_copy,
    layer_function,
    layer_outputs,
)
from onlymymodel.evaluate.audits.layers.membership import auc_deviation, membership_auc, tpr_at_fpr
from onlymymodel.evaluate.audits.layers.noise_defense import noise_values
from onlymymodel.evaluate.audits.layers.release import LayerRelease
from onlymymodel.evaluate.audits.layers.shadow_membership import LOW_FPR, confidence, shadow_membership
from onlymymodel.evaluate.audits.options import LayerOptions
from onlymymodel.evaluate.audits.pictures import Pictures, display_picture
from onlymymodel.evaluate.audits.ranking import correlate_rows
from onlymymodel.evaluate.audits.refinement import refine
from onlymymodel.evaluate.audits.report import AuditRow, Findings, Value
from onlymymodel.evaluate.audits.similarity import SIMILARITY_DEFINITION
from onlymymodel.progress import track
from onlymymodel.protect.budget.distortion import batch_ssim

# names of the controls
PIXELS, SHUFFLED, MEAN_PICTURE = "the pixels themselves", "inverter of shuffled pairs", "mean picture"
NONMEMBERS, LOSS_THRESHOLD = "non-members against non-members", "loss of the true label"
SHADOWS = "shadow networks (LiRA) on the answer and the true label"
ATTACKED = ("ssim", "psnr", "come_back", "partly", "ssim_refined", "ssim_unrefined")
REFINED = 32  # pictures whose reconstructions are refined with the network


@dataclass(frozen=True)
class LayerAdversary:
    """An adversary who sees one layer's outputs, reconstructs the pictures and infers membership.

    Attributes:
        tau: threshold of the Jacobian's numerical rank, relative to the largest singular value.
        jacobian_pictures: number of pictures at which the Jacobian is taken.
        max_exact: largest min(inputs, outputs) for which a Jacobian is computed as a whole.
        steps: number of training steps of the inverter; with 0 none is trained, and SSIM and PSNR are None.
        refinement: number of steps by which its results are refined with the network itself.
        bound: wanted least error of any estimate from noisy outputs, as a share of the pixels' variance, below 1.
        shadows: number of shadow networks for membership inference, if it is known how to train them.
        seed: seed of the split, the inverter, the attacker and the probes.
    """

    tau: float = 0.1
    jacobian_pictures: int = 2
    max_exact: int = MAX_EXACT
    steps: int = LayerOptions.steps
    refinement: int = LayerOptions.refinement
    bound: float = LayerOptions.bound
    shadows: int = LayerOptions.shadows
    seed: int = 0

    name = "inverter and membership inference, layer by layer"

    def split(self, release: LayerRelease) -> AttackSplit[Pictures]:
        """Return the pictures that the adversary trains on and is evaluated on."""
        return split_by_person(release.nonmembers, release.members, self.seed)

    def assumptions(self, release: LayerRelease) -> Sequence[str]:
        """Return what the adversary knows, and on what it is evaluated."""
        pictures = self.split(release)
        sentences = [
            "The network is in eval mode; the adversary sees one layer's whole output for one picture, without noise "
            "or rounding.",
            f"Attack-free measures: over {len(pictures.test)} pictures, the degrees of freedom estimated without the "
            f"bias of so few; Jacobians at {min(self.jacobian_pictures, len(pictures.test))} of them in float64, with "
            f"ranks counted above {self.tau:g} of the largest singular value.",
            "Over the layers of one network measures and attacks both change with depth: a rank correlation shows that "
            "they change together, not that one predicts the other elsewhere.",
        ]
        if self.steps:
            sentences += [
                f"Its inverter, a small decoder, is trained for {self.steps} steps on {len(pictures.train)} pictures "
                "of its own that the network was not trained on, and is evaluated on "
                f"{len(pictures.test)} pictures of other people (groups); a stronger one may recover more. An "
                f"adversary who has the network up to the layer refines the first {min(REFINED, len(pictures.test))} "
                f"results by {self.refinement} steps towards the outputs that it sees; of each the better counts.",
                "noise: by the Fisher information, outputs with this Gaussian noise leave every estimate of the "
                f"picture a mean squared error of {self.bound:.0%} of the pixels' variance or more, if the adversary "
                "knows no more of pictures than mean and variance; the Jacobian is taken as that of the few pictures "
                "above. An inverter trained on other pictures knows more, and shows what it gets (ssim_with_noise).",
                f"SSIM: {SIMILARITY_DEFINITION['ssim']}.",
            ]
        return [*sentences, self._membership_assumption(pictures)]

    def findings(self, release: LayerRelease, *, progress: bool) -> Findings:
        """Measure and attack every layer, and the controls."""
        pictures, precise = self.split(release), float64_copy(release.network)
        rows = []
        for layer in track(release.audited_layers, "layers", unit="layer", progress=progress):
            outputs = release_outputs(partial(layer_outputs, release.network, layer), pictures)
            function = batch_function(release.network, layer)
            row = self._row(layer.name, outputs, layer_function(precise, layer), function, pictures, progress)
            values: dict[str, Value] = {**row.values, "on_device": release.on_device[layer.name]}
            if self.steps:
                values |= noise_values(
                    release.network, layer, row.values["jacobian_square"], outputs, pictures,
                    bound=self.bound, steps=self.steps, seed=self.seed, progress=progress,
                )  # fmt: skip
            rows.append(replace(row, values=values))
        return Findings(rows, self._controls(release, pictures, progress))

    def reasons(self, release: LayerRelease) -> dict[str, str]:
        """Return why a measurement may have no value."""
        known = "no membership inference: it is unknown which pictures the network was trained on (--members)"
        auc = "too few pictures for membership inference" if release.members else known
        return {
            **dict.fromkeys(ATTACKED, "no inverter was trained (--steps 0)"),
            "accuracy_*": "the answers are not logits of the pictures' classes",
            "auc": auc,
            "p_*": "fewer than three layers have both measurements, or one of them is the same in all layers",
            "rho_*": "fewer than three layers have both measurements, or one of them is the same in all layers",
            "variation": "the mean output is 0",
            "noise*": "the Jacobian is 0: no noise is needed",
            "ssim_with_noise": "the Jacobian is 0: no noise is needed",
        }

    def summary(self, rows: Sequence[AuditRow], controls: Sequence[AuditRow]) -> dict[str, Value]:
        """Return Spearman's rho, p and n over layers of every measure with every attack, and extremes of both attacks.

        Ties get their mean rank; None if a measure is missing or the same in all layers. Exact and estimated ranks are
        not compared with each other: those of the larger group count.
        """
        summary: dict[str, Value] = {"layers": len(rows)}
        for attack in ("ssim", "auc"):
            for measure in ATTACK_FREE:
                summary |= correlate_rows(_comparable(rows, measure), measure, attack)
        for attack in ("ssim", "auc"):
            scores = [(float(score), row.name) for row in rows if (score := row.values[attack]) is not None]
            if scores:
                (lowest, _), (highest, layer) = min(scores), max(scores)
                summary |= {f"lowest_{attack}": lowest, f"highest_{attack}": highest, f"highest_{attack}_at": layer}
        bounds = {PIXELS: "ssim_of_the_pixels", SHUFFLED: "ssim_without_a_signal"}
        return summary | {bounds[row.name]: row.values["ssim"] for row in controls if row.name in bounds}

    def measure(
        self, outputs: AttackSplit[Tensor], function: Function, pictures: AttackSplit[Pictures]
    ) -> dict[str, Value]:
        """Return the attack-free measures of one release over the test pictures, with this adversary's settings."""
        points = pictures.test.pixels[: self.jacobian_pictures]
        return attack_free_measures(
            outputs.test, function, points, tau=self.tau, max_exact=self.max_exact, seed=self.seed
        )

    def nonmember_aucs(
        self, network: nn.Module, layers: Sequence[Layer], pictures: AttackSplit[Pictures]
    ) -> list[float]:
        """Return the AUC of membership inference of nonmembers, a control, for each layer with enough pictures."""
        outputs = (release_outputs(partial(layer_outputs, network, layer), pictures) for layer in layers)
        aucs = [infer_membership_of_nonmembers(split, self.seed) for split in outputs]
        return [auc for auc in aucs if auc is not None]

    def _controls(self, release: LayerRelease, pictures: AttackSplit[Pictures], progress: bool) -> list[AuditRow]:
        """Measure the pixels as a release, an inverter of shuffled pairs, the mean picture, and mock members."""
        pixels = release_outputs(lambda pixels: pixels, pictures)
        controls = [self._row(PIXELS, pixels, lambda x: x, lambda x: x, pictures, progress)]
        if self.steps:
            first = release_outputs(partial(layer_outputs, release.network, release.audited_layers[0]), pictures)
            values, _ = reconstruct(first, pictures, steps=self.steps, seed=self.seed, progress=progress, shuffled=True)
            controls.append(AuditRow(SHUFFLED, values))
            mean = pictures.train.pixels.mean(0).expand_as(pictures.test.pixels)
            values = mean_similarity(mean, pictures.test.pixels)
            controls.append(AuditRow(MEAN_PICTURE, values, {"mean": display_picture(mean[0])}))
        if release.members:
            aucs = self.nonmember_aucs(release.network, release.audited_layers, pictures)
            if aucs:
                values = {"auc": sum(aucs) / len(aucs), "lowest_auc": min(aucs), "highest_auc": max(aucs)}
                controls.append(AuditRow(NONMEMBERS, values))
            controls += self._answer_attacks(release, progress)
        return controls

    def _answer_attacks(self, release: LayerRelease, progress: bool) -> list[AuditRow]:
        """Infer membership from the network's answer and the true label, as far as the answers are logits."""
        members, others = release.members, release.nonmembers
        if members is None:
            return []
        try:
            own, other = (confidence(release.network, side) for side in (members, others))
        except ValueError:  # no logits of the pictures' classes
            return []
        values: dict[str, Value] = {"auc": membership_auc(own, other), "tpr": tpr_at_fpr(own, other, LOW_FPR)}
        rows = [AuditRow(LOSS_THRESHOLD, values)]
        if release.retrain and self.shadows:
            found = shadow_membership(
                release.network, members, others, release.retrain, shadows=self.shadows, seed=self.seed,
                progress=progress,
            )  # fmt: skip
            rows.append(AuditRow(SHADOWS, found))
        deviation = auc_deviation(len(members), len(others))
        return [replace(row, values={**row.values, "auc_deviation": deviation}) for row in rows]

    def _row(
        self,
        name: str,
        outputs: AttackSplit[Tensor],
        function: Function,
        of_batch: Function,
        pictures: AttackSplit[Pictures],
        progress: bool,
    ) -> AuditRow:
        """Measure and attack one release.

        Args:
            function: the same release of one picture in float64.
            of_batch: the same release of (N,C,S,S) pictures, differentiable.
        """
        values = self.measure(outputs, function, pictures)
        shown = {}
        if self.steps:
            similarity, reconstructions = reconstruct(
                outputs, pictures, steps=self.steps, seed=self.seed, progress=progress
            )
            values |= similarity
            reconstructions, refined = self._refine(reconstructions, outputs, of_batch, pictures)
            values |= refined
            shown = {"original": pictures.test.pixels[0], "from the outputs": reconstructions[0]}
        else:
            values |= dict.fromkeys(ATTACKED)
        values["auc"] = infer_membership(outputs, self.seed)
        if outputs.test_members is not None:
            values["auc_deviation"] = auc_deviation(len(outputs.test_members), len(outputs.test))
        return AuditRow(name, values, {caption: display_picture(pixels) for caption, pixels in shown.items()})

    def _refine(
        self,
        reconstructions: Tensor,
        outputs: AttackSplit[Tensor],
        of_batch: Function,
        pictures: AttackSplit[Pictures],
    ) -> tuple[Tensor, dict[str, Value]]:
        """Refine the first reconstructions, and return all, the better of each, and the shares that come back."""
        pixels, count = pictures.test.pixels, min(REFINED, len(pictures.test))
        start = reconstructions[:count].to(outputs.test)
        refined = refine(of_batch, outputs.test[:count], start, steps=self.refinement).cpu().float()
        before, after = (batch_ssim(part, pixels[:count]).mean().item() for part in (reconstructions[:count], refined))
        closer = closer_of(reconstructions[:count], refined, pixels[:count])
        reconstructions = torch.cat([closer, reconstructions[count:]])
        mean = pictures.train.pixels.mean(0).expand_as(pixels)
        shares = shares_revealed(reconstructions[:count], mean[:count], pixels[:count])
        return reconstructions, {"ssim_refined": after, "ssim_unrefined": before, **shares}

    def _membership_assumption(self, pictures: AttackSplit[Pictures]) -> str:
        if pictures.train_members is None or pictures.test_members is None:
            return "It is unknown which pictures the network was trained on: no membership inference."
        members, nonmembers = len(pictures.test_members), len(pictures.test)
        deviation = auc_deviation(members, nonmembers)
        return (
            "Its membership attacker, a logistic regression on principal components and the distribution of the "
            f"outputs, without labels, knows {len(pictures.train_members)} members and {len(pictures.train)} "
            f"non-members, and is evaluated on {members} and {nonmembers} of other groups; guessing gives an AUC of "
            f"0.5, with a standard deviation of {deviation:.2f}. Members and non-members are assumed to have the same "
            "distribution; the AUC of the pixels shows whether they do."
        )


def _comparable(rows: Sequence[AuditRow], measure: str) -> Sequence[AuditRow]:
    """Return the rows whose measure was computed in the same way, the larger group if there are two."""
    if measure not in ("jacobian_rank", "stable_rank"):
        return rows
    methods = [row.values["jacobian"] for row in rows]
    return [row for row in rows if row.values["jacobian"] == max(methods, key=methods.count)]
