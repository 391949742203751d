"""The main table: for three authorized models, every budget and recipe, who still reads the written files.

    uv run python benchmarks/transfer.py --limit 32            # resumable; one JSON a cell in results/transfer/
    uv run python benchmarks/transfer.py --teams resnet50 --recipes default robust --epsilons 16 8 --channels all
    uv run python benchmarks/transfer.py --images photos --teams resnet50 --recipes default ens --epsilons 16 8

Images: nips2017 without rows 128-143, on which the settings were chosen (with mobilenet_v2 as the unknown model,
which is therefore nobody's held-out model here). A held-out model never shares its parent with a surrogate; where it
shares a family its row is marked and enters no mean.
"""

import argparse
import csv
import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets import ASSETS, RESULTS, WORK, uri

from onlymymodel import Judge, load_black_box
from onlymymodel.cli import main as omm
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.labels import read_labels
from onlymymodel.evaluate.channels import CHANNELS, get_channels
from onlymymodel.evaluate.judgment import Evaluation, judge_folders
from onlymymodel.runtime import configure, pick_device

SETS = {"nips2017": ASSETS / "imagenet" / "nips2017", "photos": ASSETS / "imagenet" / "photos"}
CHOSEN_ON = {"nips2017": range(128, 144), "photos": range(0)}  # rows that are spent
SETTINGS = ("--precision", "bfloat16")  # twice as fast where the processor knows it; judged in float32


@dataclass(frozen=True)
class Team:
    """Who plays which part; ids of models.json."""

    authorized: str
    surrogates: tuple[str, ...]
    heldout: tuple[str, ...]


TEAMS = {
    "resnet50": Team(
        "resnet50",
        ("resnet18", "vit_tiny", "squeezenet1_1", "mobilenet_v2"),
        ("shufflenet_v2_x1_0", "mobilenet_v1_075"),
    ),
    "vit_tiny": Team(
        "vit_tiny",
        ("resnet18", "squeezenet1_1", "mobilenet_v2"),
        ("resnet50", "shufflenet_v2_x1_0", "mobilenet_v1_075"),
    ),
    "mobilenet_v2": Team(
        "mobilenet_v2",
        ("resnet18", "vit_tiny", "squeezenet1_1"),
        ("resnet50", "shufflenet_v2_x1_0", "mobilenet_v1_075"),
    ),
    "no-transformer": Team(
        "resnet50",
        ("resnet18", "squeezenet1_1", "mobilenet_v2"),
        ("vit_tiny", "shufflenet_v2_x1_0", "mobilenet_v1_075"),
    ),
}


def main() -> None:
    """Run the cells that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teams", nargs="+", choices=TEAMS, default=["resnet50", "vit_tiny", "mobilenet_v2"])
    parser.add_argument("--recipes", nargs="+", default=["default", "ens", "fmd"])
    parser.add_argument("--epsilons", nargs="+", type=int, default=[16, 8, 4])
    parser.add_argument("--images", choices=SETS, default="nips2017")
    parser.add_argument("--limit", type=int, default=144, metavar="N", help="the first N images; all by default")
    parser.add_argument("--channels", nargs="+", default=["png"], help="names of channels, or all")
    parser.add_argument("--adapt", action="store_true", help="also judge by models trained further on the files")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--protect-only", action="store_true", help="make the files; judge them by a later command")
    arguments = parser.parse_args()
    configure()
    source = photos(arguments.images, arguments.limit, WORK / "transfer" / arguments.images / "originals")
    for team in arguments.teams:
        for recipe in arguments.recipes:
            for epsilon in arguments.epsilons:
                cell = f"{arguments.images}/{team}-{recipe}-{epsilon}"
                command, out = protect(cell, TEAMS[team], source, recipe, epsilon, arguments.device)
                if not arguments.protect_only:
                    judge(cell, TEAMS[team], source, out, command, arguments)


def photos(images: str, limit: int, folder: Path) -> Path:
    """The folder with the first `limit` images and their labels; a larger limit later adds to it.

    The names begin with the row, so that those added come last and no batch that is done is mixed with new photos.
    """
    with (SETS[images] / "labels.csv").open(encoding="utf-8", newline="") as file:
        numbered = [(number, row) for number, row in enumerate(csv.DictReader(file)) if number not in CHOSEN_ON[images]]
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["file,label"]
    for number, row in numbered[:limit]:
        name = f"{number:03d}-{row['file']}"
        if not (folder / name).exists():
            shutil.copyfile(SETS[images] / row["file"], folder / name)
        lines.append(f"{name},{row['label']}")
    write_atomic(folder / "labels.csv", ("\n".join(lines) + "\n").encode())
    return folder


def protect(cell: str, team: Team, source: Path, recipe: str, epsilon: int, device: str) -> tuple[str, Path]:
    """Protect, or go on protecting; returns the command with the folders left out, and the folder."""
    out, fit = WORK / "transfer" / cell, fit_of(cell)
    surrogates = [uri(name, fit) for name in team.surrogates]
    command = [
        "protect", str(source), "--authorized", uri(team.authorized, fit), "--surrogate", *surrogates,
        "--labels", str(source / "labels.csv"), "--recipe", recipe, "--epsilon", str(epsilon), *SETTINGS,
    ]  # fmt: skip
    code = omm([*command, "--device", device, "--out", str(out)])
    if code not in (0, 1):
        raise SystemExit(code)
    shown = ["omm", *(word.replace(str(source), "SRC") for word in command), "--out", "DST"]
    return shlex.join(shown), out


def judge(cell: str, team: Team, source: Path, out: Path, command: str, arguments: argparse.Namespace) -> None:
    """Judge the written files and write one JSON."""
    device = pick_device(arguments.device)
    channels = list(CHANNELS) if arguments.channels == ["all"] else arguments.channels
    fit = fit_of(cell)
    judges = [
        Judge("authorized", load_black_box(uri(team.authorized, fit), device=device)),
        *(Judge("surrogate", load_black_box(uri(name, fit), device=device)) for name in team.surrogates),
        *(Judge("held-out", load_black_box(uri(name, fit), device=device)) for name in team.heldout),
    ]
    evaluation = Evaluation(
        source,
        (out,),
        tuple(judges),
        labels=read_labels(source / "labels.csv", known=names_of(source), classes=None, n_classes=1000),
        channels=tuple(get_channels(channels)),
        adapt=arguments.adapt,
    )
    results = judge_folders(evaluation, out.with_name(f"{out.name}-judged"), command=command, device=device)
    content: dict[str, Any] = {"cell": cell, **results.to_json()}
    target = RESULTS / "transfer" / f"{cell}.json"
    write_atomic(target, (json.dumps(content, indent=None, ensure_ascii=False) + "\n").encode())
    run = results.runs[0].name
    print(f"{cell}: kept {results.authorized.score(run).kept}, held-out {results.heldout_mean(run)}")


def fit_of(cell: str) -> str:
    """How models see the images: those of NIPS-2017 are cut to the subject already and are resized whole."""
    return "squash" if cell.startswith("nips2017/") else "crop"


def names_of(source: Path) -> Sequence[str]:
    """The photos' paths below the source."""
    return [path.name for path in sorted(source.iterdir()) if path.suffix != ".csv"]


if __name__ == "__main__":
    main()
