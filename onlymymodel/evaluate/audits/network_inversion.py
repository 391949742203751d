"""Network inversion: one generator is trained against a classifier alone, until its pictures look trained on.

After Suhail and Sethi (arXiv 2410.16884, arXiv 2502.00760) and Haim et al. (NeurIPS 2022); see `inversion_generator`
and `inversion_losses` for what is published and what is our reading. The weights of the losses are ours: in 2502.00760
all serve at once, here stationarity leads, since it alone tells a training picture from another of its class.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits import inversion_losses as losses
from onlymymodel.evaluate.audits.inversion_generator import Codes, ConditionedGenerator


@dataclass(frozen=True)
class Inversion:
    """How long a generator is trained, and the weight of each of its losses (see `inversion_losses`).

    Attributes:
        steps, rate: of Adam.
        noise: standard deviation of the pixels' noise under which a picture must be answered the same.
        seed: of the codes, the generator and the noise.
        divergence ... stationarity: weights.
    """

    steps: int = 300
    rate: float = 2e-3
    noise: float = 0.1
    seed: int = 0
    divergence: float = 1.0
    cross_entropy: float = 1.0
    diversity: float = 1.0
    orthogonality: float = 1.0
    same_under_noise: float = 1.0
    variation: float = 1.0
    pixel_range: float = 50.0
    gradient: float = 0.1
    stationarity: float = 50.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"an inversion needs 1 step or more, not {self.steps}")


@dataclass(frozen=True)
class Inverted:
    """(N,C,S,S) pictures in [0,1] for codes, and every loss at the last step, unweighted."""

    pixels: Tensor
    losses: Mapping[str, float]


def invert_network(
    network: nn.Module, codes: Codes, shape: Sequence[int], settings: Inversion, *, progress: bool
) -> Inverted:
    """Train a generator against a network: one picture of `shape` (C,S,S) for each code. The network stays as it is.

    Raises:
        UserError: fewer than 2 classes or more than 64; numbers that are not finite.
    """
    network = copy.deepcopy(network).eval().requires_grad_(True)  # stationarity speaks about gradients in the weights
    device = next(network.parameters()).device
    codes, stream = codes.to(device), torch.Generator().manual_seed(settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        generator = ConditionedGenerator(shape[0], shape[1], codes.soft.shape[1]).to(device)
    weights = list(generator.parameters())
    unscaled = torch.zeros(len(codes.labels), device=device, requires_grad=True)  # softplus makes multipliers of them
    rates = [{"params": weights, "lr": settings.rate}, {"params": [unscaled], "lr": 10 * settings.rate}]
    optimizer = torch.optim.Adam(rates)
    terms: dict[str, Tensor] = {}
    for _ in tqdm(range(settings.steps), desc="inverting", unit="step", disable=None if progress else True):
        pixels = generator(codes)
        noise = settings.noise * torch.randn(pixels.shape, generator=stream).to(device)
        with sdpa_kernel(SDPBackend.MATH):  # the fused attentions have no second derivative
            terms = _terms(network, codes, pixels, noise, F.softplus(unscaled))
        total = torch.stack([getattr(settings, name) * term for name, term in terms.items()]).sum()
        optimizer.zero_grad()
        torch.autograd.backward(total, inputs=[*weights, unscaled])
        optimizer.step()
    with torch.no_grad():
        found: Tensor = generator(codes).cpu()
    if not found.isfinite().all():
        raise UserError("the network's answers or gradients are no finite numbers: nothing can be found in its weights")
    return Inverted(found.clamp(0, 1), {name: term.item() for name, term in terms.items()})


def _terms(network: nn.Module, codes: Codes, pixels: Tensor, noise: Tensor, multipliers: Tensor) -> dict[str, Tensor]:
    """The losses by the names of their weights in `Inversion`."""
    logits, features = answer_with_features(network, pixels)
    each = losses.each_cross_entropy(logits, codes.labels)
    noisy = network(pixels + noise)
    margin = losses.margins(logits, codes.labels)
    return {
        "divergence": losses.divergence(logits, codes.soft),
        "cross_entropy": each.mean(),
        "diversity": losses.cosine_diversity(features),
        "orthogonality": losses.feature_orthogonality(features),
        "same_under_noise": losses.divergence(noisy, codes.soft)
        + losses.each_cross_entropy(noisy, codes.labels).mean(),
        "variation": losses.total_variation(pixels),
        "pixel_range": losses.pixel_range(pixels),
        "gradient": losses.gradient_norm(each, pixels),
        "stationarity": losses.stationarity(margin, multipliers, list(network.parameters())),
    }


def answer_with_features(network: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """(N,K) logits and the (N,D) features from which the last linear layer makes them, the logits where there is
    no such layer."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        logits = network(pixels)
        return logits, logits
    seen: list[Tensor] = []
    hook = linear[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
    try:
        return network(pixels), seen[0]
    finally:
        hook.remove()


def untrained(network: nn.Module, seed: int = 0) -> nn.Module:
    """A copy that has seen no picture: every layer drawn anew; parameters that no layer can draw anew (a transformer's
    positions) have their entries shuffled, which keeps their scale."""
    blank = copy.deepcopy(network)
    drawn: set[int] = set()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in blank.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                drawn.update(map(id, module.parameters(recurse=False)))
        for parameter in blank.parameters():
            if id(parameter) not in drawn:
                order = torch.randperm(parameter.numel()).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return blank
