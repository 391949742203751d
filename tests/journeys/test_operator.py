"""An operator plans a run, lets two machines work on shards, merges and verifies them, and reads JSON only."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from journeys import MODELS, QUICK, omm, write_portraits


@pytest.mark.slow
def test_shards_are_planned_merged_and_verified(tmp_path: Path) -> None:
    write_portraits(tmp_path / "photos", 3, side=64)
    command = ["protect", "photos", "--out", "protected", *MODELS, *QUICK, "--batch-size", "1"]

    def answer(*words: str, code: int = 0) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(omm(*words, "--json", cwd=tmp_path, code=code).stdout)
        assert content["exit_code"] == code
        return content

    plan = answer(*command, "--dry-run")
    assert plan["photos"] == 3
    assert not (tmp_path / "protected").exists()
    assert "--authorized" in answer("protect", "photos", "--out", "protected", code=2)["error"]

    with ThreadPoolExecutor(2) as machines:
        shards = list(machines.map(lambda shard: answer(*command, "--shard", shard), ("1/2", "2/2")))
    assert sum(shard["counts"]["protected"] for shard in shards) == 3
    assert answer("merge", "protected")["counts"] == {"protected": 3}
    state = answer("status", "protected")
    assert state["counts"] == {"protected": 3}, state
    assert answer("verify", "protected")["faults"] == []

    damaged = next((tmp_path / "protected").glob("*.png"))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    faults = answer("verify", "protected", code=1)["faults"]
    assert {fault["file"] for fault in faults} == {damaged.name}
