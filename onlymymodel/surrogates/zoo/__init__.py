"""Bundled tiny models, trained on rendered portraits: six families, each for two tasks.

They are part of the wheel so that every command and every test runs at once, without a network. They recognize only the
sixteen rendered faces of `onlymymodel.data.portraits`; their results say nothing about photos of people.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onlymymodel.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

# what a user has to know before naming one
LIMIT = "bundled models know only rendered portraits, and what they answer to other pictures means nothing"
TASKS = ("identity", "emotion")
FAMILIES = ("plain", "residual", "depthwise", "inception", "vit", "mixer")  # of `architectures.build`
NAMES: tuple[str, ...] = tuple(f"{task}-{family}" for task in TASKS for family in FAMILIES)


def path(name: str) -> Path:
    """Return the file with the weights of a bundled model.

    Raises:
        UserError: no bundled model has this name.
    """
    if name not in NAMES:
        raise UserError(f"no bundled model is called {name!r}{did_you_mean(name, NAMES)}")
    return Path(__file__).parent / f"{name}.safetensors"


def read(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """Return a bundled model in eval mode, float32, and its record.

    The model maps (B,3,64,64) pixels, normalized by the record's mean and std, to (B, labels) logits. The record has
    task, family, labels, size, mean, std, parent, accuracy, seed and licence.

    Raises:
        UserError: no bundled model has this name.
    """
    from safetensors import safe_open

    from onlymymodel.surrogates.zoo.architectures import build

    with safe_open(path(name), framework="pt") as file:
        card: dict[str, Any] = json.loads(file.metadata()["card"])
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    model = build(card["family"], len(card["labels"]))
    model.load_state_dict(weights, strict=True)
    return model.float().eval(), card
