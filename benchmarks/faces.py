"""The tables of faces: who is still recognized, whose expression is still read, and one without the other.

    uv run python benchmarks/faces.py                          # resumable; one JSON a cell in results/faces/
    uv run python benchmarks/faces.py --cells identity --epsilons 16 8 4 --limit 40
    uv run python benchmarks/faces.py --only judge             # judge what is protected already

Whole photos of LFW. Every model finds and aligns the face itself; the judges do so again on the decoded files.
Identity: five photos of each of 50 people are the gallery, later ones are asked about. The first ten people, and every
tenth photo of the expressions, were spent on choosing the settings and are in no cell.
"""

import argparse
import csv
import json
import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Literal

import torch
from assets import ASSETS, RESULTS, WORK, face_uri, models

from onlymymodel import BlackBox, Judge, load_black_box
from onlymymodel.cli import main as omm
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.labels import read_labels
from onlymymodel.evaluate.judgment import Evaluation, judge_folders
from onlymymodel.runtime import configure, pick_device
from onlymymodel.surrogates import faces

LFW = ASSETS / "faces"
HERE = Path(os.path.relpath(WORK / "faces"))  # relative, so that no command names a machine's folders
GALLERY = HERE / "people"
ENROLLED = 5  # photos of each person
CHOSEN_ON_PEOPLE, CHOSEN_ON_EVERY = 10, 10  # the first people; every so many-th photo of the expressions
SETTINGS = ("--views", "affine", "resize_pad", "--steps", "30", "--precision", "bfloat16")

Task = Literal["identity", "emotion"]


@dataclass(frozen=True)
class Team:
    """Who plays which part; ids of models.json.

    Attributes:
        epsilons: the budgets that are run unless others are asked for.
        photos: which set is protected. Across tasks only the people have a gallery that knows them.
        limit: how many photos are taken unless --limit says more.
    """

    authorized: str
    surrogates: tuple[str, ...]
    heldout: tuple[str, ...]
    epsilons: tuple[int, ...]
    photos: Task = "identity"
    limit: int = 40

    @property
    def labelled(self) -> bool:
        """Whether the set's labels are words of the authorized model; else its own clean answers are kept."""
        return bool(models()[self.authorized]["task"] == self.photos)


TEAMS = {
    "identity": Team("edgeface_xs", ("mobilefacenet_casia", "mobileface_v3"), ("mobilefacenet_ms1m",), (16, 8, 4)),
    # mobilefacenet_casia is of the family of mobilefacenet_ms1m, whose row is marked above: here neither takes part
    "identity-by-rule": Team("edgeface_xs", ("mobileface_v3",), ("mobilefacenet_ms1m", "mobilefacenet_casia"), (16, 8)),
    # edgeface_xxs is of the parent of edgeface_xs: whoever is authorized may well have a relative to help
    "identity-with-relative": Team(
        "edgeface_xs", ("mobileface_v3", "edgeface_xxs"), ("mobilefacenet_ms1m", "mobilefacenet_casia"), (16, 8)
    ),
    "emotion-a": Team("fischer_raf", ("mini_xception",), ("shufflenet_affectnet",), (16,), "emotion", 48),
    "emotion-b": Team("fischer_raf", ("shufflenet_affectnet",), ("mini_xception",), (16,), "emotion", 48),
    "emotion-not-identity": Team(
        "fischer_raf", ("mobileface_v3", "edgeface_xs"), ("mobilefacenet_ms1m", "mobilefacenet_casia"), (16, 8)
    ),
    "identity-not-emotion": Team(
        "edgeface_xs", ("fischer_raf", "fischer_ferplus"), ("mini_xception", "shufflenet_affectnet"), (16, 8)
    ),
}


