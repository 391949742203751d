"""Small models of attributes, and tables in the layouts of CelebA."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from toys import Linear, classifier, small_cnn

from onlymymodel.surrogates.classifier import Classifier

NAMES = ("Smiling", "Male", "Young")


def attribute_model(seed: int, names: Sequence[str] = NAMES, scale: float = 0.1) -> Classifier:
    """A random linear model of 16-pixel photos, a logit for each attribute, about evenly positive around mid-gray."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(len(names), 3 * 16 * 16, generator=generator) * scale
    model = classifier(Linear(weights, -weights.sum(1) / 2), len(names), f"attributes-{seed}", task="attributes")
    return Classifier(model.net, replace(model.card, labels=tuple(names)))


def attribute_cnn(seed: int) -> Classifier:
    """The same with layers."""
    model = small_cnn(seed, classes=len(NAMES))
    return Classifier(model.net, replace(model.card, task="attributes", labels=NAMES))


def of_mine() -> Classifier:
    """The authorized model of the tests of the command line, as `python:attribute_models:of_mine`."""
    return attribute_model(1)


def of_theirs() -> Classifier:
    """A stand-in, as `python:attribute_models:of_theirs`."""
    return attribute_model(2)


def of_others() -> Classifier:
    """A judge, as `python:attribute_models:of_others`."""
    return attribute_model(3)


def write_table(path: Path, rows: Mapping[str, Sequence[int]], names: Sequence[str] = NAMES) -> Path:
    """Write CelebA's text, or its CSV where the suffix says so."""
    if path.suffix == ".csv":
        lines = [",".join(["image_id", *names]), *(",".join([file, *map(str, row)]) for file, row in rows.items())]
    else:
        values = (f"{file} {' '.join(f'{value:2d}' for value in row)}" for file, row in rows.items())
        lines = [str(len(rows)), " ".join(names) + " ", *values]
    path.write_text("\n".join(lines) + "\n")
    return path
