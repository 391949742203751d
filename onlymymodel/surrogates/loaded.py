"""What every loader gives."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from onlymymodel.surrogates.classifier import Preprocess


@dataclass(frozen=True)
class Loaded:
    """What a loader found: the network, how it wants its input, and what the weights' record says of them.

    Attributes:
        sha256: of the file that holds the weights; None where there is none.
        weights: their `fingerprint`, where it is not that of `net`; "" where they have none.
    """

    net: nn.Module
    preprocess: Preprocess
    record: dict[str, Any] = field(default_factory=dict)
    sha256: str | None = None
    weights: str | None = None
