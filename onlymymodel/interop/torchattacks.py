"""Attacks of torchattacks as they come (`pip install torchattacks`)."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from onlymymodel.protect.attack.external import Attack, AttackInputs


class TorchattacksAttack(Attack):
    """An attack of torchattacks, or any other that maps photos and labels to adversarial photos.

    Example::

        TorchattacksAttack(lambda model, epsilon: torchattacks.MIFGSM(model, eps=epsilon, alpha=epsilon / 10, steps=10))

    Args:
        make: makes the attack for a model, which maps pixels in [0,1] to logits, and the largest change of a pixel, in
            pixels of [0,1].
    """

    def __init__(self, make: Callable[[nn.Module, float], Any]) -> None:
        self.make = make

    def propose(self, batch: AttackInputs) -> Tensor:
        """See `Attack`."""
        attack = self.make(batch.model, batch.epsilon)
        adversarial: Tensor = attack(batch.photos, batch.classes)
        return adversarial - batch.photos
