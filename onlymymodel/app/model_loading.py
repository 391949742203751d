"""The models of a run while they are loaded, one by one, for the page."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from onlymymodel.evaluate.results import Role
from onlymymodel.settings import RunSettings
from onlymymodel.surrogates.black_box import BlackBox, ClassifierBlackBox
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.uri import redacted


@dataclass(frozen=True)
class LoadingModel:
    """One model of a run.

    Attributes:
        model: URI without secrets.
        size: of its parameters, in bytes, once it is loaded; None before, and where it is not known.
    """

    model: str
    role: Role
    state: Literal["waiting", "loading", "ready"] = "waiting"
    size: int | None = None


class ModelLoading:
    """Follows the loading of a run's models.

    Args:
        settings: of the run.
        on_change: called with all models whenever one of them changes; what it raises ends the loading.
    """

    def __init__(self, settings: RunSettings, on_change: Callable[[tuple[LoadingModel, ...]], None]) -> None:
        by_role: tuple[tuple[Role, tuple[str, ...]], ...] = (
            ("authorized", (settings.authorized,)),
            ("surrogate", settings.surrogates),
            ("held-out", settings.heldout),
        )
        self.models = [LoadingModel(redacted(uri), role) for role, uris in by_role for uri in uris]
        self._on_change = on_change

    def __call__(self, position: int, model: BlackBox | Classifier | None) -> None:
        """Note that a model is being loaded, or has been; see `RunSettings.load`."""
        state = replace(self.models[position], state="loading")
        if model is not None:
            state = replace(state, state="ready", size=parameter_bytes(model))
        self.models[position] = state
        self._on_change(tuple(self.models))


def parameter_bytes(model: BlackBox | Classifier) -> int | None:
    """Return the size of a network's parameters and buffers in bytes; None where it is not available."""
    network = model.classifier if isinstance(model, ClassifierBlackBox) else model
    if not isinstance(network, nn.Module):
        return None
    values = (value for value in network.state_dict().values() if isinstance(value, Tensor))  # not of quantized layers
    return sum(int(value.numel() * value.element_size()) for value in values)
