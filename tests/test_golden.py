"""Written bytes do not change when code is moved or renamed."""

import json
from pathlib import Path

import pytest
from golden import CASES, GOLDEN, environment, is_real, run
from paths import ASSETS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", CASES)
def test_written_bytes_are_the_pinned_ones(case: str, tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_bytes())
    if golden["environment"] != environment():
        pytest.skip(f"GOLDEN BYTES NOT COMPARED: they were written with {golden['environment']}")
    if is_real(case) and not ASSETS.is_dir():
        pytest.skip("REAL MODELS ABSENT: ../shared/assets is not beside this checkout")
    assert run(case, tmp_path) == golden["hashes"][case]
