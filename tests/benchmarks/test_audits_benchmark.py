"""benchmarks/audits.py: units are measured once, and tables have the intervals that they say."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
from paths import BENCHMARKS, ROOT


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """benchmarks/audit_units.py as a module that keeps its units in a folder of the test."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("audit_units")
    monkeypatch.setattr(module, "KEPT", tmp_path)
    return module


def test_a_unit_is_measured_again_only_if_its_code_changed(units: ModuleType) -> None:
    calls: list[None] = []

    def measure() -> object:
        calls.append(None)
        return units.Measured(figures={"value": len(calls)})

    unit = units.Unit("CNN, digits", 3, measure)
    first = units.measure("layers", unit, "code")
    assert first["figures"] == {"value": 1}
    assert units.measure("layers", unit, "code") == first
    assert units.measure("layers", units.Unit("CNN, digits", 4, measure), "code")["figures"] == {"value": 2}
    assert units.measure("layers", unit, "other code")["figures"] == {"value": 3}
    assert len(calls) == 3


def test_a_fingerprint_follows_what_measures_and_not_what_shows(
    units: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    files = {name: tmp_path / name for name in ("ranking.py", "own/audit.py", "own/decision.py", "page.py")}
    for file in files.values():
        file.write_text("first = 1")
    monkeypatch.setattr(units, "AUDITS", tmp_path)
    code = units.fingerprint(units, ("own",))
    for name, changes in (("own/decision.py", False), ("page.py", False), ("own/audit.py", True), ("ranking.py", True)):
        files[name].write_text("second = 1")
        assert (units.fingerprint(units, ("own",)) != code) is changes
        files[name].write_text('"""Says more."""\nfirst = 1  # a comment')
        assert units.fingerprint(units, ("own",)) == code


def test_intervals_of_gradients_are_over_batches(units: ModuleType) -> None:  # noqa: ARG001 - its path is needed
    line = importlib.import_module("audit_gradients").line
    rows = [
        {"psnr": 10.0 + index, "ssim": 0.1 * index, "psnr_mean_picture": 9.0, "ssim_mean_picture": 0.05}
        for index in range(4)
    ]
    report = {
        "release": "r", "adversary": "a", "rows": rows, "summary": {"labels_found": None},
        "settings": {"batch": 2, "defense": "none"},
    }  # fmt: skip
    found = line("name", report)
    # two batches with means of 10.5 and 12.5 dB: Student's t with one degree of freedom, 12.7062 standard errors
    assert found["psnr"]["n"] == 2
    assert found["psnr"]["mean"] == pytest.approx(11.5)
    assert found["psnr"]["high"] == pytest.approx(11.5 + 12.7062 * 1.0, rel=1e-4)
    assert found["ssim_gain"]["mean"] == pytest.approx(0.15 - 0.05)


def test_representations_have_intervals_over_people_each_averaged_over_seeds(units: ModuleType) -> None:  # noqa: ARG001
    module = importlib.import_module("audit_representations")

    def figures(value: float) -> dict[str, float]:
        return dict.fromkeys(module.MEASURES, value)

    def result(bare: dict[str, float], defended: dict[str, float], name: str = "first") -> dict[str, object]:
        people = {
            "undefended": {person: figures(value) for person, value in bare.items()},
            "lambda 2": {person: figures(value) for person, value in defended.items()},
        }
        found = {"people": people, "accuracy_by_chance": 0.2, "mcc": {"undefended": 0.8, "lambda 2": 0.6}}
        return {"name": name, "figures": found, "reports": [{"controls": []}]}

    results = [result({"1": 0.5, "2": 0.7}, {"1": 0.2, "2": 0.6}), result({"1": 0.7}, {"1": 0.4})]
    others = [result({"1": 0.9, "3": 0.9}, {"1": 0.8, "3": 0.6}, "second")]
    _, line, _, other = module.tables([*results, *others])["representations"]
    assert (line["pictures"], line["seeds"], other["pictures"], other["seeds"]) == ("first", 2, "second", 1)
    assert other["ssim"]["mean"] == pytest.approx(0.7)
    assert line["mcc"]["mean"] == pytest.approx(0.6)
    assert line["ssim"]["n"] == 2
    assert line["ssim"]["mean"] == pytest.approx((0.3 + 0.6) / 2)
    assert line["ssim_over_undefended"]["mean"] == pytest.approx((-0.3 - 0.1) / 2)


def test_pages_have_the_tables_and_claims_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    rewrite = importlib.import_module("tables").rewrite
    for page in (ROOT / "docs" / "guide" / "audits.md", ROOT / "results" / "README.md"):
        text = page.read_text(encoding="utf-8")
        for name in ("audit-gradients", "audit-layers", "audit-weights", "audit-representations", "audit-claims"):
            marker = f"<!-- {name} -->"
            if marker in text:
                part = text[text.index(marker) : text.index(f"<!-- /{name} -->")]
                assert part in rewrite(text)
                assert part.count("\n") > 3
