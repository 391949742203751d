"""Preprocessing that a loader assumed, since neither the URI nor the weights' own record has it."""

from collections.abc import Iterable

from onlymymodel.surrogates.black_box import BlackBox
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.model_card import Preprocess
from onlymymodel.surrogates.uri import ModelUri

UNUSED = {
    "squash": ("crop_pct",),
    "letterbox": ("crop_pct",),
    "align": ("crop_pct", "interpolation"),
}  # options without effect, by the fit


def still_assumed(names: Iterable[str], preprocess: Preprocess, uri: ModelUri) -> tuple[str, ...]:
    """Return the options that a loader assumed, without those that the URI gives and those that have no effect.

    Args:
        names: what the loader assumed, see `Loaded.assumed`.
        preprocess: of the model, with the options of its URI.
        uri: of the model.
    """
    known = {*uri.options, *UNUSED.get(preprocess.fit, ())}
    return tuple(name for name in names if name not in known)


def assumed_options(model: Classifier | BlackBox) -> dict[str, str]:
    """Return the assumed options of a model's URI, with the values that are in use; empty for a user's black box."""
    return {name: _value(model.card.preprocess, name) for name in getattr(model, "assumed", ())}


def assumed_by_uri(models: Iterable[Classifier | BlackBox]) -> dict[str, dict[str, str]]:
    """Return the assumed options of each model that has any, by the URI on its card, fit for a record of a run."""
    found = {model.card.uri: assumed_options(model) for model in models}
    return {uri: options for uri, options in found.items() if options}


def assumption(options: dict[str, str]) -> str:
    """Return in one sentence what was assumed, why it matters and how to give it."""
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return (
        f"assumed, as neither the URI nor the weights record it: {query}; protection and figures hold only for the "
        "true preprocessing: add these options with their true values to the URI"
    )


def _value(preprocess: Preprocess, name: str) -> str:
    """Return an option as a URI has it."""
    if name == "size":
        return f"{preprocess.height}x{preprocess.width}"
    value = getattr(preprocess, name)
    return ",".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)
