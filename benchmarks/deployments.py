"""Measure the authorized and the held-out models over many deployments.

    python benchmarks/deployments.py --limit 16          # resumable; two JSONs a cell in results/deployments/
    python benchmarks/deployments.py --teams resnet50 --recipes default exact --budgets 8 ssim-0.95
    python benchmarks/deployments.py --limit 48 --extend  # the images that the JSONs lack, added to them

Images and teams: see `nips2017.py`. A deployment is a way of reading the file, after what may have happened to it; see
`onlymymodel/surrogates/deployments.py`. `default` keeps photos through a part of them, and the others show what that is
worth elsewhere. The authorized model is asked through all, the held-out models as written and through one codec, one
resize and one platform.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from assets import RESULTS, WORK, uri
from combine import combine
from deployment_tables import HELDOUT, draw_headline
from leaderboard_tables import draw as draw_leaderboard
from nips2017 import FIT, MAIN_TEAMS, SET, TEAMS, labels_of, photos
from runs import Team, cost_of, evaluate, load_judges, protect, public_command, workers, write_json

from onlymymodel import Judge, load_black_box
from onlymymodel.cli.given import settings_given
from onlymymodel.cli.main import build_parser
from onlymymodel.evaluate.channels import CHANNELS
from onlymymodel.evaluate.deployment_summary import summarize_deployments
from onlymymodel.evaluate.results import AS_WRITTEN, Results
from onlymymodel.evaluate.results_file import read_results, results_to_json
from onlymymodel.protect.attack.recipe import RECIPES, Recipe
from onlymymodel.runtime import configure, pick_device
from onlymymodel.surrogates.deployments import Deployment, get_deployments

BUDGETS = {
    "16": ("--epsilon", "16", "--shape", "even"),
    "8": ("--epsilon", "8", "--shape", "even"),
    "4": ("--epsilon", "4", "--shape", "even"),
    **{f"ssim-{bound}": ("--ssim", bound, "--shape", "texture") for bound in ("0.98", "0.95", "0.9")},
    **{f"ssim-{bound}-even": ("--ssim", bound, "--shape", "even") for bound in ("0.98", "0.95", "0.9")},
}
# methods that are no recipe of their own: FMD as its paper has it, without surrogates and without a margin, and BSR
# with the steps of `default`
METHODS = {"fmd_published": ("fmd", ("--kappa", "0")), "bsr_gradient": ("bsr", ("--step-rule", "gradient"))}
WITHOUT_SURROGATES = ("fmd_published",)
# ten steps of a tenth of the budget do not spend what a bound on SSIM admits, as opposite steps cancel
MI_FGSM_STEP, SPENDING_STEP = RECIPES["ens"].step_share, "0.15"


def main() -> None:
    """Run the requested cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teams", nargs="+", choices=TEAMS, default=MAIN_TEAMS)
    parser.add_argument("--recipes", nargs="+", choices=[*RECIPES, *METHODS], default=["default", "exact"])
    parser.add_argument("--budgets", nargs="+", choices=BUDGETS, default=["8"])
    parser.add_argument("--limit", type=int, default=144, metavar="N", help="the first N images; all by default")
    parser.add_argument("--extend", action="store_true", help="measure only the images that a cell's JSONs lack")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that protect photos")
    arguments = parser.parse_args()
    configure()
    for recipe in arguments.recipes:
        for budget in arguments.budgets:
            for name in arguments.teams:
                run_cell(f"{name}-{recipe}-{budget}", TEAMS[name], recipe, budget, arguments)
    draw_headline()
    draw_leaderboard()


def run_cell(cell: str, team: Team, recipe: str, budget: str, arguments: argparse.Namespace) -> None:
    """Measure the images of one cell, and write its JSONs: of all models, and of the authorized one."""
    targets = [RESULTS / "deployments" / folder / f"{cell}.json" for folder in (SET, f"authorized/{SET}")]
    earlier = [read_results(path) for path in targets if arguments.extend and path.exists()]
    start = min((len(results.photos) for results in earlier), default=0)
    if start >= arguments.limit:
        print(f"{cell}: has {start} images", flush=True)
        return
    folder = WORK / "deployments" / (f"{SET}-from-{start}" if start else SET)
    source, out = photos(arguments.limit, folder / "originals", start), folder / cell
    base, flags = METHODS.get(recipe, (recipe, ()))
    command = [
        "protect", str(source), "--authorized", uri(team.authorized, FIT),
        *(() if recipe in WITHOUT_SURROGATES else ("--surrogate", *(uri(name, FIT) for name in team.surrogates))),
        "--labels", str(source / "labels.csv"), "--recipe", base, *flags, *BUDGETS[budget],
        *larger_steps(base, budget),
        *workers(arguments.workers),
    ]  # fmt: skip
    if earlier:
        check_recipe(cell, command, earlier[0])
    protect(command, arguments.device, out)
    cost = cost_of(out)
    measured = judge(source, out, team, public_command(command, source), pick_device(arguments.device))
    if earlier:
        cost = {name: value + earlier[0].header["cost"][name] for name, value in cost.items()}
        measured = tuple(combine(*parts) for parts in zip(earlier, measured, strict=True))
    for target, results in zip(targets, measured, strict=True):
        write_json(target, {"cell": f"{SET}/{cell}", "cost": cost, **results_to_json(results)})
    for summary in summarize_deployments(measured[-1]):
        print(f"{cell}: {summary.describe()}", flush=True)


def check_recipe(cell: str, command: Sequence[str], earlier: Results) -> None:
    """End before anything is computed that cannot be added to a cell, as `combine` refuses other settings."""
    recipe = settings_given(build_parser().parse_args([*command, "--out", "DST"])).check().recipe
    ((_, settings),) = earlier.header["settings"].items()
    if Recipe.from_json(settings["recipe"]) != recipe:
        raise SystemExit(f"{cell} was measured with other settings of the recipe: measure it anew, without --extend")


def judge(source: Path, out: Path, team: Team, command: str, device: torch.device) -> tuple[Results, ...]:
    """Evaluate a protected folder with all models as written and through a few deployments, and the authorized one
    through every deployment.
    """
    judges = load_judges(replace(team, surrogates=()), lambda name: load_black_box(uri(name, FIT), device=device))

    def through(judges: Sequence[Judge], deployments: Sequence[Deployment]) -> Results:
        return evaluate(
            source, out, tuple(judges), labels=labels_of(source), command=command,
            device=device, channels=(CHANNELS[AS_WRITTEN], *deployments),
        )  # fmt: skip

    authorized = through([judge for judge in judges if judge.role == "authorized"], get_deployments([]))
    # asked last, so that the page beside the cell shows every model; answers of the authorized model are cached
    return through(judges, get_deployments(list(HELDOUT[1:]))), authorized


def larger_steps(recipe: str, budget: str) -> tuple[str, ...]:
    """Return the flags with which a method that builds on MI-FGSM spends a bound on SSIM."""
    builds_on_it = RECIPES[recipe].step_share == MI_FGSM_STEP
    return ("--step-share", SPENDING_STEP) if builds_on_it and budget.startswith("ssim-") else ()


if __name__ == "__main__":
    main()
