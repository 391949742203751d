"""The number of workers that `--workers auto` stands for."""

import os

import pytest
import torch

from onlymymodel.cli.engine import number_of_workers
from onlymymodel.cli.flags import AUTO


def test_auto_is_one_worker_for_each_core_also_where_the_system_does_not_say_which(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`os.sched_getaffinity` exists on Linux, not on macOS and Windows."""
    if hasattr(os, "sched_getaffinity"):
        assert number_of_workers(AUTO, torch.device("cpu")) == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert number_of_workers(AUTO, torch.device("cpu")) == os.cpu_count()


def test_auto_is_one_worker_for_the_one_gpu_of_a_mac() -> None:
    assert number_of_workers(AUTO, torch.device("mps")) == 1
    assert number_of_workers(3, torch.device("mps")) == 3
