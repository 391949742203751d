"""The price of a tuning: what a dry run says, and the counts of levels against searches."""

from pathlib import Path

import pytest
from tuning import JUDGE, QUICK, TEAM, omm

from onlymymodel.evaluate.tune.price import level_counts
from onlymymodel.evaluate.tune.search import Measurement, Search, Target, first_levels, first_levels_of_photo


@pytest.mark.slow
def test_a_dry_run_says_the_price_and_writes_nothing(
    two_portraits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tune", str(two_portraits), "--out", str(tmp_path / "out"), *TEAM, "--heldout", JUDGE, *QUICK, "--dry-run"]
    assert omm(*words, "--per-image") == 0
    assert not (tmp_path / "out").exists()
    of_sample, of_each = (
        " to ".join(map(str, level_counts(first, sampled=len(first) == 4))) for first in ((8, 4, 2, 1), (8, 4))
    )
    sentence = capsys.readouterr().out
    assert sentence.startswith(
        f"2 photos at {of_sample} levels, then 2 photos at {of_each} levels for their own budgets: about "
    )
    assert "s for a photo at a level (measured in a few steps on" in sentence


@pytest.mark.parametrize("highest", [1, 2, 8, 32])
@pytest.mark.parametrize("sampled", [True, False])
def test_counts_of_levels_are_those_of_searches(highest: int, sampled: bool) -> None:
    first = first_levels(highest) if sampled else first_levels_of_photo(highest)
    fewest, most = level_counts(first, sampled=sampled)
    for least in range(1, highest + 2):
        search, count = Search(Target(0.25), first, range(1, highest + 1), sampled=sampled), 0
        while (level := search.next_level) is not None:
            search.add(Measurement(level, 0.2 if level >= least else 0.5, 0.99))
            count += 1
        assert fewest <= count <= most <= highest
