"""Six families of tiny classifiers: (B, 3, 64, 64) normalized float32 in, (B, classes) logits out.

Each has 100 to 200 thousand parameters. The families share no layers on purpose, so that results of one family are
evidence for other architectures.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

SIZE = 64


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a padded convolution, which reduces the size by its stride only, with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def _head(width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def _plain(classes: int) -> nn.Module:
    """Return a chain of convolutions and poolings."""
    return nn.Sequential(
        _conv(3, 16, stride=2),
        _conv(16, 32),
        nn.MaxPool2d(2),
        _conv(32, 48),
        nn.MaxPool2d(2),
        _conv(48, 64),
        _conv(64, 64),
        nn.MaxPool2d(2),
        _conv(64, 80),
        _head(80, classes),
    )


class _Residual(nn.Module):
    """Residual block of two convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(inputs, outputs, stride=stride),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.skip(x) + self.body(x))


def _residual(classes: int) -> nn.Module:
    """Return a short residual network."""
    return nn.Sequential(
        _conv(3, 16, stride=2),
        _Residual(16, 16, 1),
        _Residual(16, 32, 2),
        _Residual(32, 64, 2),
        _Residual(64, 64, 2),
        _head(64, classes),
    )


class _Inverted(nn.Module):
    """Inverted bottleneck: 1x1 expansion, depthwise 3x3 convolution, 1x1 projection."""

    def __init__(self, inputs: int, outputs: int, stride: int, widen: int = 4) -> None:
        super().__init__()
        wide = inputs * widen
        self.body = nn.Sequential(
            _conv(inputs, wide, 1),
            _conv(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return x + out if self.adds else out


def _depthwise(classes: int) -> nn.Module:
    """Return a network of depthwise-separable convolutions in inverted bottlenecks."""
    return nn.Sequential(
        _conv(3, 16, stride=2),
        _Inverted(16, 24, 2),
        _Inverted(24, 24, 1),
        _Inverted(24, 40, 2),
        _Inverted(40, 40, 1),
        _Inverted(40, 72, 2),
        _Inverted(72, 72, 1),
        _conv(72, 144, 1),
        _head(144, classes),
    )


class _Branches(nn.Module):
    """Inception block: parallel 1x1, 3x3, two stacked 3x3 and pooled branches."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                _conv(inputs, width, 1),
                nn.Sequential(_conv(inputs, width, 1), _conv(width, width)),
                nn.Sequential(_conv(inputs, width, 1), _conv(width, width), _conv(width, width)),
                nn.Sequential(nn.AvgPool2d(3, 1, 1), _conv(inputs, width, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def _inception(classes: int) -> nn.Module:
    """Return a network of parallel branches, concatenated by channels."""
    return nn.Sequential(
        _conv(3, 16, 5, stride=2),
        _conv(16, 24, stride=2),
        _Branches(24, 20),
        _Branches(80, 24),
        nn.MaxPool2d(2),
        _Branches(96, 32),
        nn.MaxPool2d(2),
        _Branches(128, 40),
        _head(160, classes),
    )


class _Tokens(nn.Module):
    """Classifier of the mean of 8x8 tokens: three strided convolutions, then blocks that mix the tokens."""

    def __init__(self, width: int, blocks: list[nn.Module], classes: int) -> None:
        super().__init__()
        self.patches = nn.Sequential(
            _conv(3, 16, stride=2), _conv(16, 32, stride=2), nn.Conv2d(32, width, 2, 2), nn.Flatten(2)
        )
        self.places = nn.Parameter(torch.randn(1, (SIZE // 8) ** 2, width) * 0.02)
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.blocks(self.patches(x).transpose(1, 2) + self.places)
        logits: Tensor = self.head(self.norm(tokens).mean(1))
        return logits


class _Attention(nn.Module):
    """Pre-norm transformer block with self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.answer = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.ask(self.before(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + self.answer(mixed.transpose(1, 2).flatten(2))
        out: Tensor = x + self.think(self.after(x))
        return out


def _vit(classes: int) -> nn.Module:
    """Return a vision transformer."""
    return _Tokens(64, [_Attention(64, 4) for _ in range(4)], classes)


class _Mixing(nn.Module):
    """MLP-Mixer block: one perceptron across tokens, one across channels."""

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = nn.Sequential(nn.Linear(tokens, 96), nn.GELU(), nn.Linear(96, tokens))
        self.within = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.before(x).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.within(self.after(x))
        return out


def _mixer(classes: int) -> nn.Module:
    """Return an MLP-Mixer: perceptrons only, no attention."""
    return _Tokens(64, [_Mixing(64, (SIZE // 8) ** 2) for _ in range(4)], classes)


_BUILDERS: dict[str, Callable[[int], nn.Module]] = {
    "plain": _plain,
    "residual": _residual,
    "depthwise": _depthwise,
    "inception": _inception,
    "vit": _vit,
    "mixer": _mixer,
}
FAMILIES = tuple(_BUILDERS)


def build(family: str, classes: int) -> nn.Module:
    """Return an untrained network of one of FAMILIES."""
    return _BUILDERS[family](classes)
