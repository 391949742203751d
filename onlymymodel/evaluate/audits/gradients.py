"""What gradients give away: a client of federated learning sends one, and somebody wants the pictures back.

After "Towards auditing gradient privacy risks", with the attacks of `gradient_matching`, the defences of
`gradient_defenses` and the attack-free predictors of `gradient_risk`.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.audit import AuditReport, audit_release
from onlymymodel.evaluate.audits.client_gradient import Mode
from onlymymodel.evaluate.audits.gradient_adversary import GradientAdversary
from onlymymodel.evaluate.audits.gradient_defenses import parse_defense
from onlymymodel.evaluate.audits.gradient_matching import ATTACKS, Attack
from onlymymodel.evaluate.audits.gradient_release import GradientRelease
from onlymymodel.evaluate.audits.gradient_risk import gradient_risks
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.ranking import rank_correlation
from onlymymodel.surrogates.uri import did_you_mean


def gradient_reports(
    network: nn.Module,
    pictures: Pictures,
    *,
    attacks: Sequence[str | Attack] = ("dlg", "inverting"),
    defenses: Sequence[str] = ("none",),
    mode: Mode = "eval",
    batch: int = 1,
    originals: Tensor | None = None,
    predictors: bool = True,
    lpips: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> list[AuditReport]:
    """Audit gradients: a report for each defence and attack.

    Args:
        network: (B,C,S,S) in [0,1] -> (B,classes) logits; smooth activations give gradients that can be matched.
        attacks: names from `ATTACKS`, or settings of one's own.
        defenses: as `parse_defense` reads them.
        originals: (N,C,S,S), where `pictures` are protected versions of them: does a protected picture's gradient
            give the original away?
        predictors: compute those of `gradient_risk` for each picture; seconds each.
        lpips: with LPIPS, which needs the extra.

    What is not named here is as in `GradientRelease`.

    Raises:
        UserError: an attack or a defence of no such name, too few pictures, an extra that is missing.
    """
    rank_correlation((0.0, 1.0, 2.0), (0.0, 1.0, 2.0))  # without SciPy that fails now, not after minutes
    chosen = [attack if isinstance(attack, Attack) else _attack(attack) for attack in attacks]
    releases = [
        GradientRelease(network, pictures, mode, batch, parse_defense(defense), originals, seed) for defense in defenses
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
        raise UserError(f"no attack on gradients is called {name!r}{did_you_mean(name, ATTACKS)}")
    return ATTACKS[name]
