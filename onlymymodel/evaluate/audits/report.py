"""The common structure of all audits: an adversary attacks a release, and a report states the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Value = float | int | str | bool | None
Picture = NDArray[np.uint8]
NO_REASON = "no signal: nothing varies, or nothing was there to be measured"


@dataclass(frozen=True)
class AuditRow:
    """Measurements of one item: a photo, a layer, a network.

    Attributes:
        name: name of the item, unique among the rows, or among the controls, of a report.
        values: measurements by name, in the order in which a table shows them; None if there is no signal.
        pictures: HWC uint8 pictures by caption; they are shown on the page and left out of the JSON.
    """

    name: str
    values: Mapping[str, Value]
    pictures: Mapping[str, Picture] = field(default_factory=dict, compare=False)


class Findings(NamedTuple):
    """Result of an adversary's work.

    Attributes:
        rows: measurements of each item.
        controls: the same measurements where nothing, or everything, can be recovered.
        series: curves by name, such as similarities over the steps of an attack, all of the same length.
    """

    rows: Sequence[AuditRow]
    controls: Sequence[AuditRow]
    series: Mapping[str, Sequence[float]] = MappingProxyType({})


class Release(Protocol):
    """Data that others receive instead of a person's picture."""

    @property
    def name(self) -> str: ...

    def describe(self) -> dict[str, Any]:
        """Return what the release depends on as JSON values: hashes of weights, layer, noise, ..."""
        ...


ReleaseT = TypeVar("ReleaseT", bound=Release, contravariant=True)


class Adversary(Protocol[ReleaseT]):
    """An adversary who attacks a release. It keeps no state between calls."""

    @property
    def name(self) -> str: ...

    def assumptions(self, release: ReleaseT) -> Sequence[str]:
        """Return what the adversary is given besides the release, one sentence each."""
        ...

    def findings(self, release: ReleaseT, *, progress: bool) -> Findings:
        """Attack the release, and measure the controls."""
        ...

    def summary(self, rows: Sequence[AuditRow], controls: Sequence[AuditRow]) -> Mapping[str, Value]:
        """Return aggregates over all rows: means, correlations, gaps to the controls."""
        ...

    def reasons(self, release: ReleaseT) -> Mapping[str, str]:
        """Return why a measurement may have no value, by its name; `*` in a name stands for anything."""
        ...


@dataclass(frozen=True)
class AuditReport:
    """Result of an audit. Controls and assumptions are mandatory.

    Attributes:
        release, adversary: names of the two.
        rows: measurements of each item.
        controls: the same measurements where nothing, or everything, can be recovered.
        assumptions: what the adversary was given.
        summary: aggregates over all rows.
        settings: what the release depends on.
        reasons: why a measurement may have no value, by its name; `*` in a name stands for anything.
        series: curves by name, all of the same length.

    Raises:
        ValueError: rows, controls or assumptions are missing, or two rows have the same name.
    """

    release: str
    adversary: str
    rows: tuple[AuditRow, ...]
    controls: tuple[AuditRow, ...]
    assumptions: tuple[str, ...]
    summary: Mapping[str, Value] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in ("rows", "controls", "assumptions"):
            if not getattr(self, part):
                raise ValueError(f"the audit of {self.release} has no {part}: a report is invalid without {part}")
        for rows in (self.rows, self.controls):
            names = [row.name for row in rows]
            if len(set(names)) < len(names):
                raise ValueError(f"the audit of {self.release} has several rows of the same name: {names}")

    @property
    def missing(self) -> dict[str, str]:
        """The reason of every dash of the report, by the name of the measurement."""
        parts = [row.values for row in (*self.rows, *self.controls)] + [self.summary]
        names = dict.fromkeys(name for values in parts for name, value in values.items() if value is None)
        return {name: self._reason(name) for name in names}

    def _reason(self, name: str) -> str:
        return next((text for pattern, text in self.reasons.items() if fnmatchcase(name, pattern)), NO_REASON)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the pictures as JSON values."""
        return {
            "release": self.release,
            "adversary": self.adversary,
            "assumptions": list(self.assumptions),
            "summary": dict(self.summary),
            "rows": [{"name": row.name, **row.values} for row in self.rows],
            "controls": [{"name": control.name, **control.values} for control in self.controls],
            "missing": self.missing,
            "series": {name: list(values) for name, values in self.series.items()},
            "settings": dict(self.settings),
        }


def audit_release(release: ReleaseT, adversary: Adversary[ReleaseT], *, progress: bool = True) -> AuditReport:
    """Let an adversary attack a release, and return the report.

    Raises:
        ValueError: the adversary returned no rows, no controls or no assumptions.
    """
    rows, controls, series = adversary.findings(release, progress=progress)
    return AuditReport(
        release=release.name,
        adversary=adversary.name,
        rows=tuple(rows),
        controls=tuple(controls),
        assumptions=tuple(adversary.assumptions(release)),
        summary=adversary.summary(rows, controls),
        settings=release.describe(),
        reasons=adversary.reasons(release),
        series=series,
    )
