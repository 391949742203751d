"""What every loader gives."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from onlymymodel.surrogates.classifier import Preprocess


@dataclass(frozen=True)
class Loaded:
    """What a loader found: the network, how it wants its input, and what the weights' record says of them."""

    net: nn.Module
    preprocess: Preprocess
    record: dict[str, Any] = field(default_factory=dict)
    sha256: str | None = None
