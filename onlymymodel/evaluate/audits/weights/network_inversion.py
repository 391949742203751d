"""Network inversion: train a generator against a classifier until its pictures look like training pictures.

After Suhail and Sethi (arXiv 2410.16884, arXiv 2502.00760) and Haim et al. (NeurIPS 2022); see `generator` and `losses`
for what is published and what is our reading. The weights of the losses are ours: in 2502.00760 all of them contribute,
here stationarity dominates, since it alone distinguishes a training picture from another one of its class.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.priors import total_variation
from onlymymodel.evaluate.audits.weights import losses
from onlymymodel.evaluate.audits.weights.generator import Codes, ConditionedGenerator
from onlymymodel.progress import track


@dataclass(frozen=True)
class InversionSettings:
    """Settings of the generator's training, with the weight of each of its losses (see `losses`).

    Attributes:
        steps: number of training steps.
        rate: learning rate of Adam.
        noise: standard deviation of the noise on the pixels under which a prediction must stay the same.
        seed: seed of the codes, the generator and the noise.
        divergence, cross_entropy, diversity, orthogonality, noise_consistency, total_variation, pixel_range,
            gradient_norm, stationarity: weights of the losses.
    """

    steps: int = 300
    rate: float = 2e-3
    noise: float = 0.1
    seed: int = 0
    divergence: float = 1.0
    cross_entropy: float = 1.0
    diversity: float = 1.0
    orthogonality: float = 1.0
    noise_consistency: float = 1.0
    total_variation: float = 1.0
    pixel_range: float = 50.0
    gradient_norm: float = 0.1
    stationarity: float = 50.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"network inversion needs 1 step or more, not {self.steps}")


@dataclass(frozen=True)
class InversionResult:
    """Result of network inversion.

    Attributes:
        pixels: (N,C,S,S) pictures in [0,1], one for each code.
        losses: every loss at the last step, unweighted.
    """

    pixels: Tensor
    losses: Mapping[str, float]


def invert_network(
    network: nn.Module, codes: Codes, shape: Sequence[int], settings: InversionSettings, *, progress: bool
) -> InversionResult:
    """Train a generator against a network, and return one picture of `shape` (C,S,S) for each code.

    The network does not change.

    Raises:
        UserError: fewer than 2 classes or more than 64, or values that are not finite.
    """
    network = copy.deepcopy(network).eval().requires_grad_(True)  # stationarity uses gradients by the weights
    device = next(network.parameters()).device
    codes, noise_generator = codes.to(device), torch.Generator().manual_seed(settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        generator = ConditionedGenerator(shape[0], shape[1], codes.soft.shape[1]).to(device)
    weights = list(generator.parameters())
    raw_multipliers = torch.zeros(len(codes.labels), device=device, requires_grad=True)  # before a softplus
    groups = [{"params": weights, "lr": settings.rate}, {"params": [raw_multipliers], "lr": 10 * settings.rate}]
    optimizer = torch.optim.Adam(groups)
    terms: dict[str, Tensor] = {}
    for _ in track(range(settings.steps), "inverting", unit="step", progress=progress):
        pixels = generator(codes)
        noise = settings.noise * torch.randn(pixels.shape, generator=noise_generator).to(device)
        with sdpa_kernel(SDPBackend.MATH):  # the fused attentions have no second derivative
            terms = _loss_terms(network, codes, pixels, noise, F.softplus(raw_multipliers))
        total = torch.stack([getattr(settings, name) * term for name, term in terms.items()]).sum()
        optimizer.zero_grad()
        torch.autograd.backward(total, inputs=[*weights, raw_multipliers])
        optimizer.step()
    with torch.no_grad():
        generated: Tensor = generator(codes).cpu()
    if not generated.isfinite().all():
        raise UserError("the network's logits or gradients are not finite: its weights cannot be inverted")
    return InversionResult(generated.clamp(0, 1), {name: term.item() for name, term in terms.items()})


def _loss_terms(
    network: nn.Module, codes: Codes, pixels: Tensor, noise: Tensor, multipliers: Tensor
) -> dict[str, Tensor]:
    """Return the losses by the names of their weights in `InversionSettings`."""
    logits, features = logits_and_features(network, pixels)
    by_picture = losses.cross_entropy_by_picture(logits, codes.labels)
    noisy = network(pixels + noise)
    margin = losses.margins(logits, codes.labels)
    return {
        "divergence": losses.divergence(logits, codes.soft),
        "cross_entropy": by_picture.mean(),
        "diversity": losses.cosine_diversity(features),
        "orthogonality": losses.feature_orthogonality(features),
        "noise_consistency": losses.divergence(noisy, codes.soft)
        + losses.cross_entropy_by_picture(noisy, codes.labels).mean(),
        "total_variation": total_variation(pixels),
        "pixel_range": losses.pixel_range(pixels),
        "gradient_norm": losses.gradient_norm(by_picture, list(network.parameters())),
        "stationarity": losses.stationarity(margin, multipliers, list(network.parameters())),
    }


def logits_and_features(network: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N,K) logits and the (N,D) inputs of the last linear layer; the logits twice without such a layer."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        logits = network(pixels)
        return logits, logits
    features: list[Tensor] = []
    hook = linear[-1].register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].flatten(1)))
    try:
        return network(pixels), features[0]
    finally:
        hook.remove()


def untrained_copy(network: nn.Module, seed: int = 0) -> nn.Module:
    """Return a copy with all layers reinitialized.

    Parameters that no layer can reinitialize (a transformer's positions) have their entries shuffled, which keeps their
    scale.
    """
    untrained = copy.deepcopy(network)
    reset_parameters: set[int] = set()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in untrained.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                reset_parameters.update(map(id, module.parameters(recurse=False)))
        for parameter in untrained.parameters():
            if id(parameter) not in reset_parameters:
                order = torch.randperm(parameter.numel()).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return untrained
