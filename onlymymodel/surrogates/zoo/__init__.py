"""Bundled tiny models, trained here on rendered portraits: six families, each for two tasks.

They travel in the wheel so that every command and every test runs at once, without a network. What they say
about people is nothing: they know the sixteen invented faces of `onlymymodel.data.portraits` and no other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from onlymymodel.errors import UserError
from onlymymodel.surrogates.uri import did_you_mean
from onlymymodel.surrogates.zoo.architectures import FAMILIES, build

TASKS = ("identity", "emotion")
NAMES: tuple[str, ...] = tuple(f"{task}-{family}" for task in TASKS for family in FAMILIES)


def path(name: str) -> Path:
    """Return where the weights of a bundled model lie."""
    if name not in NAMES:
        raise UserError(f"no bundled model is called {name!r}{did_you_mean(name, NAMES)}")
    return Path(__file__).parent / f"{name}.safetensors"


def read(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """Return a bundled model in eval mode, float32, and its record.

    It takes (B, 3, 64, 64) pixels, normalized by the record's mean and std, and gives (B, labels) logits.
    The record has task, family, labels, size, mean, std, parent, accuracy, seed and licence.
    """
    with safe_open(path(name), framework="pt") as file:
        card: dict[str, Any] = json.loads(file.metadata()["card"])
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    model = build(card["family"], len(card["labels"]))
    model.load_state_dict(weights, strict=True)
    return model.float().eval(), card
