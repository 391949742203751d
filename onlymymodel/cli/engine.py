"""Choose the engine of `omm protect`: this process, processes on this machine, or actors of Ray on a cluster."""

import argparse
import importlib.util
import os
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from onlymymodel.cli.flags import AUTO, decimal, positive
from onlymymodel.data.source import Source, local_path
from onlymymodel.errors import UserError

if TYPE_CHECKING:
    import torch

    from onlymymodel.protect.context import Context
    from onlymymodel.protect.ray_engine import RaySettings
    from onlymymodel.protect.workers import WorkerSettings
    from onlymymodel.settings import RunSettings

ENGINES = ("processes", "ray")


def add_engine(group: Any) -> None:
    """Add the flags of the engine."""
    which = "processes on this machine (default), or actors of Ray on a cluster; needs onlymymodel[ray]"
    group.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help=which)
    cluster = "with --engine ray: a running cluster, auto for the one of this machine; without it Ray is started here"
    group.add_argument("--address", metavar="HOST:PORT|auto", help=cluster)
    share = "with --engine ray: the share of a GPU that each worker takes"
    group.add_argument("--gpus-per-worker", type=decimal, default=0.0, metavar="N", help=share)


def worker_count(text: str) -> int | str | tuple[int, int]:
    """Parse a number of workers, a range such as `1:16`, or `auto`."""
    if text == AUTO:
        return AUTO
    if match := re.fullmatch(r"(\d+):(\d+)", text):
        least, most = positive(match[1]), positive(match[2])
        if least > most:
            raise argparse.ArgumentTypeError(f"must be a range from a smaller number to a larger one, not {text}")
        return least, most
    return positive(text)


def check_engine(arguments: argparse.Namespace, source: Source) -> None:
    """Check the flags of the engine before a model is loaded.

    Raises:
        UserError: Ray is asked for and not installed, or the photos are in a store, which its workers do not read; or a
            flag of it is given without it.
    """
    if arguments.engine == "ray":
        if importlib.util.find_spec("ray") is None:
            raise UserError("--engine ray needs Ray: pip install 'onlymymodel[ray]'")
        if local_path(source) is None:
            raise UserError("--engine ray reads photos from a folder that all machines see, not from a store")
        if arguments.gpus_per_worker < 0:
            raise UserError(f"--gpus-per-worker must be at least 0, not {arguments.gpus_per_worker:g}")
        return
    for flag, given in (
        ("--address", arguments.address is not None),
        ("--gpus-per-worker", arguments.gpus_per_worker != 0),
        ("a range of --workers", isinstance(arguments.workers, tuple)),
    ):
        if given:
            raise UserError(f"{flag} needs --engine ray")


def workers_of(
    arguments: argparse.Namespace, settings: "RunSettings", context: "Context"
) -> "WorkerSettings | RaySettings | None":
    """Return the workers that are asked for; None for none beside this process."""
    from onlymymodel.protect.workers import WorkerSettings
    from onlymymodel.settings import make_context

    count = number_of_workers(arguments.workers, context.device)
    if arguments.engine == "ray":
        from onlymymodel.protect.ray_engine import RaySettings
        from onlymymodel.settings_transfer import MAKER, specification

        most = arguments.workers[1] if isinstance(arguments.workers, tuple) else count
        text = specification(settings, allow_python=arguments.allow_python)
        return RaySettings(MAKER, text, arguments.address, count, most, arguments.gpus_per_worker)
    return None if count == 1 else WorkerSettings(count, partial(make_context, settings, arguments.allow_python))


def number_of_workers(given: int | str | tuple[int, int], device: "torch.device") -> int:
    """Return a number of workers that is given, the least of a range; with auto, one for each GPU or core."""
    import torch

    if isinstance(given, tuple):
        return given[0]
    if given != AUTO:
        return int(given)
    if device.type != "cpu":  # of other accelerators than CUDA's one is used
        return torch.cuda.device_count() if device.type == "cuda" else 1
    # macOS and Windows do not say which cores a process may use
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
