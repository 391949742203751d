"""`Protector` as an attack of torchattacks, against calling it directly."""

import pytest
import torch
import torchattacks
from toys import mine, photos, theirs

from onlymymodel import Protector
from onlymymodel.interop.protector_attack import ProtectorAttack
from onlymymodel.protect.attack.uint8 import to_float


@pytest.fixture
def protector() -> Protector:
    return Protector(authorized=mine(), surrogates=[theirs()], epsilon=16, recipe="exact", device="cpu")


def test_it_returns_the_photos_of_the_protector(protector: Protector) -> None:
    pixels = photos(3)
    labels = protector.context.authorized(to_float(pixels)).argmax(1)
    direct = protector.protect_batch(pixels, labels)
    attack = ProtectorAttack(protector)
    assert isinstance(attack, torchattacks.attack.Attack)
    returned = attack(to_float(pixels), labels)
    assert torch.equal(returned, to_float(direct.pixels))
    assert direct.written.any()
    assert not torch.equal(returned, to_float(pixels))
    assert torch.equal(attack.model(returned).argmax(1), labels)


def test_it_stands_beside_attacks_of_the_library(protector: Protector) -> None:
    """The same loop over attacks; only one of them keeps the answer of the model that it is given."""
    images = to_float(photos(3))
    labels = protector.context.authorized(images).argmax(1)
    attacks = [ProtectorAttack(protector), torchattacks.PGD(protector.context.authorized, eps=16 / 255, steps=5)]
    kept = [int((attack.model(attack(images, labels)).argmax(1) == labels).sum()) for attack in attacks]
    assert kept == [3, 0]


def test_it_cannot_be_targeted(protector: Protector) -> None:
    with pytest.raises(ValueError, match="not supported"):
        ProtectorAttack(protector).set_mode_targeted_by_label()
