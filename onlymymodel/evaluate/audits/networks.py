"""Small networks that the audits train themselves: an MLP, a CNN and a vision transformer for the same data."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from onlymymodel.evaluate.audits.options import NetworkKind
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.progress import track

# gradient matching and the spectrum of a gradient's Jacobian need second derivatives: prefer the smooth activations
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}
HIDDEN_WIDTH = 128  # of the MLP
TOKEN_WIDTH = 48  # of the transformer
PATCHES = 8  # of the transformer along each side of a picture


def small_network(
    kind: NetworkKind,
    channels: int,
    size: int,
    classes: int,
    *,
    batch_norm: bool = False,
    activation: str = "gelu",
    width: int = 16,
    homogeneous: bool = False,
    seed: int = 0,
) -> nn.Module:
    """Return an untrained network (B,channels,size,size) in [0,1] -> (B,classes) logits, in eval mode.

    Args:
        kind: `mlp`, two hidden layers; `cnn`, three 5x5 convolutions (strides 2, 2, 1) and a linear layer;
            `vit`, timm's vision transformer with two blocks on 8 x 8 patches.
        batch_norm: whether batch norm precedes every activation of the MLP and the CNN.
        activation: one of `ACTIVATIONS`; the transformer always uses GELU.
        width: channels of the CNN's convolutions.
        homogeneous: whether the MLP and the CNN have a bias in the first layer only, so that with ReLU and without
            batch norm their logits are homogeneous functions of the weights.
        seed: seed of the weights.

    Raises:
        ValueError: a transformer with batch norm, or with a size that is not a multiple of 8.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "vit":
            if batch_norm or size % PATCHES:
                raise ValueError(f"a vit has no batch norm, and needs a size that {PATCHES} divides; got {size}")
            return _transformer(channels, size, classes).eval()
        if kind == "cnn":
            net = _convolutions(channels, size, classes, width, batch_norm, ACTIVATIONS[activation])
        else:
            net = _perceptron(channels * size * size, classes, batch_norm, ACTIVATIONS[activation])
        if homogeneous:
            layers = [module for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
            for layer in layers[1:]:
                layer.bias = None
        return net.eval()


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
    """Train a network in place with Adam and cross-entropy, and leave it in eval mode.

    Args:
        seed: seed of the order of the pictures.
        rate: learning rate.
        batch: largest number of pictures in a step.
        weight_decay: weight of an L2 penalty in the loss (torch's Adam), under which a stationary point is a KKT point.
        on_epoch: called after each epoch with its number, counted from 1, and the network in eval mode.

    Returns:
        the mean loss of each epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate, weight_decay=weight_decay)
    device, losses = next(net.parameters()).device, []
    for epoch in track(range(1, epochs + 1), "training", unit="epoch", progress=progress):
        net.train()
        total = 0.0
        # batches of almost equal size: batch norm refuses a last batch of one picture
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
    """Return the share of the pictures that a network classifies correctly, in its present mode."""
    device = next(net.parameters()).device
    classes = torch.cat([net(part.to(device)).argmax(1).cpu() for part in torch.split(pictures.pixels, 256)])
    return (classes == pictures.labels).double().mean().item()


@torch.no_grad()
def label_by_network(net: nn.Module, pictures: Pictures) -> Pictures:
    """Return the pictures with the classes of a network, labeled by its own predictions.

    Used for a model from elsewhere, whose classes are unrelated to the names of folders.
    """
    device = next(net.parameters()).device
    logits = torch.cat([net(part.to(device)).cpu() for part in torch.split(pictures.pixels, 16)])
    return replace(pictures, labels=logits.argmax(1), classes=logits.shape[1])


def _perceptron(inputs: int, classes: int, batch_norm: bool, activation: Callable[[], nn.Module]) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for width in (inputs, HIDDEN_WIDTH):
        layers.append(nn.Linear(width, HIDDEN_WIDTH))
        if batch_norm:
            layers.append(nn.BatchNorm1d(HIDDEN_WIDTH))
        layers.append(activation())
    return nn.Sequential(*layers, nn.Linear(HIDDEN_WIDTH, classes))


def _convolutions(
    channels: int, size: int, classes: int, width: int, batch_norm: bool, activation: Callable[[], nn.Module]
) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, stride in ((channels, 2), (width, 2), (width, 1)):
        layers.append(nn.Conv2d(inputs, width, 5, stride, 2))
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
        embed_dim=TOKEN_WIDTH,
        depth=2,
        num_heads=4,
        mlp_ratio=2,
    )
    for module in net.modules():
        if hasattr(module, "fused_attn"):
            setattr(module, "fused_attn", False)  # noqa: B010 - torch's fused attention has no second derivative
    return net
