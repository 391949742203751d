"""The Gaussian noise on a layer's outputs that a bound on every reconstruction needs: its cost, and an attack on it."""

import torch
from torch import Tensor, nn

from onlymymodel.evaluate.audits.layers.attacks import AttackSplit, reconstruct
from onlymymodel.evaluate.audits.layers.fisher import noise_for_error
from onlymymodel.evaluate.audits.layers.layers import Layer, answers_with_noise
from onlymymodel.evaluate.audits.noise import noise_generator
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.report import Value

NAMES = ("noise", "noise_share", "accuracy_unchanged", "accuracy_with_noise", "ssim_with_noise")


def noise_values(
    network: nn.Module,
    layer: Layer,
    squared_norm: Value,
    outputs: AttackSplit[Tensor],
    pictures: AttackSplit[Pictures],
    *,
    bound: float,
    steps: int,
    seed: int,
    progress: bool,
) -> dict[str, Value]:
    """Return the noise at which no estimate's error is below a share of the variance of the pixels, and what it does.

    Args:
        network: the audited network.
        layer: the layer whose outputs are sent.
        squared_norm: mean squared Frobenius norm of the layer's Jacobian; without it every value is None.
        outputs: outputs of the layer without noise.
        pictures: the pictures.
        bound: that share, above 0 and below 1; for an adversary who knows no more of pictures than mean and variance.
        steps: number of training steps of an inverter of the noisy outputs; with 0 `ssim_with_noise` is None.
        seed: seed of the noise and of the inverter.

    Returns:
        `NAMES`: the noise's deviation, the same over the root mean variance of an output, accuracies of the network
        without and with it (None if its answers are no logits of the pictures' classes), and the inverter's mean SSIM.
    """
    values: dict[str, Value] = dict.fromkeys(NAMES)
    variance = pictures.train.pixels.double().var(0, correction=0).mean().item()
    if squared_norm is None or not variance:
        return values
    inputs = pictures.train.pixels[0].numel()
    noise = noise_for_error(float(squared_norm), inputs, bound * variance, variance)
    deviation = outputs.train.flatten(1).double().var(0, correction=0).mean().sqrt().item()
    values |= {"noise": noise, "noise_share": noise / deviation if deviation else None}
    for name, added in (("accuracy_unchanged", 0.0), ("accuracy_with_noise", noise)):
        values[name] = _accuracy(network, layer, pictures.test, added, seed)
    if steps:
        generator = noise_generator(seed)  # an inverter's weights are drawn from the stream of the seed itself
        noisy = outputs.map(lambda part: part + noise * torch.randn(part.shape, generator=generator).to(part))
        similarity, _ = reconstruct(noisy, pictures, steps=steps, seed=seed, progress=progress)
        values["ssim_with_noise"] = similarity["ssim"]
    return values


def _accuracy(network: nn.Module, layer: Layer, pictures: Pictures, noise: float, seed: int) -> float | None:
    answers = answers_with_noise(network, layer, pictures.pixels, noise, seed).cpu()
    if answers.ndim != 2 or answers.shape[1] != pictures.classes:
        return None
    return (answers.argmax(1) == pictures.labels).double().mean().item()
