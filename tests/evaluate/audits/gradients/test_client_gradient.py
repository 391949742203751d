"""Gradients of a client, and what can be read from them in closed form."""

import pytest
import torch
import torch.nn.functional as F
from audit_toys import picture, tiny
from torch import nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.gradients.client_gradient import (
    batch_statistics,
    client_copy,
    client_update,
    flatten_gradient,
    invert_linear_layer,
    loss_gradient,
    recover_labels,
    running_statistics,
)
from onlymymodel.evaluate.audits.networks import small_network


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_loss_gradient_equals_autograd_and_leaves_the_network_unchanged(mode: str) -> None:
    network, x, y = tiny(norm=True), picture(3), torch.tensor([2, 0, 1])
    plain = tiny(norm=True).train(mode == "train")
    expected = torch.autograd.grad(F.cross_entropy(plain(x), y), list(plain.parameters()))
    twin = client_copy(network, "train" if mode == "train" else "eval")
    before = [value.clone() for value in twin.state_dict().values()]
    gradient = loss_gradient(twin, x, y)
    torch.testing.assert_close(list(gradient), list(expected))
    assert all(torch.equal(a, b) for a, b in zip(before, twin.state_dict().values(), strict=True))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_dropout_is_off_in_train_mode() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(36, 4)).double()
    first, second = (loss_gradient(client_copy(network, "train"), picture(), torch.tensor([1])) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert (first[0] != 0).all()


def test_frozen_parameters_have_gradients() -> None:
    network = tiny()
    expected = flatten_gradient(loss_gradient(network, picture(), torch.tensor([1])))
    frozen = loss_gradient(network.requires_grad_(False), picture(), torch.tensor([1]))
    assert torch.equal(flatten_gradient(frozen), expected)


def test_batch_statistics_equal_those_of_batch_norm() -> None:
    network, x = tiny(norm=True).train(), picture(3)
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.momentum = 1.0
    ((mean, variance),) = batch_statistics(network, x)
    assert not torch.allclose(norm.running_mean if norm.running_mean is not None else mean, mean)  # left alone
    network(x)
    ((kept_mean, kept_variance),) = running_statistics(network)
    torch.testing.assert_close(mean, kept_mean)
    torch.testing.assert_close(variance * 27 / 26, kept_variance)  # batch norm keeps the unbiased one
    assert running_statistics(tiny()) == batch_statistics(tiny(), x) == []


@pytest.mark.parametrize("kind", ["mlp", "cnn", "vit"])
@pytest.mark.parametrize("bias", [True, False])
def test_label_of_a_single_picture_is_always_recovered(kind: str, bias: bool) -> None:
    network = small_network("mlp" if kind == "mlp" else "cnn" if kind == "cnn" else "vit", 1, 16, 5, activation="tanh")
    if not bias:
        head = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        head.register_parameter("bias", None)
    for label in range(5):
        gradient = loss_gradient(network, torch.rand(1, 1, 16, 16), torch.tensor([label]))
        assert recover_labels(network, gradient, 1).tolist() == [label]


@pytest.mark.parametrize("bias", [True, False])
def test_labels_of_two_classes_and_of_batches_are_recovered(bias: bool) -> None:
    for labels, classes in (([0], 2), ([1], 2), ([1, 4, 7], 10)):
        network = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, classes, bias=bias)).double()
        gradient = loss_gradient(network, picture(len(labels)), torch.tensor(labels))
        assert recover_labels(network, gradient, len(labels)).tolist() == labels
    if bias:
        repeated = loss_gradient(network, picture(4), torch.tensor([2, 2, 2, 5]))
        assert recover_labels(network, repeated, 4).tolist() == [2, 2, 2, 5]


def test_labels_that_cannot_be_recovered_are_refused() -> None:
    with pytest.raises(UserError, match="has none"):
        recover_labels(nn.Conv2d(1, 1, 1), [torch.zeros(1, 1, 1, 1), torch.zeros(1)], 1)
    with pytest.raises(UserError, match="without a bias"):
        recover_labels(nn.Linear(3, 2, bias=False), [torch.zeros(2, 3)], 3)


def test_input_of_a_linear_layer_is_recovered_in_closed_form() -> None:
    x, layer = torch.rand(1, 7, dtype=torch.float64), nn.Linear(7, 3).double()
    torch.testing.assert_close(invert_linear_layer(*loss_gradient(layer, x, torch.tensor([2]))), x[0])
    with pytest.raises(ValueError, match="zero"):
        invert_linear_layer(torch.zeros(3, 7), torch.zeros(3))


@pytest.mark.parametrize("steps", [1, 3])
def test_client_update_is_the_change_of_weights_by_sgd(steps: int) -> None:
    network, x, y = tiny(), picture(3), torch.tensor([2, 0, 1])
    trained = tiny()
    optimizer = torch.optim.SGD(trained.parameters(), 0.3)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(trained(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    pairs = zip(network.parameters(), trained.parameters(), strict=True)
    expected = [(before - after).detach() / (0.3 * steps) for before, after in pairs]
    torch.testing.assert_close(list(client_update(network, x, y, steps=steps, rate=0.3)), expected)


def test_differentiable_update_has_the_numerical_derivative() -> None:
    network, x, y = tiny(), picture(2), torch.tensor([2, 0])

    def norm(pixels: torch.Tensor) -> torch.Tensor:
        update = client_update(network, pixels, y, steps=3, rate=0.3, differentiable=True)
        return flatten_gradient(update).square().sum()

    assert torch.autograd.gradcheck(norm, (x.requires_grad_(),), fast_mode=True)
