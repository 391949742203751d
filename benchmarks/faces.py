"""Face models: recognition of people, reading of expressions, and each while the other is kept.

    python benchmarks/faces.py                          # resumable; one JSON for each cell in results/faces/
    python benchmarks/faces.py --cells identity --epsilons 16 8 4 --limit 40
    python benchmarks/faces.py --only judge             # evaluate what is protected already

Whole photos of LFW. Every model detects and aligns the face itself, and does so again on the decoded files.
Identity: five photos of each of 50 people are the gallery, later ones are the probes. The first ten people, and every
tenth photo of the expressions, were used to choose the settings and are in no cell.
"""

import argparse
import csv
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Literal

import torch
from assets import ASSETS, RESULTS, WORK, face_uri, models
from runs import (
    Team,
    cost_of,
    evaluate,
    load_judges,
    photo_names,
    protect,
    public_command,
    remove_others,
    workers,
    write_json,
)

from onlymymodel import BlackBox, load_black_box
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.labels import read_labels
from onlymymodel.evaluate.channels import CHANNELS, AnyChannel
from onlymymodel.evaluate.results import AS_WRITTEN
from onlymymodel.evaluate.results_file import results_to_json
from onlymymodel.runtime import configure, pick_device
from onlymymodel.surrogates import face_detector
from onlymymodel.surrogates.deployments import get_deployments

LFW = ASSETS / "faces"
HERE = Path(os.path.relpath(WORK / "faces"))  # relative, so that no command names a machine's folders
GALLERY = HERE / "people"
ENROLLED = 5  # photos of each person
CHOSEN_ON_PEOPLE, CHOSEN_ON_EVERY = 10, 10  # the first 10 people; every 10th photo of the expressions
JUDGING_ALONE = "human_faceres"
DEPLOYED = ("jpeg-75", "half-and-back", "facebook-2021")

Task = Literal["identity", "emotion"]


@dataclass(frozen=True)
class FaceTeam(Team):
    """A team with its budgets and photos.

    Attributes:
        epsilons: budgets that are run by default.
        photos: the set that is protected. Across tasks only the people have a gallery that knows them.
        limit: default number of photos.
    """

    epsilons: tuple[int, ...]
    photos: Task = "identity"
    limit: int = 40

    @property
    def labelled(self) -> bool:
        """Return whether labels are classes of the authorized model; otherwise its own clean answers are kept."""
        return bool(models()[self.authorized]["task"] == self.photos)


TEAMS = {
    "identity": FaceTeam(
        "edgeface_xs",
        ("mobilefacenet_casia", "mobileface_v3"),
        ("mobilefacenet_ms1m", JUDGING_ALONE),
        (16, 8, 4),
    ),
    # mobilefacenet_casia has the family of mobilefacenet_ms1m, whose row is marked above: here neither takes part
    "identity-by-rule": FaceTeam(
        "edgeface_xs", ("mobileface_v3",), ("mobilefacenet_ms1m", "mobilefacenet_casia", JUDGING_ALONE), (16, 8)
    ),
    # edgeface_xxs has the parent of edgeface_xs: an authorized party may well have a related model as a surrogate
    "identity-with-relative": FaceTeam(
        "edgeface_xs",
        ("mobileface_v3", "edgeface_xxs"),
        ("mobilefacenet_ms1m", "mobilefacenet_casia", JUDGING_ALONE),
        (16, 8),
    ),
    "emotion-a": FaceTeam("fischer_raf", ("mini_xception",), ("shufflenet_affectnet",), (16,), "emotion", 48),
    "emotion-b": FaceTeam("fischer_raf", ("shufflenet_affectnet",), ("mini_xception",), (16,), "emotion", 48),
    "emotion-not-identity": FaceTeam(
        "fischer_raf",
        ("mobileface_v3", "edgeface_xs"),
        ("mobilefacenet_ms1m", "mobilefacenet_casia", JUDGING_ALONE),
        (16, 8),
    ),
    "identity-not-emotion": FaceTeam(
        "edgeface_xs", ("fischer_raf", "fischer_ferplus"), ("mini_xception", "shufflenet_affectnet"), (16, 8)
    ),
}


