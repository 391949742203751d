"""Reports of audits, which cannot leave out controls."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from onlymymodel.evaluate.audits.report import AuditReport, AuditRow, Findings, Value, audit_release


class EmptyRelease:
    """A release of nothing."""

    name = "empty"

    def describe(self) -> dict[str, Any]:
        return {"noise": 0}


class ScriptedAdversary:
    """An adversary that leaves one part of its report out."""

    name = "scripted"

    def __init__(self, missing: str = "") -> None:
        self.missing = missing

    def _unless_missing(self, part: str, entries: list[Any]) -> list[Any]:
        return [] if part == self.missing else entries

    def assumptions(self, release: EmptyRelease) -> Sequence[str]:
        return self._unless_missing("assumptions", [f"It sees {release.name}."])

    def findings(self, release: EmptyRelease, *, progress: bool) -> Findings:
        assert not progress
        row = AuditRow("a", {"ssim": 0.5, "auc": None}, {release.name: np.zeros((2, 2, 3), np.uint8)})
        control = AuditRow("a", {"ssim": 0.1}, {release.name: np.ones((2, 2, 3), np.uint8)})
        return Findings(self._unless_missing("rows", [row]), self._unless_missing("controls", [control]))

    def summary(self, rows: Sequence[AuditRow], controls: Sequence[AuditRow]) -> Mapping[str, Value]:
        return {"rows": len(rows), "controls": len(controls)}

    def reasons(self, release: EmptyRelease) -> Mapping[str, str]:
        return {"auc": f"{release.name} has no members"}


def test_report_has_every_part_and_its_json_no_pictures() -> None:
    report = audit_release(EmptyRelease(), ScriptedAdversary(), progress=False).to_json()
    assert json.loads(json.dumps(report)) == {
        "release": "empty",
        "adversary": "scripted",
        "assumptions": ["It sees empty."],
        "summary": {"rows": 1, "controls": 1},
        "rows": [{"name": "a", "ssim": 0.5, "auc": None}],
        "controls": [{"name": "a", "ssim": 0.1}],
        "missing": {"auc": "empty has no members"},
        "series": {},
        "settings": {"noise": 0},
    }


@pytest.mark.parametrize("missing", ["rows", "controls", "assumptions"])
def test_report_without_rows_controls_or_assumptions_is_refused(missing: str) -> None:
    with pytest.raises(ValueError, match=f"invalid without {missing}"):
        audit_release(EmptyRelease(), ScriptedAdversary(missing), progress=False)


@pytest.mark.parametrize("part", ["rows", "controls"])
def test_two_rows_of_the_same_name_are_refused(part: str) -> None:
    once = (AuditRow("a", {}),)
    rows, controls = (once * 2 if part == name else once for name in ("rows", "controls"))
    with pytest.raises(ValueError, match="several rows of the same name"):
        AuditReport("r", "a", rows, controls, ("it sees",))
