"""Time-outs of tests that wait for a state. They are long, so that a busy machine fails no test."""

import time
from collections.abc import Callable

PATIENCE = 60.0  # seconds for one step, such as an answer or a change of a page
RUN_PATIENCE = 300.0  # seconds for a run that computes, or a process that imports torch


def wait_until(is_so: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Wait until a condition holds; fail if it does not in time."""
    end = time.monotonic() + patience
    while not is_so():
        assert time.monotonic() < end, f"not within {patience:g} seconds"
        time.sleep(0.01)
