"""Gradient matching beside reference loops and closed forms."""

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from audit_toys import picture, tiny

from onlymymodel.evaluate.audits.gradients.client_gradient import (
    batch_statistics,
    client_copy,
    client_update,
    loss_gradient,
    running_statistics,
)
from onlymymodel.evaluate.audits.gradients.matching import ATTACKS, cosine, l2, match_gradient
from onlymymodel.evaluate.audits.networks import small_network
from onlymymodel.evaluate.audits.pictures import portrait_pictures
from onlymymodel.evaluate.audits.priors import total_variation
from onlymymodel.protect.budget.distortion import batch_psnr


def test_dlg_equals_a_reference_loop() -> None:
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


def test_inverting_gradients_equals_a_reference_loop() -> None:
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


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["dlg", "inverting"])
def test_portrait_is_reconstructed_from_a_clean_gradient(attack: str) -> None:
    pictures = portrait_pictures(1, 32)
    network = small_network("cnn", 3, 32, pictures.classes)
    setting = replace(ATTACKS[attack], steps=ATTACKS[attack].steps // 2)
    gradient = loss_gradient(network, pictures.pixels, pictures.labels)
    labels = pictures.labels if setting.labels == "known" else None
    twin = client_copy(network, "eval", setting.dtype)
    match = match_gradient(twin, gradient, setting, pictures.pixels.shape, labels=labels)
    assert batch_psnr(match.pixels, pictures.pixels).item() > 25
    assert match.labels.tolist() == pictures.labels.tolist()


def test_statistics_term_is_weight_times_squared_error() -> None:
    network, x, y = client_copy(tiny(norm=True), "train"), torch.full((2, 1, 6, 6), 0.5).double(), torch.tensor([0, 3])
    gradient, own, running = loss_gradient(network, x, y), batch_statistics(network, x), running_statistics(network)
    setting = replace(ATTACKS["gradinversion"], start="gray", steps=0, total_variation=0, norm=0.5, optimizer="lbfgs")
    at_truth = match_gradient(network, gradient, setting, x.shape, labels=y, statistics=own)
    assert at_truth.objective == pytest.approx(0.5 * 0.25)
    off = sum((mine - its).square().mean().item() for mine, its in zip(own[0], running[0], strict=True))
    match = match_gradient(network, gradient, setting, x.shape, labels=y, statistics=running)
    assert match.objective == pytest.approx(0.5 * 0.25 + setting.statistics_weight * off)


def test_restarts_never_raise_the_objective_and_seeds_are_reproducible() -> None:
    network, x = tiny().float(), picture().float()
    gradient, setting = loss_gradient(network, x, torch.tensor([0])), replace(ATTACKS["inverting"], steps=10)
    runs = [
        match_gradient(network, gradient, replace(setting, restarts=more), x.shape, labels=torch.tensor([0]), seed=3)
        for more in (0, 0, 3)
    ]
    assert torch.equal(runs[0].pixels, runs[1].pixels)
    assert runs[2].objective <= runs[0].objective


@pytest.mark.slow
def test_lbfgs_matches_the_gradient_of_a_transformer() -> None:
    """The gradient of its pixels is not contiguous, and L-BFGS views it as a vector."""
    network = small_network("vit", 3, 16, 4).double()
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradient = loss_gradient(network, pixels, torch.tensor([0, 2]))
    match = match_gradient(network, gradient, replace(ATTACKS["dlg"], steps=2), pixels.shape)
    assert match.objective < match.trajectory[0]


@pytest.mark.parametrize("scale", [0.0, float("nan")])
def test_gradient_without_signal_is_refused(scale: float) -> None:
    gradient = [part * scale for part in loss_gradient(tiny(), picture(), torch.tensor([0]))]
    with pytest.raises(ValueError, match="cannot be matched"):
        match_gradient(tiny(), gradient, ATTACKS["dlg"], (1, 1, 6, 6))


def test_distances_and_total_variation_have_their_closed_forms() -> None:
    target = (torch.tensor([3.0, 0.0]), torch.tensor([[4.0]]))
    assert l2([part * 3 for part in target], target) == 4
    assert l2([part * 0 for part in target], target) == cosine([part * 0 for part in target], target) == 1
    torch.testing.assert_close(cosine([part * 7 for part in target], target), torch.tensor(0.0))
    torch.testing.assert_close(cosine((torch.tensor([0.0, 5.0]), torch.zeros(1, 1)), target), torch.tensor(1.0))
    ramp = torch.arange(5.0).expand(1, 1, 3, 5)
    assert total_variation(ramp) == 1
    assert total_variation(2 * ramp.mT) == 2


def test_an_update_of_local_steps_is_inverted_by_the_same_steps_and_not_as_a_gradient() -> None:
    """With a large local rate the update is far from the first gradient; the picture is a minimum of its own match."""
    network, x, y = tiny(), picture(), torch.tensor([3])
    update = partial(client_update, steps=4, rate=2.0)
    target = update(network, x, y)
    setting = replace(ATTACKS["idlg"], steps=6, labels="known")
    own = match_gradient(network, target, setting, x.shape, labels=y, update=update)
    wrong = match_gradient(network, target, setting, x.shape, labels=y)
    assert batch_psnr(own.pixels, x).item() > 40
    assert batch_psnr(own.pixels, x).item() > batch_psnr(wrong.pixels, x).item() + 10


def test_restarts_from_gray_are_drawn() -> None:
    network, x = tiny().float(), picture().float()
    gradient = loss_gradient(network, x, torch.tensor([0]))
    setting = replace(ATTACKS["inverting"], steps=0, start="gray")
    gray = match_gradient(network, gradient, setting, x.shape, labels=torch.tensor([0]))
    drawn = match_gradient(network, gradient, replace(setting, restarts=5), x.shape, labels=torch.tensor([0]))
    assert torch.equal(gray.pixels, torch.full_like(x, 0.5))
    assert drawn.objective <= gray.objective


def test_snapshots_begin_at_the_start_and_follow_the_trajectory() -> None:
    network, x = tiny().float(), picture().float()
    gradient = loss_gradient(network, x, torch.tensor([0]))
    setting = replace(ATTACKS["inverting"], steps=24, start="gray")
    match = match_gradient(network, gradient, setting, x.shape, labels=torch.tensor([0]))
    assert list(match.snapshots) == list(range(0, 25, 2))
    assert torch.equal(match.snapshots[0], torch.full_like(x, 0.5))
    for step in (2, 10):
        snapshot = match.snapshots[step]
        own = loss_gradient(network, snapshot, torch.tensor([0]))
        expected = cosine(own, gradient) + setting.total_variation * total_variation(snapshot)
        assert match.trajectory[step] == pytest.approx(expected.item(), rel=1e-2)
