"""Paths of the repository and of its assets."""

from pathlib import Path

HELPERS = Path(__file__).resolve().parent
ROOT = HELPERS.parents[1]
BENCHMARKS = ROOT / "benchmarks"
ASSETS = ROOT.parent / "shared" / "assets"
CASES = ROOT.parent / "shared" / "cases"
