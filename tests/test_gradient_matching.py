from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.client_gradient import (
    batch_statistics,
    client,
    flat,
    loss_gradient,
    read_linear,
    recover_labels,
    running_statistics,
)
from onlymymodel.evaluate.audits.gradient_matching import ATTACKS, cosine, l2, match_gradient
from onlymymodel.evaluate.audits.inversion_losses import total_variation
from onlymymodel.evaluate.audits.networks import small_network
from onlymymodel.evaluate.audits.pictures import portrait_pictures
from onlymymodel.evaluate.audits.similarity import psnr


def tiny(activation: type[nn.Module] = nn.Sigmoid, *, norm: bool = False, seed: int = 0) -> nn.Sequential:
    """(B,1,6,6) -> (B,4), float64."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 6, 3, 2, 1), *([nn.BatchNorm2d(6)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(54, 4)).double().eval()


def picture(count: int = 1, seed: int = 5) -> Tensor:
    return torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_gradient_is_autograds_and_the_network_stays_as_it_is(mode: str) -> None:
    network, x, y = tiny(norm=True), picture(3), torch.tensor([2, 0, 1])
    plain = tiny(norm=True).train(mode == "train")
    expected = torch.autograd.grad(F.cross_entropy(plain(x), y), list(plain.parameters()))
    twin = client(network, "train" if mode == "train" else "eval")
    before = [value.clone() for value in twin.state_dict().values()]
    gradient = loss_gradient(twin, x, y)
    torch.testing.assert_close(list(gradient), list(expected))
    assert all(torch.equal(a, b) for a, b in zip(before, twin.state_dict().values(), strict=True))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_clients_dropout_is_off_in_train_mode_too() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(36, 4)).double()
    first, second = (loss_gradient(client(network, "train"), picture(), torch.tensor([1])) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert (first[0] != 0).all()


def test_frozen_parameters_have_gradients_like_others() -> None:
    network = tiny()
    expected = flat(loss_gradient(network, picture(), torch.tensor([1])))
    assert torch.equal(flat(loss_gradient(network.requires_grad_(False), picture(), torch.tensor([1]))), expected)


def test_dlg_takes_the_steps_of_a_plain_loop() -> None:
    network, x, y = tiny(), picture(), torch.tensor([3])
    target = [p.detach() for p in torch.autograd.grad(F.cross_entropy(network(x), y), list(network.parameters()))]
    match = match_gradient(network, target, replace(ATTACKS["dlg"], steps=4, start="uniform"), x.shape, seed=7)

    generator = torch.Generator().manual_seed(7)
    dummy = torch.rand(1, 1, 6, 6, generator=generator, dtype=torch.float64).requires_grad_()
    dummy_label = torch.randn(1, 4, generator=generator, dtype=torch.float64).requires_grad_()
    optimizer: torch.optim.Optimizer = torch.optim.LBFGS(
        [dummy, dummy_label], 1, 20, None, 1e-12, 1e-15, history_size=100, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        loss = -(dummy_label.softmax(-1) * network(dummy).log_softmax(-1)).sum(1).mean()
        own = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
        top = torch.stack([((a - b) ** 2).sum() for a, b in zip(own, target, strict=True)]).sum()
        bottom = torch.stack([(b**2).sum() for b in target]).sum()
        dummy.grad, dummy_label.grad = torch.autograd.grad(top / bottom, [dummy, dummy_label])
        return (top / bottom).item()

    expected = [optimizer.step(closure) for _ in range(4)]
    assert match.trajectory[0] > 0.01 > match.trajectory[2]  # it is a descent that is compared
    torch.testing.assert_close(match.trajectory[:3], expected[:3], rtol=1e-5, atol=0)
    torch.testing.assert_close(match.pixels, dummy.detach().clamp(0, 1), rtol=0, atol=1e-4)
    assert match.labels.tolist() == [3]


def test_inverting_gradients_takes_the_steps_of_a_plain_loop() -> None:
    network, x, y = tiny().float(), picture().float(), torch.tensor([3])
    target = [p.detach() for p in torch.autograd.grad(F.cross_entropy(network(x), y), list(network.parameters()))]
    match = match_gradient(network, target, replace(ATTACKS["inverting"], steps=24), x.shape, labels=y, seed=1)

    trial = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64).float()
    first, second, expected = torch.zeros_like(trial), torch.zeros_like(trial), []
    for step in range(24):
        trial.requires_grad_()
        own = torch.autograd.grad(F.cross_entropy(network(trial), y), list(network.parameters()), create_graph=True)
        dot, mine, its = (
            sum(((a * b).sum() for a, b in zip(left, right, strict=True)), torch.zeros(()))
            for left, right in ((own, target), (own, own), (target, target))
        )
        rough = (trial[..., 1:, :] - trial[..., :-1, :]).abs().mean() + (trial[..., 1:] - trial[..., :-1]).abs().mean()
        value = 1 - dot / (mine.sqrt() * its.sqrt()) + 1e-3 * rough
        expected.append(value.item())
        slope = torch.autograd.grad(value, trial)[0].sign()
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        rate = 0.1 * 0.1 ** sum(step >= share for share in (9, 15, 21))
        move = rate * (first / (1 - 0.9 ** (step + 1))) / ((second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
        trial = (trial.detach() - move).clamp(0, 1)
    assert expected[-1] < expected[0] / 2
    torch.testing.assert_close(match.trajectory, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("attack", ["dlg", "inverting"])
def test_a_small_networks_clean_gradient_gives_a_portrait_away(attack: str) -> None:
    pictures = portrait_pictures(1, 32)
    network = small_network("cnn", 3, 32, pictures.classes)
    setting = replace(ATTACKS[attack], steps=ATTACKS[attack].steps // 2)
    gradient = loss_gradient(network, pictures.pixels, pictures.labels)
    labels = pictures.labels if setting.labels == "known" else None
    twin = client(network, "eval", setting.dtype)
    match = match_gradient(twin, gradient, setting, pictures.pixels.shape, labels=labels)
    assert psnr(match.pixels, pictures.pixels).item() > 25
    assert match.labels.tolist() == pictures.labels.tolist()


def test_statistics_weigh_as_much_as_they_are_off() -> None:
    network, x, y = client(tiny(norm=True), "train"), torch.full((2, 1, 6, 6), 0.5).double(), torch.tensor([0, 3])
    gradient, own, running = loss_gradient(network, x, y), batch_statistics(network, x), running_statistics(network)
    setting = replace(ATTACKS["gradinversion"], start="gray", steps=0, total_variation=0, norm=0.5, optimizer="lbfgs")
    at_truth = match_gradient(network, gradient, setting, x.shape, labels=y, statistics=own)
    assert at_truth.objective == pytest.approx(0.5 * 0.25)
    off = sum((mine - its).square().mean().item() for mine, its in zip(own[0], running[0], strict=True))
    match = match_gradient(network, gradient, setting, x.shape, labels=y, statistics=running)
    assert match.objective == pytest.approx(0.5 * 0.25 + setting.statistics_weight * off)


def test_statistics_are_those_that_batch_norm_keeps() -> None:
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


def test_further_starts_never_end_higher_and_equal_seeds_end_equal() -> None:
    network, x = tiny().float(), picture().float()
    gradient, setting = loss_gradient(network, x, torch.tensor([0])), replace(ATTACKS["inverting"], steps=10)
    runs = [
        match_gradient(network, gradient, replace(setting, restarts=more), x.shape, labels=torch.tensor([0]), seed=3)
        for more in (0, 0, 3)
    ]
    assert torch.equal(runs[0].pixels, runs[1].pixels)
    assert runs[2].objective <= runs[0].objective


@pytest.mark.parametrize("scale", [0.0, float("nan")])
def test_a_gradient_without_signal_is_refused(scale: float) -> None:
    gradient = [part * scale for part in loss_gradient(tiny(), picture(), torch.tensor([0]))]
    with pytest.raises(ValueError, match="cannot be matched"):
        match_gradient(tiny(), gradient, ATTACKS["dlg"], (1, 1, 6, 6))


def test_distances_and_roughness_have_their_closed_forms() -> None:
    target = (torch.tensor([3.0, 0.0]), torch.tensor([[4.0]]))
    assert l2([part * 3 for part in target], target) == 4
    assert l2([part * 0 for part in target], target) == cosine([part * 0 for part in target], target) == 1
    torch.testing.assert_close(cosine([part * 7 for part in target], target), torch.tensor(0.0))
    torch.testing.assert_close(cosine((torch.tensor([0.0, 5.0]), torch.zeros(1, 1)), target), torch.tensor(1.0))
    ramp = torch.arange(5.0).expand(1, 1, 3, 5)
    assert total_variation(ramp) == 1
    assert total_variation(2 * ramp.mT) == 2


@pytest.mark.parametrize("kind", ["mlp", "cnn", "vit"])
@pytest.mark.parametrize("bias", [True, False])
def test_the_label_of_a_single_picture_is_always_read(kind: str, bias: bool) -> None:
    network = small_network("mlp" if kind == "mlp" else "cnn" if kind == "cnn" else "vit", 1, 16, 5, activation="tanh")
    if not bias:
        head = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        head.register_parameter("bias", None)
    for label in range(5):
        gradient = loss_gradient(network, torch.rand(1, 1, 16, 16), torch.tensor([label]))
        assert recover_labels(network, gradient, 1).tolist() == [label]


@pytest.mark.parametrize("bias", [True, False])
def test_labels_of_two_classes_and_of_batches_are_read(bias: bool) -> None:
    for labels, classes in (([0], 2), ([1], 2), ([1, 4, 7], 10)):
        network = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, classes, bias=bias)).double()
        gradient = loss_gradient(network, picture(len(labels)), torch.tensor(labels))
        assert recover_labels(network, gradient, len(labels)).tolist() == labels
    if bias:
        repeated = loss_gradient(network, picture(4), torch.tensor([2, 2, 2, 5]))
        assert recover_labels(network, repeated, 4).tolist() == [2, 2, 2, 5]


def test_labels_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(UserError, match="has none"):
        recover_labels(nn.Conv2d(1, 1, 1), [torch.zeros(1, 1, 1, 1), torch.zeros(1)], 1)
    with pytest.raises(UserError, match="without a bias"):
        recover_labels(nn.Linear(3, 2, bias=False), [torch.zeros(2, 3)], 3)


def test_a_linear_layer_gives_its_input_away_in_closed_form() -> None:
    x, layer = torch.rand(1, 7, dtype=torch.float64), nn.Linear(7, 3).double()
    torch.testing.assert_close(read_linear(*loss_gradient(layer, x, torch.tensor([2]))), x[0])
    with pytest.raises(ValueError, match="zero"):
        read_linear(torch.zeros(3, 7), torch.zeros(3))
