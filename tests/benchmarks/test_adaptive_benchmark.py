"""Parties that adapt, in benchmarks/adaptive.py, and the page with its results."""

import importlib

import pytest
from paths import BENCHMARKS, ROOT

from onlymymodel.evaluate.channels import CHANNELS
from onlymymodel.protect.attack.tables import AGAINST


def test_the_page_has_the_table_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    made = importlib.import_module("adaptive_tables").adaptive()
    assert made in (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")


def test_the_parties_are_channels_that_the_attack_can_go_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    parties = importlib.import_module("adaptive_tables").PARTIES
    assert set(parties) <= set(AGAINST)
    assert set(parties) <= set(CHANNELS)
