"""A context for worker processes, each of which is interrupted, as by Ctrl-C, while it imports this module."""

import multiprocessing
import os
import signal

import worker_contexts

from onlymymodel.protect.context import Context

if multiprocessing.current_process().name.startswith("omm-worker-"):
    os.kill(os.getpid(), signal.SIGINT)


def make(device: str) -> Context:
    """The context of `hostile.protect`."""
    return worker_contexts.make(device)
