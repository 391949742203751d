"""The release of the audit of layers: the outputs that a device sends to a server that computes the rest."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from onlymymodel.evaluate.audits.layers.layers import Layer, choose_layers, parameters_on_device
from onlymymodel.evaluate.audits.layers.shadow_membership import Retrain
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.surrogates.fingerprint import parameters_sha256


@dataclass(frozen=True)
class LayerRelease:
    """The outputs of a network's layers, as a device sends them to a server that computes the rest.

    Attributes:
        name: name of the network.
        network: (B,C,S,S) in [0,1] -> anything, in eval mode, such as a `Classifier`.
        nonmembers: pictures that the network was not trained on.
        members: pictures that it was trained on, of the same distribution; None if unknown.
        layers: names of the audited layers, see `Layer.name`; all if empty.
        max_layers: largest number of audited layers, spread evenly, with the first and the last.
        retrain: trains a network like this one, for shadow networks; None if it is unknown how.
    """

    name: str
    network: nn.Module
    nonmembers: Pictures
    members: Pictures | None = None
    layers: tuple[str, ...] = ()
    max_layers: int | None = None
    retrain: Retrain | None = None

    @cached_property
    def audited_layers(self) -> list[Layer]:
        """The audited layers, in order of computation."""
        return choose_layers(self.network, self.nonmembers.pixels, self.layers, self.max_layers)

    def describe(self) -> dict[str, Any]:
        """Return the network's hash, its layers and the pictures as JSON values."""
        return {
            "network": type(self.network).__name__,
            "weights_sha256": parameters_sha256(self.network),
            "layers": [layer.name for layer in self.audited_layers],
            "kinds": {layer.name: self._kind(layer) for layer in self.audited_layers},
            "pictures": len(self.nonmembers),
            "members": len(self.members) if self.members else 0,
            "shape": list(self.nonmembers.pixels.shape[1:]),
        }

    @cached_property
    def on_device(self) -> dict[str, float]:
        """The share of the parameters that is used up to each audited layer, by its name."""
        shares = parameters_on_device(self.network, self.audited_layers, self.nonmembers.pixels)
        return {layer.name: share for layer, share in zip(self.audited_layers, shares, strict=True)}

    def _kind(self, layer: Layer) -> str:
        return type(self.network.get_submodule(layer.path)).__name__
