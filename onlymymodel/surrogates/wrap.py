"""Networks of a Python program as classifiers."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import nn

from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.fingerprint import parameters_sha256
from onlymymodel.surrogates.load import to_classifier
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.model_card import Fit, Interpolation, Preprocess
from onlymymodel.surrogates.schemes import PREPROCESS_OPTIONS
from onlymymodel.surrogates.uri import ModelUri


def wrap_network(
    net: nn.Module,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    size: int | tuple[int, int] = 224,
    crop_pct: float | None = None,
    fit: Fit | None = None,
    interpolation: Interpolation | None = None,
    labels: Sequence[str] = (),
    task: str = "classification",
    family: str = "",
    parent: str = "",
) -> Classifier:
    """Return a frozen copy of a network as a classifier that takes pixels in [0,1].

    What it is given has to be the preprocessing that the network was trained with: what is None is assumed, and the
    records of a run say so.

    Args:
        net: maps normalized (B,3,height,width) float32 to (B,classes) logits; it is copied and left as it is.
        mean: per RGB channel, for pixels in [0,1].
        std: as `mean`.
        size: side of the square input, or (height, width), in pixels.
        crop_pct: see `Preprocess`; 0.875 if None.
        fit: see `Preprocess`; `crop` if None.
        interpolation: see `Preprocess`; `bicubic` if None.
        labels: class names in index order; none if they are not known.
        task: see `ModelCard`.
        family: see `ModelCard`.
        parent: see `ModelCard`.

    Raises:
        UserError: a value is out of its range, or the network fails on an input of this size or gives no logits.
    """
    height, width = (size, size) if isinstance(size, int) else size
    given = {
        "size": f"{height}x{width}",
        "mean": ",".join(map(str, mean)),
        "std": ",".join(map(str, std)),
        "task": task,
        **({} if crop_pct is None else {"crop_pct": str(crop_pct)}),
        **({} if fit is None else {"fit": fit}),
        **({} if interpolation is None else {"interpolation": interpolation}),
        **({"family": family} if family else {}),
        **({"parent": parent} if parent else {}),
        **({"classes": str(len(labels))} if labels else {}),
    }
    with torch.no_grad():  # copies of TorchScript would lead back to the original
        copied, sha256 = deepcopy(net).cpu(), parameters_sha256(net)
    # of its weights, too: two networks of one class are two models
    name = f"{type(net).__module__}:{type(net).__qualname__}#{sha256[:8]}"
    uri = ModelUri(f"python:{name}", "python", name, given)
    record = {"labels": tuple(labels)} if labels else {}
    return to_classifier(uri, Loaded(copied, Preprocess(), record, assumed=PREPROCESS_OPTIONS))
