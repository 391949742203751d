"""Audit of shared gradients: one report for each defense of the client and each attack of the adversary.

After "Towards auditing gradient privacy risks", with the attacks of `matching`, the defenses of `defenses` and the
attack-free predictors of `risk`.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

from torch import Tensor, nn

from onlymymodel.errors import UserError, did_you_mean
from onlymymodel.evaluate.audits.gradients.adversary import GradientAdversary
from onlymymodel.evaluate.audits.gradients.defenses import parse_defense
from onlymymodel.evaluate.audits.gradients.matching import ATTACKS, Attack
from onlymymodel.evaluate.audits.gradients.release import GradientRelease
from onlymymodel.evaluate.audits.gradients.risk import gradient_risks
from onlymymodel.evaluate.audits.options import NO_DEFENSE, GradientOptions, Mode
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.ranking import rank_correlation
from onlymymodel.evaluate.audits.report import AuditReport, audit_release

DEFAULTS = GradientOptions()


def gradient_reports(
    network: nn.Module,
    pictures: Pictures,
    *,
    attacks: Sequence[str | Attack] = DEFAULTS.attacks,
    defenses: Sequence[str] = (NO_DEFENSE,),
    mode: Mode = DEFAULTS.mode,
    batch: int = DEFAULTS.batch,
    local_steps: int = DEFAULTS.local_steps,
    local_rate: float = DEFAULTS.local_rate,
    restarts: int = DEFAULTS.restarts,
    originals: Tensor | None = None,
    predictors: bool = True,
    lpips: bool = False,
    labeled_by_network: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> list[AuditReport]:
    """Audit the gradients of a network at some pictures, and return a report for each defense and attack.

    Args:
        network: (B,C,S,S) in [0,1] -> (B,classes) logits; smooth activations give gradients that can be matched.
        pictures: see `GradientRelease`.
        mode: see `GradientRelease`.
        batch: see `GradientRelease`.
        local_steps: see `GradientRelease`.
        local_rate: see `GradientRelease`.
        restarts: number of initializations of every attack beyond the first, more than its own number of them.
        attacks: names from `ATTACKS`, or settings of one's own.
        defenses: texts for `parse_defense`.
        originals: (N,C,S,S), if `pictures` are protected versions of them: does the gradient of a protected picture
            reveal the original?
        predictors: whether to compute those of `gradient_risk` for each picture, which takes seconds each.
        lpips: whether to measure LPIPS, which needs the extra.
        labeled_by_network: whether the labels are the network's own answers, which the report then says.
        seed: seed of everything that is drawn.

    Raises:
        UserError: an unknown attack or defense, too few pictures, or a missing extra.
    """
    rank_correlation((0.0, 1.0, 2.0), (0.0, 1.0, 2.0))  # without SciPy, fail before minutes of work
    named = [attack if isinstance(attack, Attack) else _attack(attack) for attack in attacks]
    chosen = [replace(attack, restarts=attack.restarts + restarts) for attack in named]
    releases = [
        GradientRelease(
            network,
            pictures,
            mode,
            batch,
            parse_defense(defense),
            originals,
            local_steps,
            local_rate,
            seed,
            labeled_by_network,
        )
        for defense in defenses
    ]
    risks = gradient_risks(network, pictures, mode=mode, seed=seed, progress=progress) if predictors else {}
    reports = []
    for release in releases:
        for attack in chosen:
            adversary = GradientAdversary(attack, risks, lpips, seed)
            report = audit_release(release, adversary, progress=progress)
            reports.append(replace(report, settings={**report.settings, "attack": asdict(attack)}))
    return reports


def _attack(name: str) -> Attack:
    if name not in ATTACKS:
        raise UserError(f"unknown attack on gradients {name!r}{did_you_mean(name, ATTACKS)}")
    return ATTACKS[name]
