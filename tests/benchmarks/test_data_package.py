"""results/ as a data package, and the sources of every table."""

import hashlib
import importlib
import json
import re
from types import ModuleType

import pytest
from paths import BENCHMARKS, ROOT

RESULTS = ROOT / "results"


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/data_package.py as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("data_package")


def test_every_measured_file_is_listed_with_its_hash() -> None:
    resources = json.loads((RESULTS / "datapackage.json").read_text(encoding="utf-8"))["resources"]
    files = {path.relative_to(RESULTS).as_posix() for path in RESULTS.rglob("*.json")} - {"datapackage.json"}
    assert {resource["path"] for resource in resources} == files
    names = [resource["name"] for resource in resources]
    assert len(set(names)) == len(names)
    for resource in resources:
        data = (RESULTS / resource["path"]).read_bytes()
        assert (resource["bytes"], resource["hash"]) == (len(data), f"sha256:{hashlib.sha256(data).hexdigest()}")
        assert re.fullmatch(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", resource["name"])  # as the specification asks
        script = re.search(r"benchmarks/(\w+)\.py", resource["command"])
        assert "omm " in resource["command"] or (script is not None and (BENCHMARKS / script[0][11:]).exists())


def test_photos_are_counted_where_a_file_lists_or_counts_them() -> None:
    resources = json.loads((RESULTS / "datapackage.json").read_text(encoding="utf-8"))["resources"]
    counts = {resource["path"]: resource.get("photos") for resource in resources}
    assert counts["deployments/nips2017/mobilenet_v2-default-8.json"] == 48
    assert counts["recipes/mobilenet_v2-default-8.json"] == 12
    assert counts["overhead.json"] is None  # the shape of a batch
    assert counts["memory.json"] is None  # records by size
    assert all(count is None or isinstance(count, int) for count in counts.values())


def test_every_table_of_the_pages_has_sources_that_exist(package: ModuleType) -> None:
    parts = list(package.marked_parts())
    assert ("README.md", "headline") in parts
    for _, name in parts:
        patterns, benchmark = package.SOURCES[name]
        assert (BENCHMARKS / f"{benchmark}.py").exists()
        assert all(any(RESULTS.glob(pattern)) for pattern in patterns), name