def main() -> None:
    """Run the requested cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", choices=TEAMS, default=list(TEAMS), help="teams; all by default")
    parser.add_argument("--epsilons", nargs="+", type=int, help="by default those of each team")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N photos; 40, or 48 expressions, by default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that protect photos")
    parser.add_argument("--only", choices=("protect", "judge"), help="protect only, or evaluate protected files only")
    arguments = parser.parse_args()
    configure()
    face_detector.set_cache_size(1000)  # every model of every cell reads the same photos
    enroll()
    wanted = [(epsilon, name) for name in arguments.cells for epsilon in arguments.epsilons or TEAMS[name].epsilons]
    for epsilon, name in sorted(wanted, key=lambda pair: -pair[0]):
        team, cell = TEAMS[name], f"{name}-{epsilon}"
        source = photos(team.photos, arguments.limit or team.limit)
        command = [*protect_command(team, source, epsilon), *workers(arguments.workers)]
        if arguments.only != "judge":
            protect(command, arguments.device, HERE / cell)
        if arguments.only != "protect":
            judge(cell, team, source, public_command(command, source), pick_device(arguments.device))


def enroll() -> None:
    """Copy the first photos of every person to the gallery."""
    for person in people():
        (GALLERY / person.name).mkdir(parents=True, exist_ok=True)
        for photo in photos_of(person)[:ENROLLED]:
            copy(photo, GALLERY / person.name / photo.name)


def photos(task: Task, limit: int) -> Path:
    """Return a folder in the cache with the first `limit` photos and their labels.

    A larger limit later adds to it, and a smaller one takes photos away. The names begin with a number, so that added
    photos come last and no finished batch is mixed with new photos.
    """
    folder = HERE / "originals" / task
    folder.mkdir(parents=True, exist_ok=True)
    lines, names = ["file,label"], set()
    for number, (path, label) in enumerate(list(probes() if task == "identity" else expressions())[:limit]):
        name = f"{number:03d}-{path.name}"
        copy(path, folder / name)
        lines.append(f"{name},{label}")
        names.add(name)
    remove_others(folder, names)
    write_atomic(folder / "labels.csv", ("\n".join(lines) + "\n").encode())
    return folder


def probes() -> Iterator[tuple[Path, str]]:
    """Yield photos that are not enrolled and their people: one of each person, then a second one of each, ..."""
    rounds = zip_longest(*(photos_of(person)[ENROLLED:] for person in people()[CHOSEN_ON_PEOPLE:]))
    return ((path, path.parent.name) for path in chain.from_iterable(rounds) if path is not None)


def expressions() -> Iterator[tuple[Path, str]]:
    """Yield photos and the index of their expression, cycling through the expressions."""
    with (LFW / "lfw_emotion" / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for number, row in enumerate(csv.DictReader(file)) if number % CHOSEN_ON_EVERY]
    kinds: dict[str, list[tuple[Path, str]]] = {}
    for row in rows:
        kinds.setdefault(row["label"], []).append((LFW / "lfw_emotion" / row["file"], row["label"]))
    return (photo for photo in chain.from_iterable(zip_longest(*kinds.values())) if photo is not None)


def people() -> list[Path]:
    """Return the folders of all people in alphabetical order."""
    return sorted(path for path in (LFW / "lfw_identity").iterdir() if path.is_dir())


def photos_of(person: Path) -> list[Path]:
    """Return the photos of a person in the order of their numbers."""
    return sorted(person.glob("*.jpg"))


def copy(path: Path, target: Path) -> None:
    """Copy a file unless the target exists."""
    if not target.exists():
        shutil.copyfile(path, target)


def protect_command(team: FaceTeam, source: Path, epsilon: int) -> list[str]:
    """Return the words after `omm`, without device and destination."""
    labels = ("--labels", str(source / "labels.csv")) if team.labelled else ()
    return [
        "protect", str(source), "--authorized", face_uri(team.authorized, GALLERY),
        "--surrogate", *(face_uri(name, GALLERY) for name in team.surrogates),
        *labels, "--epsilon", str(epsilon), "--shape", "even", "--recipe", "face",
    ]  # fmt: skip


def judge(cell: str, team: FaceTeam, source: Path, command: str, device: torch.device) -> None:
    """Evaluate the written files and write one JSON."""
    judges = load_judges(team, lambda name: model(name, device))
    card = judges[0].model.card
    labels = (
        read_labels(source / "labels.csv", photos=photo_names(source), classes=card.labels, n_classes=card.classes)
        if team.labelled
        else None
    )
    channels: tuple[AnyChannel, ...] = (CHANNELS[AS_WRITTEN], *get_deployments(DEPLOYED))
    results = evaluate(source, HERE / cell, judges, labels=labels, command=command, device=device, channels=channels)
    write_json(
        RESULTS / "faces" / f"{cell}.json", {"cell": cell, "cost": cost_of(HERE / cell), **results_to_json(results)}
    )
    run = results.runs[0].name
    print(f"{cell}: kept {results.authorized.score(run).kept}, held-out {results.heldout_mean(run)}", flush=True)


@cache
def model(name: str, device: torch.device) -> BlackBox:
    """Load a model with the gallery, once: embedding the gallery takes longer than evaluating a cell."""
    return load_black_box(face_uri(name, GALLERY), device=device)


if __name__ == "__main__":
    main()
