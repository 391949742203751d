"""Agreement of a model's attributes with a reference, by the Matthews correlation coefficient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onlymymodel.data.attributes import decode

Codes = Sequence[int | None]  # of photos, see `data.attributes`; None where there is no answer


@dataclass(frozen=True)
class AttributeTruths:
    """The reference attributes of the evaluated photos, for one model.

    Attributes:
        names: of the model's attributes, in the order of the bits of its answers.
        known: of these, the attributes that the labels have.
        labels: (photos,) codes over `known`; None for a photo without labels. Empty where there are no labels.
    """

    names: tuple[str, ...]
    known: tuple[str, ...] = ()
    labels: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Correlation:
    """Mean Matthews correlation coefficient over the attributes for which it is defined.

    Attributes:
        mean: in [-1, 1]; None where it is defined for no attribute.
        attributes: number of attributes over which the mean is taken.
        undefined: number of attributes that are left out: the reference is the same for all photos.
        photos: number of photos that have a reference.
    """

    mean: float | None
    attributes: int
    undefined: int
    photos: int


def matthews(reference: NDArray[np.bool_], answers: NDArray[np.bool_]) -> float | None:
    """Return the Matthews correlation coefficient (Matthews, 1975) of two (N,) columns.

    It is 0 where only the answers are constant, as in scikit-learn: they say nothing of the reference. None where the
    reference is constant.
    """
    if len(set(reference.tolist())) < 2:
        return None
    if len(set(answers.tolist())) < 2:
        return 0.0
    return float(np.corrcoef(reference, answers)[0, 1])  # the coefficient of Pearson on two values


def correlate(references: Codes, answers: Codes, count: int) -> Correlation:
    """Return the mean coefficient of the answers to photos with their references.

    A missing answer counts as the reference itself: it proves nothing. Photos without a reference are left out.

    Args:
        references: (photos,) codes of `count` attributes.
        answers: as `references`.
        count: number of attributes.
    """
    pairs = [
        (reference, reference if answer is None else answer)
        for reference, answer in zip(references, answers, strict=True)
        if reference is not None
    ]
    tables = np.array([[decode(code, count) for code in pair] for pair in pairs], bool).reshape(len(pairs), 2, count)
    coefficients = [matthews(tables[:, 0, column], tables[:, 1, column]) for column in range(count)]
    defined = [coefficient for coefficient in coefficients if coefficient is not None]
    mean = sum(defined) / len(defined) if defined else None
    return Correlation(mean, len(defined), count - len(defined), len(pairs))