def main() -> None:
    """Run the cells that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", choices=TEAMS, default=list(TEAMS), help="teams; all by default")
    parser.add_argument("--epsilons", nargs="+", type=int, help="by default those that each team is measured at")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N photos; 40, or 48 expressions, by default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", choices=("protect", "judge"), help="make the files, or judge those that are made")
    arguments = parser.parse_args()
    configure()
    faces.REMEMBERED = 1000  # every model of every cell asks about the same photos
    enroll()
    wanted = [(epsilon, name) for name in arguments.cells for epsilon in arguments.epsilons or TEAMS[name].epsilons]
    for epsilon, name in sorted(wanted, key=lambda one: -one[0]):
        team, cell = TEAMS[name], f"{name}-{epsilon}"
        source = photos(team.photos, arguments.limit or team.limit)
        command = protect_command(team, source, epsilon)
        if arguments.only != "judge":
            protect(cell, command, arguments.device)
        if arguments.only != "protect":
            judge(cell, team, source, shown(command, source), arguments.device)


def enroll() -> None:
    """The gallery: the first photos of everybody."""
    for person in people():
        (GALLERY / person.name).mkdir(parents=True, exist_ok=True)
        for photo in photos_of(person)[:ENROLLED]:
            copy(photo, GALLERY / person.name / photo.name)


def photos(task: Task, limit: int) -> Path:
    """A folder in the cache with the first `limit` photos and their labels; a larger limit later adds to it.

    The names begin with a number, so that those added come last and no batch that is done is mixed with new photos.
    """
    folder = HERE / "originals" / task
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["file,label"]
    for number, (path, label) in enumerate(list(probes() if task == "identity" else expressions())[:limit]):
        name = f"{number:03d}-{path.name}"
        copy(path, folder / name)
        lines.append(f"{name},{label}")
    write_atomic(folder / "labels.csv", ("\n".join(lines) + "\n").encode())
    return folder


def probes() -> Iterator[tuple[Path, str]]:
    """Photos that are not enrolled and their people: one of everybody, then a second one of everybody, ..."""
    rounds = zip_longest(*(photos_of(person)[ENROLLED:] for person in people()[CHOSEN_ON_PEOPLE:]))
    return ((path, path.parent.name) for path in chain.from_iterable(rounds) if path is not None)


def expressions() -> Iterator[tuple[Path, str]]:
    """Photos and the index of their expression, in turn one of each."""
    with (LFW / "lfw_emotion" / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for number, row in enumerate(csv.DictReader(file)) if number % CHOSEN_ON_EVERY]
    kinds: dict[str, list[tuple[Path, str]]] = {}
    for row in rows:
        kinds.setdefault(row["label"], []).append((LFW / "lfw_emotion" / row["file"], row["label"]))
    return (photo for photo in chain.from_iterable(zip_longest(*kinds.values())) if photo is not None)


def people() -> list[Path]:
    """Their folders in order of the alphabet."""
    return sorted(path for path in (LFW / "lfw_identity").iterdir() if path.is_dir())


def photos_of(person: Path) -> list[Path]:
    """In order of their numbers."""
    return sorted(person.glob("*.jpg"))


def copy(path: Path, target: Path) -> None:
    """Copy a file that is not there yet."""
    if not target.exists():
        shutil.copyfile(path, target)


def protect_command(team: Team, source: Path, epsilon: int) -> list[str]:
    """The words after `omm`, but for device and destination."""
    labels = ("--labels", str(source / "labels.csv")) if team.labelled else ()
    return [
        "protect", str(source), "--authorized", face_uri(team.authorized, GALLERY),
        "--surrogate", *(face_uri(name, GALLERY) for name in team.surrogates),
        *labels, "--epsilon", str(epsilon), *SETTINGS,
    ]  # fmt: skip


def protect(cell: str, command: Sequence[str], device: str) -> None:
    """Protect, or go on protecting."""
    code = omm([*command, "--device", device, "--out", str(HERE / cell)])
    if code not in (0, 1):
        raise SystemExit(code)


def shown(command: Sequence[str], source: Path) -> str:
    """The command as a reader would write it."""
    return shlex.join(["omm", *(word.replace(str(source), "SRC") for word in command), "--out", "DST"])


def judge(cell: str, team: Team, source: Path, command: str, on: str) -> None:
    """Judge the written files and write one JSON."""
    device, out = pick_device(on), HERE / cell
    judges = [
        Judge("authorized", model(team.authorized, device)),
        *(Judge("surrogate", model(name, device)) for name in team.surrogates),
        *(Judge("held-out", model(name, device)) for name in team.heldout),
    ]
    card = judges[0].model.card
    known = sorted(path.name for path in source.iterdir() if path.suffix != ".csv")
    labels = (
        read_labels(source / "labels.csv", known=known, classes=card.labels, n_classes=card.classes)
        if team.labelled
        else None
    )
    evaluation = Evaluation(source, (out,), tuple(judges), labels=labels)
    results = judge_folders(evaluation, out.with_name(f"{cell}-judged"), command=command, device=device)
    content: dict[str, Any] = {"cell": cell, **results.to_json()}
    write_atomic(RESULTS / "faces" / f"{cell}.json", (json.dumps(content, ensure_ascii=False) + "\n").encode())
    run = results.runs[0].name
    print(f"{cell}: kept {results.authorized.score(run).kept}, held-out {results.heldout_mean(run)}", flush=True)


@cache
def model(name: str, device: torch.device) -> BlackBox:
    """A judge, which knows the gallery; embedding that takes longer than judging a cell."""
    return load_black_box(face_uri(name, GALLERY), device=device)


if __name__ == "__main__":
    main()
