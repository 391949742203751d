"""Small networks trained by the audits: repeatable, and trained as plain torch would."""

import pytest
import torch
import torch.nn.functional as F

from onlymymodel.evaluate.audits.networks import accuracy, small_network, train_network
from onlymymodel.evaluate.audits.options import NetworkKind
from onlymymodel.evaluate.audits.pictures import digit_pictures


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "cnn", "vit"])
def test_small_networks_are_reproducible_and_learn(kind: NetworkKind) -> None:
    pictures = digit_pictures(16).take(range(100))
    nets = [small_network(kind, 1, 16, 10, seed=3) for _ in range(2)]
    epochs: list[int] = []
    losses = [
        train_network(net, pictures, epochs=3, progress=False, on_epoch=lambda e, _: epochs.append(e)) for net in nets
    ]
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]
    with torch.no_grad():
        right = (nets[0](pictures.pixels).argmax(1) == pictures.labels).sum().item()
    assert accuracy(nets[0], pictures) == right / 100
    assert not nets[0].training
    assert epochs == 2 * [1, 2, 3]


def test_loss_of_the_first_step_equals_plain_torch() -> None:
    pictures = digit_pictures(16).take(range(20))
    net = small_network("cnn", 1, 16, 10, batch_norm=True, activation="sigmoid")
    with torch.no_grad():
        expected = F.cross_entropy(net.train()(pictures.pixels), pictures.labels).item()
    assert train_network(net, pictures, epochs=1, progress=False) == [pytest.approx(expected)]


def test_batch_norm_gets_no_batch_of_one_picture() -> None:
    net = small_network("mlp", 1, 16, 10, batch_norm=True)
    assert len(train_network(net, digit_pictures(16).take(range(33)), epochs=1, progress=False)) == 1


def test_transformer_refuses_an_unsupported_size() -> None:
    with pytest.raises(ValueError, match="8 divides; got 20"):
        small_network("vit", 1, 20, 10)
