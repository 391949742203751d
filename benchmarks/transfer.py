"""Transfer to held-out models: three authorized models, every budget and recipe. This is the main table.

    python benchmarks/transfer.py --limit 32            # resumable; one JSON for each cell in results/transfer/
    python benchmarks/transfer.py --teams resnet50 --recipes default robust --epsilons 16 8 --channels all
    python benchmarks/transfer.py --images photos --teams resnet50 --recipes default ens --epsilons 16 8

Images: nips2017 without rows 128-143, on which the settings were chosen (with mobilenet_v2 as the unknown model,
which is therefore not held out for any team here). A held-out model never shares its parent with a surrogate; where it
shares a family its row is marked and excluded from the mean.
"""

import argparse
import csv
import shutil
from pathlib import Path

from assets import ASSETS, RESULTS, WORK, uri
from runs import Team, evaluate, load_judges, photo_names, protect, public_command, remove_others, write_json

from onlymymodel import load_black_box
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.labels import read_labels
from onlymymodel.evaluate.channels import CHANNELS, get_channels
from onlymymodel.evaluate.results_file import results_to_json
from onlymymodel.runtime import configure, pick_device

SETS = {"nips2017": ASSETS / "imagenet" / "nips2017", "photos": ASSETS / "imagenet" / "photos"}
CHOSEN_ON = {"nips2017": range(128, 144), "photos": range(0)}  # rows that no table may use


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
    """Run the requested cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teams", nargs="+", choices=TEAMS, default=["resnet50", "vit_tiny", "mobilenet_v2"])
    parser.add_argument("--recipes", nargs="+", default=["default", "ens", "fmd"])
    parser.add_argument("--epsilons", nargs="+", type=int, default=[16, 8, 4])
    parser.add_argument("--images", choices=SETS, default="nips2017")
    parser.add_argument("--limit", type=int, default=144, metavar="N", help="the first N images; all by default")
    parser.add_argument("--channels", nargs="+", default=["png"], help="names of channels, or all")
    parser.add_argument("--adapt", action="store_true", help="also evaluate models that are fine-tuned on the files")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--protect-only", action="store_true", help="protect only; evaluate by a later command")
    arguments = parser.parse_args()
    configure()
    source = photos(arguments.images, arguments.limit, WORK / "transfer" / arguments.images / "originals")
    for team in arguments.teams:
        for recipe in arguments.recipes:
            for epsilon in arguments.epsilons:
                cell = f"{arguments.images}/{team}-{recipe}-{epsilon}"
                command = protect_command(TEAMS[team], source, recipe, epsilon, fit_of(cell))
                protect(command, arguments.device, WORK / "transfer" / cell)
                if not arguments.protect_only:
                    judge(cell, TEAMS[team], source, public_command(command, source), arguments)


def photos(images: str, limit: int, folder: Path, start: int = 0) -> Path:
    """Return the folder with the first `limit` images, less the first `start` of them, and their labels.

    A larger limit later adds to it, and a smaller one takes photos away. The names begin with the row, so that added
    photos come last and no finished batch is mixed with new photos.
    """
    with (SETS[images] / "labels.csv").open(encoding="utf-8", newline="") as file:
        numbered = [(number, row) for number, row in enumerate(csv.DictReader(file)) if number not in CHOSEN_ON[images]]
    folder.mkdir(parents=True, exist_ok=True)
    lines, names = ["file,label"], set()
    for number, row in numbered[start:limit]:
        name = f"{number:03d}-{row['file']}"
        if not (folder / name).exists():
            shutil.copyfile(SETS[images] / row["file"], folder / name)
        lines.append(f"{name},{row['label']}")
        names.add(name)
    remove_others(folder, names)
    write_atomic(folder / "labels.csv", ("\n".join(lines) + "\n").encode())
    return folder


def protect_command(team: Team, source: Path, recipe: str, epsilon: int, fit: str) -> list[str]:
    """Return the words after `omm`, without device and destination."""
    surrogates = [uri(name, fit) for name in team.surrogates]
    return [
        "protect", str(source), "--authorized", uri(team.authorized, fit), "--surrogate", *surrogates,
        "--labels", str(source / "labels.csv"), "--recipe", recipe,
        "--epsilon", str(epsilon), "--shape", "even",
    ]  # fmt: skip


def judge(cell: str, team: Team, source: Path, command: str, arguments: argparse.Namespace) -> None:
    """Evaluate the written files and write one JSON."""
    device, fit = pick_device(arguments.device), fit_of(cell)
    results = evaluate(
        source,
        WORK / "transfer" / cell,
        load_judges(team, lambda name: load_black_box(uri(name, fit), device=device)),
        labels=labels_of(source),
        command=command,
        device=device,
        channels=get_channels(list(CHANNELS) if arguments.channels == ["all"] else arguments.channels),
        adapt=arguments.adapt,
    )
    write_json(RESULTS / "transfer" / f"{cell}.json", {"cell": cell, **results_to_json(results)})
    run = results.runs[0].name
    print(f"{cell}: kept {results.authorized.score(run).kept}, held-out {results.heldout_mean(run)}")


def labels_of(source: Path) -> dict[str, int]:
    """Return the ImageNet label of each photo."""
    return read_labels(source / "labels.csv", photos=photo_names(source), classes=None, n_classes=1000)


def fit_of(cell: str) -> str:
    """Return how models fit the images: those of NIPS-2017 are already cropped to the subject and are resized whole."""
    return "squash" if cell.startswith("nips2017/") else "crop"


if __name__ == "__main__":
    main()
