"""Load detectors: ONNX files and torchvision's models."""

from collections.abc import Sequence
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from onlymymodel.errors import UserError, first_line
from onlymymodel.surrogates.detector import Detector, detector_record, found_score
from onlymymodel.surrogates.detector_formats import torchvision as read_torchvision
from onlymymodel.surrogates.family import family_of
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.model_card import Preprocess
from onlymymodel.surrogates.uri import ModelUri

LEAST_SCORE = 1e-3  # of torchvision's boxes, so that the optimizer sees those that hardly count
SIDE = 320  # of the input where the network does not say


class RuntimeNetwork(nn.Module):
    """A graph run by ONNX Runtime, without gradients: maps (1,3,height,width) to a tuple of its outputs."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self.session, self.input = session, session.get_inputs()[0].name

    def forward(self, network_input: Tensor) -> tuple[Tensor, ...]:
        outputs = self.session.run(None, {self.input: network_input.cpu().numpy()})
        return tuple(torch.from_numpy(output).to(network_input) for output in outputs)


class TorchvisionNetwork(nn.Module):
    """A detector of torchvision, whose outputs say how many classes it has.

    Args:
        network: of torchvision.
        classes: without the background.
    """

    classes: Tensor

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("classes", torch.zeros(0, classes))

    def forward(self, network_input: Tensor) -> Sequence[dict[str, Tensor]]:
        return [{**photo, "classes": self.classes} for photo in self.network(list(network_input))]


def is_torchvision_detector(name: str) -> bool:
    """Return whether torchvision has a detector of this name."""
    return name in torchvision.models.list_models(module=torchvision.models.detection)


def untrained_detector(uri: ModelUri, name: str, classes: int) -> nn.Module:
    """Return torchvision's untrained detector.

    Args:
        uri: of the model, for errors.
        name: in torchvision.
        classes: with the background.

    Raises:
        UserError: torchvision cannot make it.
    """
    try:
        net: nn.Module = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    except (ValueError, TypeError) as error:
        raise UserError(f"model {uri.text!r}: torchvision cannot make {name}: {first_line(error)}") from error
    return net


def torchvision_detector(uri: ModelUri, name: str, net: nn.Module, names: Sequence[str], classes: int) -> Loaded:
    """Return a detector of torchvision with its weights.

    Args:
        uri: of the model.
        name: in torchvision.
        net: the network; its lower limit of scores is changed.
        names: of its classes, without the background; empty where they are not known.
        classes: how many there are, without the background.

    Raises:
        UserError: an option is wrong.
    """
    for module in (net, getattr(net, "roi_heads", None)):
        if hasattr(module, "score_thresh"):
            module.score_thresh = LEAST_SCORE  # type: ignore[union-attr]
    transform: Any = getattr(net, "transform", None)
    fixed = getattr(transform, "fixed_size", None)
    side = int(fixed[0]) if fixed else int(getattr(transform, "min_size", (SIDE,))[0])
    plain = Preprocess(height=side, width=side, fit="letterbox", mean=(0.0,) * 3, std=(1.0,) * 3)  # normalizes itself
    detector = Detector(TorchvisionNetwork(net, classes), read_torchvision, found_score(uri), None)
    return Loaded(detector, plain, {**detector_record(uri, names), "family": family_of(name)})


def network_of(net: nn.Module) -> nn.Module:
    """Return torchvision's own network in its detector, or any other network itself."""
    inner = net.network if isinstance(net, Detector) else net
    return inner.network if isinstance(inner, TorchvisionNetwork) else inner
