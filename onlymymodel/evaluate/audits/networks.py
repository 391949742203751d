"""Small networks that the audits train themselves: the same data for an MLP, a CNN and a vision transformer."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from onlymymodel.evaluate.audits.pictures import Pictures

Kind = Literal["mlp", "cnn", "vit"]
# smooth ones first: gradient matching and the spectrum of a gradient's Jacobian differentiate twice
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}
HIDDEN, DIMENSION = 128, 48  # of the MLP's layers, of the transformer's tokens
PATCHES = 8  # of the transformer on each side of a picture


def small_network(
    kind: Kind,
    channels: int,
    size: int,
    classes: int,
    *,
    batch_norm: bool = False,
    activation: str = "gelu",
    width: int = 16,
    seed: int = 0,
) -> nn.Module:
    """An untrained network (B,channels,size,size) in [0,1] -> (B,classes) logits, in eval mode.

    Args:
        kind: `mlp`, two hidden layers; `cnn`, three 5x5 convolutions (strides 2, 2, 1) and a linear layer;
            `vit`, timm's vision transformer of two blocks on 8 x 8 patches.
        batch_norm: before every activation of the MLP and the CNN.
        activation: one of `ACTIVATIONS`; the transformer's own is GELU.
        width: channels of the CNN's convolutions.
        seed: of the weights.

    Raises:
        ValueError: a transformer with batch norm, or with a size that is no multiple of 8.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "vit":
            if batch_norm or size % PATCHES:
                raise ValueError(f"a vit has no batch norm, and a size that {PATCHES} divides; got {size}")
            return _transformer(channels, size, classes).eval()
        if kind == "cnn":
            return _convolutions(channels, size, classes, width, batch_norm, ACTIVATIONS[activation]).eval()
        return _perceptron(channels * size * size, classes, batch_norm, ACTIVATIONS[activation]).eval()


def train_network(
    net: nn.Module,
    pictures: Pictures,
    *,
    epochs: int,
    seed: int = 0,
    progress: bool = True,
    rate: float = 2e-3,
    batch: int = 32,
    weight_decay: float = 0.0,
    on_epoch: Callable[[int, nn.Module], None] | None = None,
) -> list[float]:
    """Train with Adam and cross-entropy; the network is in eval mode afterwards.

    Args:
        weight_decay: as an L2 penalty in the loss (torch's Adam), under which a stationary point is a KKT point.
        on_epoch: called with the epoch, 1 the first, and the network in eval mode.

    Returns:
        the mean loss of each epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate, weight_decay=weight_decay)
    device, losses = next(net.parameters()).device, []
    for epoch in tqdm(range(1, epochs + 1), desc="training", unit="epoch", disable=None if progress else True):
        net.train()
        total = 0.0
        # parts of nearly one size: batch norm refuses a last batch of one
        order = torch.randperm(len(pictures), generator=generator)
        for rows in order.tensor_split(math.ceil(len(pictures) / batch)):
            loss = F.cross_entropy(net(pictures.pixels[rows].to(device)), pictures.labels[rows].to(device))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(pictures))
        net.eval()
        if on_epoch:
            on_epoch(epoch, net)
    net.eval()
    return losses


@torch.no_grad()
def accuracy(net: nn.Module, pictures: Pictures) -> float:
    """Share of the pictures whose label the network says, in the mode in which it is."""
    device = next(net.parameters()).device
    said = torch.cat([net(part.to(device)).argmax(1).cpu() for part in torch.split(pictures.pixels, 256)])
    return (said == pictures.labels).double().mean().item()


@torch.no_grad()
def as_answered(net: nn.Module, pictures: Pictures) -> Pictures:
    """The pictures with a network's own classes: their labels are what it says of them.

    For a model that comes from elsewhere, to which the names of folders mean nothing.
    """
    device = next(net.parameters()).device
    logits = torch.cat([net(part.to(device)).cpu() for part in torch.split(pictures.pixels, 16)])
    return replace(pictures, labels=logits.argmax(1), classes=logits.shape[1])


def _perceptron(inputs: int, classes: int, batch_norm: bool, activation: Callable[[], nn.Module]) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for before in (inputs, HIDDEN):
        layers.append(nn.Linear(before, HIDDEN))
        if batch_norm:
            layers.append(nn.BatchNorm1d(HIDDEN))
        layers.append(activation())
    return nn.Sequential(*layers, nn.Linear(HIDDEN, classes))


def _convolutions(
    channels: int, size: int, classes: int, width: int, batch_norm: bool, activation: Callable[[], nn.Module]
) -> nn.Module:
    layers: list[nn.Module] = []
    for before, stride in ((channels, 2), (width, 2), (width, 1)):
        layers.append(nn.Conv2d(before, width, 5, stride, 2))
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(activation())
    side = math.ceil(math.ceil(size / 2) / 2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * side * side, classes))


def _transformer(channels: int, size: int, classes: int) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    net: nn.Module = VisionTransformer(
        img_size=size,
        patch_size=size // PATCHES,
        in_chans=channels,
        num_classes=classes,
        embed_dim=DIMENSION,
        depth=2,
        num_heads=4,
        mlp_ratio=2,
    )
    for module in net.modules():
        if hasattr(module, "fused_attn"):
            setattr(module, "fused_attn", False)  # noqa: B010 - torch's fused attention has no second derivative
    return net
