"""Protect a folder and evaluate it with a team of models, for the benchmarks of real models."""

import json
import resource
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from onlymymodel import BlackBox, Judge
from onlymymodel.cli.main import main as omm
from onlymymodel.data.atomic import write_atomic
from onlymymodel.evaluate.channels import CHANNELS, AnyChannel
from onlymymodel.evaluate.folders import Evaluation, evaluate_folders
from onlymymodel.evaluate.results import AS_WRITTEN, Results
from onlymymodel.protect.photo_record import MANIFEST

Load = Callable[[str], BlackBox]


@dataclass(frozen=True)
class Team:
    """Roles of the models; ids of models.json."""

    authorized: str
    surrogates: tuple[str, ...]
    heldout: tuple[str, ...]


def protect(command: Sequence[str], device: str, out: Path) -> None:
    """Run `omm protect`, or resume it, and add what it took to `cost_of`.

    Args:
        command: words after `omm`, without device and destination.
        device: see `omm protect --device`.
        out: the protected folder.
    """
    done, started = _lines(out / MANIFEST), _cpu_seconds()
    code = omm([*command, "--device", device, "--out", str(out)])
    if code not in (0, 1):
        raise SystemExit(code)
    if new := _lines(out / MANIFEST) - done:
        cost = cost_of(out)
        taken = cost["cpu_seconds"] + _cpu_seconds() - started
        write_json(_cost_record(out), {"photos": cost["photos"] + new, "cpu_seconds": taken})


def cost_of(out: Path) -> dict[str, float]:
    """Return how many photos of a protected folder were timed, and their CPU seconds, those of workers included.

    They are kept beside the folder, for a run that is stopped and continued.
    """
    record = _cost_record(out)
    cost: dict[str, float] = {"photos": 0.0, "cpu_seconds": 0.0}
    return cost | json.loads(record.read_text(encoding="utf-8")) if record.exists() else cost


def _cost_record(out: Path) -> Path:
    return out.with_name(f"{out.name}-cost.json")


def _cpu_seconds() -> float:
    """Return the CPU seconds of this process and of the workers that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def _lines(path: Path) -> int:
    """Return the number of lines of a file, 0 where it does not exist."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def workers(number: int) -> tuple[str, ...]:
    """Return the words of a command that protects with a number of worker processes."""
    return ("--workers", str(number)) if number > 1 else ()


def public_command(command: Sequence[str], source: Path) -> str:
    """Return the command for the records, with SRC and DST for folders of this machine."""
    return shlex.join(["omm", *(word.replace(str(source), "SRC") for word in command), "--out", "DST"])


def load_judges(team: Team, load: Load) -> tuple[Judge, ...]:
    """Load all models of a team as judges."""
    return (
        Judge("authorized", load(team.authorized)),
        *(Judge("surrogate", load(name)) for name in team.surrogates),
        *(Judge("held-out", load(name)) for name in team.heldout),
    )


def evaluate(
    source: Path,
    out: Path,
    judges: tuple[Judge, ...],
    *,
    labels: Mapping[str, int] | None,
    command: str,
    device: torch.device,
    channels: Sequence[AnyChannel] = (CHANNELS[AS_WRITTEN],),
    adapt: bool = False,
    lpips: bool = False,
) -> Results:
    """Evaluate a protected folder; its CSV, tables and page go to a folder beside it, see `Evaluation`."""
    evaluation = Evaluation(source, (out,), judges, labels=labels, channels=tuple(channels), adapt=adapt, lpips=lpips)
    return evaluate_folders(evaluation, out.with_name(f"{out.name}-judged"), command=command, device=device)


def write_json(target: Path, content: dict[str, Any]) -> None:
    """Write one JSON of results/ on a single line."""
    write_atomic(target, (json.dumps(content, ensure_ascii=False) + "\n").encode())


def photo_names(source: Path) -> list[str]:
    """Return the photos' paths below the source."""
    return sorted(path.name for path in source.iterdir() if path.suffix != ".csv")


def remove_others(source: Path, names: set[str]) -> None:
    """Remove from a folder of copies the photos that are not among these: a run with more photos left them."""
    for name in set(photo_names(source)) - names:
        (source / name).unlink()
