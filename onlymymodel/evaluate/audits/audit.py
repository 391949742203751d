"""One shape for every audit: somebody sees a release, an adversary works on it, a report says what that gives away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Value = float | int | str | bool | None
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Finding:
    """What was measured on one thing: a photo, a layer, a network.

    Attributes:
        name: of the thing, unique among the rows, or among the controls, of a report.
        values: figures by their names, in the order in which a table shows them; None where there is no signal.
        pictures: HWC uint8 pictures by their captions, for people; they enter the page, not the JSON.
    """

    name: str
    values: Mapping[str, Value]
    pictures: Mapping[str, Picture] = field(default_factory=dict, compare=False)


class Release(Protocol):
    """What somebody gets to see of a person's picture."""

    @property
    def name(self) -> str: ...

    def describe(self) -> dict[str, Any]:
        """What it depends on, as JSON values: weights' hashes, layer, noise, ..."""
        ...


ReleaseT = TypeVar("ReleaseT", bound=Release, contravariant=True)


class Adversary(Protocol[ReleaseT]):
    """Somebody who works on a release."""

    @property
    def name(self) -> str: ...

    def assumptions(self, release: ReleaseT) -> Sequence[str]:
        """What it is given besides the release, and in which state: a sentence each."""
        ...

    def findings(self, release: ReleaseT, *, progress: bool) -> Sequence[Finding]:
        """What it gets."""
        ...

    def controls(self, release: ReleaseT, *, progress: bool) -> Sequence[Finding]:
        """The same figures where nothing, or everything, is to be found; called after `findings`."""
        ...

    def summary(self, rows: Sequence[Finding], controls: Sequence[Finding]) -> Mapping[str, Value]:
        """Figures over all rows: means, correlations, gaps to the controls."""
        ...


@dataclass(frozen=True)
class AuditReport:
    """What an audit found. There is none without controls and assumptions.

    Attributes:
        release, adversary: their names.
        rows: the findings.
        controls: the same figures where nothing, or everything, is to be found.
        assumptions: what the adversary was given.
        summary: figures over all rows.
        settings: what the release depends on.

    Raises:
        ValueError: no rows, no controls or no assumptions; two rows of one name.
    """

    release: str
    adversary: str
    rows: tuple[Finding, ...]
    controls: tuple[Finding, ...]
    assumptions: tuple[str, ...]
    summary: Mapping[str, Value] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in ("rows", "controls", "assumptions"):
            if not getattr(self, part):
                raise ValueError(f"an audit of {self.release} without {part} says nothing")
        for findings in (self.rows, self.controls):
            names = [finding.name for finding in findings]
            if len(set(names)) < len(names):
                raise ValueError(f"two findings of one name in an audit of {self.release}: {names}")

    def to_json(self) -> dict[str, Any]:
        """All but the pictures, as JSON values."""
        return {
            "release": self.release,
            "adversary": self.adversary,
            "assumptions": list(self.assumptions),
            "summary": dict(self.summary),
            "rows": [{"name": row.name, **row.values} for row in self.rows],
            "controls": [{"name": control.name, **control.values} for control in self.controls],
            "settings": dict(self.settings),
        }


def audit_release(release: ReleaseT, adversary: Adversary[ReleaseT], *, progress: bool = True) -> AuditReport:
    """Let an adversary work on a release.

    Raises:
        ValueError: it found nothing to report, or has no controls or no assumptions.
    """
    rows = tuple(adversary.findings(release, progress=progress))
    controls = tuple(adversary.controls(release, progress=progress))
    return AuditReport(
        release=release.name,
        adversary=adversary.name,
        rows=rows,
        controls=controls,
        assumptions=tuple(adversary.assumptions(release)),
        summary=adversary.summary(rows, controls),
        settings=release.describe(),
    )
