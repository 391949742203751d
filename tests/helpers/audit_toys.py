"""Small networks, pictures and encoders for the tests of the audits."""

import torch
from torch import Tensor, nn

from onlymymodel.evaluate.audits.options import RepresentationSettings
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.representation.defense import Representation, train_representation
from onlymymodel.evaluate.audits.representation.task import Task

SETTINGS = RepresentationSettings(noise=0.0, steps=4, batch=8, dimension=16, seed=3)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=stream(seed))


def pictures(labels: list[int], classes: int, size: int = 8, seed: int = 0) -> Pictures:
    names = tuple(f"{seed}-{index}" for index in range(len(labels)))
    pixels = noise(len(labels), 1, size, size, seed=seed)
    return Pictures(pixels, torch.tensor(labels), torch.arange(len(labels)), names, classes)


def tiny(activation: type[nn.Module] = nn.Sigmoid, *, norm: bool = False, seed: int = 0) -> nn.Sequential:
    """(B,1,6,6) -> (B,4), float64."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 6, 3, 2, 1), *([nn.BatchNorm2d(6)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(54, 4)).double().eval()


def picture(count: int = 1, seed: int = 5) -> Tensor:
    return torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trained(pictures: Pictures, settings: RepresentationSettings) -> Representation:
    return train_representation(
        pictures.pixels, pictures.labels, task=Task.of(pictures), settings=settings, progress=False
    )


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)
