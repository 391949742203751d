"""A `Protector` as an attack of torchattacks, for code that compares such attacks (`pip install torchattacks`)."""

try:
    from torchattacks.attack import Attack
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("this adapter needs torchattacks: pip install torchattacks", name=error.name) from error

from torch import Tensor

from onlymymodel.protect.attack.uint8 import to_float, to_uint8
from onlymymodel.protector import Protector


class ProtectorAttack(Attack):  # type: ignore[misc]
    """Protects photos as a `Protector` does; its authorized model takes the place of the attack's model.

    Unlike attacks on that model, it keeps the model's answer, and misleads the stand-ins of the protector.

    Example::

        attack = ProtectorAttack(Protector(authorized=mine, surrogates=[first, second], epsilon=8))
        protected = attack(images, labels)

    Args:
        protector: models, budget and recipe.
    """

    def __init__(self, protector: Protector) -> None:
        super().__init__("OnlyMyModel", protector.context.authorized)
        self.protector = protector

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the protected photos.

        Args:
            images: (B,C,H,W) in [0,1], C 1 or 3; rounded to 8 bits.
            labels: (B,) long, the classes that the authorized model has to keep.

        Returns:
            (B,C,H,W) in [0,1], on 8-bit levels; a photo without a protected version is the original.
        """
        return to_float(self.protector.protect_batch(to_uint8(images), labels).pixels).to(images)
