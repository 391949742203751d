"""Attacks of foolbox as they come (`pip install foolbox`)."""

import math
from typing import Any

from torch import Tensor

from onlymymodel.protect.attack.external import Attack, AttackInputs


class FoolboxAttack(Attack):
    """An attack of foolbox.

    Example::

        FoolboxAttack(foolbox.attacks.LinfPGD(steps=20))

    Args:
        attack: its epsilon is the largest change of a pixel where it measures the l-infinity distance, and the budget's
            `l2`, or else the length of a change by epsilon everywhere, where it measures the Euclidean one.
    """

    def __init__(self, attack: Any) -> None:
        self.attack = attack

    def propose(self, batch: AttackInputs) -> Tensor:
        """See `Attack`."""
        from foolbox.distances import l2
        from foolbox.models.pytorch import PyTorchModel

        model = PyTorchModel(batch.model, bounds=(0, 1), device=batch.photos.device)
        epsilon = batch.epsilon
        if self.attack.distance is l2:
            epsilon = batch.budgets[0].l2 or batch.epsilon * math.sqrt(batch.photos[0].numel())
        adversarial: Tensor = self.attack(model, batch.photos, batch.classes, epsilons=epsilon)[1]
        return adversarial - batch.photos
