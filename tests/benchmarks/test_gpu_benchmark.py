"""`benchmarks/gpu.sh` on the CPU, with tiny sizes: so that it works where somebody has a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from paths import ROOT

SCRIPT = str(ROOT / "benchmarks" / "gpu.sh")
TINY = (
    "--batches", "1", "--size", "64", "--steps", "2", "--portraits", "1",
    "--architectures", "resnet18", "vit_tiny_patch16_224",
)  # fmt: skip


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    return subprocess.run([SCRIPT, *flags], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_all_parts_run_and_the_cpu_agrees_with_itself(tmp_path: Path) -> None:
    finished = run("--device", "cpu", *TINY, "--out", str(tmp_path / "gpu.json"))
    assert finished.returncode == 0, finished.stderr
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert found["left_out"] == []
    verdicts = found["verdicts"]
    assert verdicts["same_status_and_answers"] == verdicts["same_bytes"] == verdicts["photos"] == 1
    assert verdicts["files_judged_alike"] == verdicts["files"]
    assert {(cell["precision"], cell["batch"]) for cell in found["images"]} == {("float32", 1), ("bfloat16", 1)}
    assert all(cell["images_per_second"] > 0 and cell["peak_mib"] > 0 for cell in found["images"])
    # most of a step's time is that of its networks, see results/overhead.json
    assert 0.5 < found["profile"]["share_in_networks"] < 1
    assert "aten::addmm" in found["profile"]["largest"]


@pytest.mark.slow
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("THERE IS A GPU: the message of machines without one was not tested")
    finished = run("--out", str(tmp_path / "gpu.json"))
    assert finished.returncode == 1
    assert finished.stderr.strip().endswith("no CUDA device is available here: nothing was measured")
    assert not (tmp_path / "gpu.json").exists()
