"""The release of the gradient audit: the gradients that clients of federated learning send."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.gradients.client_gradient import Gradient, client_copy, client_update
from onlymymodel.evaluate.audits.gradients.defenses import NONE, Chain
from onlymymodel.evaluate.audits.noise import noise_generator
from onlymymodel.evaluate.audits.options import Mode
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.surrogates.fingerprint import parameters_sha256


@dataclass(frozen=True)
class GradientRelease:
    """The gradients that clients send, one for each batch: of the mean cross-entropy, by every parameter.

    Attributes:
        network: (B,C,S,S) in [0,1] -> (B,classes) logits.
        pictures: pictures of the clients, in order; those beyond the last full batch are left out.
        mode: `eval`, or `train`, in which batch norms use the batch's own statistics; always without dropout.
        batch: number of pictures behind one gradient.
        defense: what the client does to a gradient before it sends it.
        originals: (N,C,S,S) in [0,1], if `pictures` are protected versions of them.
        local_steps: number of local steps behind one update, see `client_update`; 1 sends a gradient.
        local_rate: step size of each local step.
        seed: seed of the defense's noise.
        labeled_by_network: whether the labels are the network's own answers.

    Raises:
        UserError: fewer than two batches, or originals of another shape.
    """

    network: nn.Module
    pictures: Pictures
    mode: Mode = "eval"
    batch: int = 1
    defense: Chain = NONE
    originals: Tensor | None = None
    local_steps: int = 1
    local_rate: float = 0.1
    seed: int = 0
    labeled_by_network: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1 or len(self.pictures) < 2 * self.batch:
            raise UserError(
                f"a gradient audit in batches of {self.batch} needs at least {max(2, 2 * self.batch)} pictures, since "
                f"its controls compare with another batch; got {len(self.pictures)}"
            )
        if self.originals is not None and self.originals.shape != self.pictures.pixels.shape:
            raise UserError(
                f"originals are {tuple(self.originals.shape)} and protected pictures "
                f"{tuple(self.pictures.pixels.shape)}: give one original of the same size for each"
            )
        if (
            self.mode == "train"
            and self.batch == 1
            and any(isinstance(m, nn.BatchNorm1d) for m in self.network.modules())
        ):
            raise UserError("batch norm over vectors cannot train on a batch of one: use mode eval or larger batches")

    @property
    def name(self) -> str:
        """Name of the release, with the defense, and what is behind one gradient if it is more than one picture."""
        kind = "gradient" if self.local_steps == 1 else f"update of {self.local_steps} local steps"
        return f"{kind}{f' of {self.batch} pictures' if self.batch > 1 else ''}, defense {self.defense.name}"

    @property
    def batches(self) -> list[Pictures]:
        """The full batches."""
        count = len(self.pictures) // self.batch
        return [self.pictures.take(range(index * self.batch, (index + 1) * self.batch)) for index in range(count)]

    @property
    def original_batches(self) -> Sequence[Tensor | None]:
        """The (B,C,S,S) originals of each batch; None without originals."""
        if self.originals is None:
            return [None] * len(self.batches)
        return list(torch.split(self.originals, self.batch))[: len(self.batches)]

    def clean_gradient(self, pixels: Tensor, labels: Tensor) -> Gradient:
        """Return the gradient, or the update, of any batch without the defense, in the network's own type."""
        network = client_copy(self.network, self.mode)
        device = next(network.parameters()).device
        return self.update(network, pixels.to(device), labels.to(device))

    def update(self, network: nn.Module, pixels: Tensor, labels: Tensor, *, differentiable: bool = False) -> Gradient:
        """Return the update of a network as by `client_copy` at a batch, see `client_update`."""
        return client_update(
            network, pixels, labels, steps=self.local_steps, rate=self.local_rate, differentiable=differentiable
        )

    def gradient(self, index: int) -> Gradient:
        """Return the gradient that is sent for a batch."""
        batch = self.batches[index]
        clean = self.clean_gradient(batch.pixels, batch.labels)
        return self.defense.release(clean, noise_generator(self.seed, index))

    def describe(self) -> dict[str, Any]:
        """Return the network's hash, mode, batch, defense and pictures as JSON values."""
        return {
            "network": type(self.network).__name__,
            "weights_sha256": parameters_sha256(self.network),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "mode": self.mode,
            "batch": self.batch,
            "local_steps": self.local_steps,
            "local_rate": self.local_rate,
            "defense": self.defense.name,
            "pictures": len(self.batches) * self.batch,
            "shape": list(self.pictures.pixels.shape[1:]),
            "labeled_by_network": self.labeled_by_network,
            "protected": self.originals is not None,
            "seed": self.seed,
        }
