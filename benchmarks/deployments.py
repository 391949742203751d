"""Measure the authorized and the held-out models over many deployments.

    python benchmarks/deployments.py --limit 16          # resumable; two JSONs a cell in results/deployments/
    python benchmarks/deployments.py --teams resnet50 --recipes default exact --budgets 8 ssim-0.95

Images: those of `transfer.py`, cropped as the models' records say. A deployment is a way of reading the file,
after what may have happened to it; see `onlymymodel/surrogates/deployments.py`. `default` keeps photos through a part
of them, and the others show what that is worth elsewhere. The authorized model is asked through all, the held-out
models as written and through one codec, one resize and one platform.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from assets import RESULTS, WORK, uri
from deployment_tables import HELDOUT, draw_headline
from runs import Team, evaluate, load_judges, protect, public_command, write_json
from transfer import TEAMS, labels_of, photos

from onlymymodel import Judge, load_black_box
from onlymymodel.evaluate.channels import CHANNELS
from onlymymodel.evaluate.deployment_summary import summarize_deployments
from onlymymodel.evaluate.results import AS_WRITTEN, Results
from onlymymodel.evaluate.results_file import results_to_json
from onlymymodel.runtime import configure, pick_device
from onlymymodel.surrogates.deployments import Deployment, get_deployments

FIT = "crop"
JUDGING_ALONE = "efficientnet_lite0"
BUDGETS = {
    "16": ("--epsilon", "16", "--shape", "even"),
    "8": ("--epsilon", "8", "--shape", "even"),
    "4": ("--epsilon", "4", "--shape", "even"),
    "ssim-0.95": ("--ssim", "0.95", "--shape", "texture"),
}


def main() -> None:
    """Run the requested cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    teams = ["resnet50", "vit_tiny", "mobilenet_v2"]
    parser.add_argument("--teams", nargs="+", choices=teams, default=teams)
    parser.add_argument("--recipes", nargs="+", default=["default", "exact"])
    parser.add_argument("--budgets", nargs="+", choices=BUDGETS, default=["8"])
    parser.add_argument("--limit", type=int, default=144, metavar="N", help="the first N images; all by default")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    configure()
    for recipe in arguments.recipes:
        for budget in arguments.budgets:
            for name in arguments.teams:
                team = replace(TEAMS[name], heldout=(*TEAMS[name].heldout, JUDGING_ALONE))
                run_cell(f"nips2017/{name}-{recipe}-{budget}", team, recipe, budget, arguments)
    draw_headline()


def run_cell(cell: str, team: Team, recipe: str, budget: str, arguments: argparse.Namespace) -> None:
    """Protect the images, evaluate the written files through deployments, and write the JSONs of one cell."""
    source = photos("nips2017", arguments.limit, WORK / "deployments" / "nips2017" / "originals")
    out, device = WORK / "deployments" / cell, pick_device(arguments.device)
    command = [
        "protect", str(source), "--authorized", uri(team.authorized, FIT),
        "--surrogate", *(uri(name, FIT) for name in team.surrogates),
        "--labels", str(source / "labels.csv"), "--recipe", recipe, *BUDGETS[budget],
    ]  # fmt: skip
    protect(command, arguments.device, out)
    judges = load_judges(replace(team, surrogates=()), lambda name: load_black_box(uri(name, FIT), device=device))

    def judge(judges: Sequence[Judge], deployments: Sequence[Deployment]) -> Results:
        return evaluate(
            source, out, tuple(judges), labels=labels_of(source), command=public_command(command, source),
            device=device, channels=(CHANNELS[AS_WRITTEN], *deployments),
        )  # fmt: skip

    authorized = judge([judge for judge in judges if judge.role == "authorized"], get_deployments([]))
    # asked last, so that the page beside the cell shows every model; answers of the authorized model are cached
    everyone = judge(judges, get_deployments(list(HELDOUT[1:])))
    for name, results in ((cell, everyone), (f"authorized/{cell}", authorized)):
        write_json(RESULTS / "deployments" / f"{name}.json", {"cell": cell, **results_to_json(results)})
    for summary in summarize_deployments(authorized):
        print(f"{cell}: {summary.describe()}", flush=True)


if __name__ == "__main__":
    main()
