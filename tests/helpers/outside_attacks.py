"""Attacks from outside the package, as a researcher would write them, and some that are wrong."""

import random
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from onlymymodel import Attack, AttackInputs


class Fgsm(Attack):
    """FGSM (Goodfellow et al., ICLR 2015) on all surrogates."""

    def propose(self, batch: AttackInputs) -> Tensor:
        photos = batch.photos.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(batch.losses(photos).sum(), photos)
        return batch.epsilon * gradient.sign()


class Noise(Attack):
    """Draws from every global stream and from the photos' own, all of which have to depend on the photo alone."""

    def propose(self, batch: AttackInputs) -> Tensor:
        from_numpy = torch.from_numpy(np.random.standard_normal(batch.photos.shape)).to(batch.photos)
        own = torch.stack([torch.randn(photo.shape, generator=stream) for photo, stream in _streams(batch)])
        noise = torch.randn_like(batch.photos) + from_numpy + own + random.gauss()
        return batch.epsilon * noise.sign()


class NoiseOfABatch(Attack):
    """Takes several photos at once, and draws from their own streams."""

    takes_batches: ClassVar[bool] = True

    def propose(self, batch: AttackInputs) -> Tensor:
        own = torch.stack([torch.randn(photo.shape, generator=stream) for photo, stream in _streams(batch)])
        return batch.epsilon * own.sign()


def _streams(batch: AttackInputs) -> Any:
    return zip(batch.photos, batch.generators, strict=True)


class Returns(Attack):
    """Returns whatever a function of the photos does."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        self.function = function

    def propose(self, batch: AttackInputs) -> Tensor:
        made: Tensor = self.function(batch.photos)
        return made


class FailsOnDark(Fgsm):
    """Returns NaN for dark photos."""

    def propose(self, batch: AttackInputs) -> Tensor:
        return super().propose(batch) * (float("nan") if batch.photos.mean() < 0.2 else 1)


def raising() -> Attack:
    """Made without fault, and raises on every photo."""

    def fail(photos: Tensor) -> Tensor:
        raise ValueError(f"no idea what to do with {len(photos)} photo")

    return Returns(fail)


def no_attack() -> str:
    """A factory that returns something else."""
    return "an attack"


def broken_factory() -> Attack:
    """A factory that raises."""
    raise KeyError("weights")
