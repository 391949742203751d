"""Tables and figure of results/deployments/: one row for each authorized model, budget and recipe."""

import io
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from assets import FIGURES, RESULTS
from markup import marked_name, share, table
from measured import MeasuredRun
from nips2017 import MAIN_TEAMS, SET
from paired import paired_difference
from peers import passes

from onlymymodel.data.atomic import write_atomic
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.evaluate.score import Proportion, Score
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.surrogates.deployments import DEPLOYMENTS, KEPT_BY_DEFAULT

FOLDER = RESULTS / "deployments"
FIGURE = FIGURES / "headline.svg"
# cells of the README's table and figure
HEADLINE = (
    "mobilenet_v2-default-8", "mobilenet_v2-default-ssim-0.95", "mobilenet_v2-default-ssim-0.95-even",
    "mobilenet_v2-exact-8", "mobilenet_v2-bsr-ssim-0.95-even", "mobilenet_v2-ens-8", "mobilenet_v2-fmd-8",
)  # fmt: skip
BUDGETS = ("16", "8", "ssim-0.95", "4")  # of the table of all deployments; the leaderboard has the others
METHODS = (
    "default", "exact", "robust", "bsr", "bsr_gradient", "decowa", "ops", "mef", "di", "si", "admix", "svre", "nrdm",
    "ens", "fmd", "fmd_published",
)  # fmt: skip
# held-out models are shown as written and after one codec, one resize and one platform
HELDOUT = (AS_WRITTEN, "jpeg-75", "half-and-back", "facebook-2021")


class DeploymentCell(MeasuredRun):
    """The JSONs of one cell of benchmarks/deployments.py: of all models, and of the authorized one."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.deployed = read_results(FOLDER / "authorized" / SET / path.name)
        self.cost: dict[str, float] = self.results.header.get("cost", {})
        self.team, self.method, self.budget = path.stem.split("-", 2)

    def kept(self, names: Sequence[str]) -> dict[str, Proportion]:
        """Return what the authorized model keeps, by deployment; without those in which it reads no clean photo."""
        shares = {name: self.deployed.authorized.score(self.run.name, name).kept_of_readable for name in names}
        return {name: proportion for name, proportion in shares.items() if proportion.total}

    @property
    def measured(self) -> list[str]:
        """Names of the deployments of the authorized model, without the files as written."""
        return [name for name in self.deployed.channels if name in DEPLOYMENTS and name != "as-written"]

    def least_of(self, names: Sequence[str]) -> tuple[str, Proportion]:
        """Return the deployment through which the authorized model keeps the smallest share, and what it keeps."""
        return min(self.kept(names).items(), key=lambda item: (item[1].share or 0.0, item[0]))

    @property
    def least(self) -> float:
        """Smallest share that the authorized model keeps, over all deployments."""
        return self.least_of(self.measured)[1].share or 0.0

    @property
    def recipe_settings(self) -> Recipe:
        """The recorded settings of the recipe."""
        return Recipe.from_json(self.results.header["settings"][self.run.name]["recipe"])

    @property
    def promised(self) -> tuple[str, ...]:
        """The deployments through which photos were kept; those of today's `default` for recipes that keep none."""
        return self.recipe_settings.keep_through or KEPT_BY_DEFAULT

    @property
    def passes(self) -> int:
        """Forward passes of a network for each photo, those of the guard included; most have a backward pass."""
        recipe = self.recipe_settings
        guard = recipe.steps * (1 + recipe.guard_looks) if recipe.guard else 0
        return passes(recipe, len(self.results.header["settings"][self.run.name]["surrogates"])) + guard

    @property
    def cpu_seconds(self) -> str:
        """CPU seconds of a photo; a dash where they were not recorded."""
        return f"{self.cost['cpu_seconds'] / self.cost['photos']:.1f}" if self.cost.get("photos") else "-"

    @property
    def budget_in_words(self) -> str:
        """The budget, as `epsilon 8` or `SSIM 0.95`; plain epsilons change every pixel as much."""
        if not self.budget.startswith("ssim-"):
            return f"epsilon {self.budget}"
        return self.budget.replace("ssim-", "SSIM ").replace("-even", ", even")

    def heldout(self, version: str | None = None, channel: str = AS_WRITTEN) -> str:
        """Return the mean share that the independent judges read."""
        mean = self.heldout_mean(version, channel)
        return "-" if mean is None else f"{100 * mean:.1f} %"


def deployments() -> str:
    """Return what is kept over the promised and the other deployments, and what judges read."""
    cells = [cell for cell in all_cells() if cell.budget in BUDGETS and cell.team in MAIN_TEAMS]
    cells.sort(key=lambda cell: (BUDGETS.index(cell.budget), METHODS.index(cell.method), cell.team))
    head = [
        "budget", "recipe", "authorized", "protected", "promised", "kept, promised: mean, least",
        "kept, others: mean, least",
        "judges: clean", "as written", *HELDOUT[1:], "SSIM",
    ]  # fmt: skip
    return table(head, map(_row, cells))


def paired() -> str:
    """Return what judges read after other recipes, less what they read after `default`, on the same photos."""
    cells = {(cell.team, cell.method, cell.budget): cell for cell in all_cells()}
    head = [
        "budget", "authorized", "recipe", "as written", *HELDOUT[1:], "SSIM: `default`, recipe", "photos",
    ]  # fmt: skip
    rows = []
    for _, cell in sorted(cells.items()):
        default = cells.get((cell.team, "default", cell.budget))
        if default is None or cell is default or cell.budget not in BUDGETS:
            continue
        differences = [paired_difference(cell, default, channel) for channel in HELDOUT]
        rows.append(
            [
                cell.budget_in_words, cell.team, f"`{cell.method}`", *(entry.describe() for entry in differences),
                "{1:.2f}, {0:.2f}".format(*differences[0].ssim), str(differences[0].photos),
            ]
        )  # fmt: skip
    return table(head, rows)


def convolutions() -> str:
    """Return what each judge reads where no stand-in has attention, and where one has; "" without the cell."""
    paths = [FOLDER / SET / f"{team}-default-8.json" for team in ("convolutions", "resnet50")]
    if not all(path.exists() for path in paths):
        return ""
    alone, mixed = map(DeploymentCell, paths)
    with_attention = {row.model: row for row in mixed.results.rows_of("held-out")}
    rows = []
    for row in alone.results.rows_of("held-out"):
        other = with_attention.get(row.model)
        rows.append(
            [
                marked_name(row), *(_of(row.score(version)) for version in (CLEAN, alone.run.name)),
                "-" if other is None else _of(other.score(mixed.run.name)),
            ]
        )  # fmt: skip
    return table(["judge", "clean", "convolutional stand-ins", "the same and vit_tiny"], rows)


def details() -> str:
    """Return how many photos each judge reads after every cell; `*` marks one that is excluded from the mean."""
    head = ["authorized", "recipe", "budget", "photos", "protected", "judges read", "their mean", "PSNR", "SSIM"]
    rows = [
        [
            cell.team, f"`{cell.method}`", cell.budget_in_words, str(len(cell.results.photos)), cell.protected,
            "; ".join(f"{marked_name(row)} {cell.right(row)}" for row in cell.results.rows_of("held-out")),
            cell.heldout(), f"{cell.psnr:.1f}", f"{cell.ssim:.3f}",
        ]
        for cell in all_cells()
    ]  # fmt: skip
    return table(head, rows)


def headline() -> str:
    """Return few rows for the README: visibility, cost, and what the authorized and the judges read."""
    head = [
        "recipe", "budget", "SSIM", "passes a photo", "authorized model keeps", "judges read: clean",
        "protected", "photos",
    ]  # fmt: skip
    rows = [
        [
            f"`{cell.method}`", cell.budget_in_words, f"{cell.ssim:.2f}", str(cell.passes), f"{100 * cell.least:.0f} %",
            cell.heldout(CLEAN), cell.heldout(), str(len(cell.results.photos)),
        ]
        for cell in headline_cells()
    ]  # fmt: skip
    return table(head, rows)


def all_cells() -> list[DeploymentCell]:
    """Return all cells that were measured."""
    return [DeploymentCell(path) for path in sorted((FOLDER / SET).glob("*.json"))]


def headline_cells() -> list[DeploymentCell]:
    """Return the cells of `HEADLINE` that were measured."""
    paths = [FOLDER / SET / f"{name}.json" for name in HEADLINE]
    return [DeploymentCell(path) for path in paths if path.exists()]


def draw_headline(target: Path = FIGURE) -> None:
    """Draw what the authorized model keeps at least, and what judges read; same bytes for the same results."""
    from matplotlib import pyplot, rc_context

    cells = headline_cells()[::-1]
    with rc_context({"svg.hashsalt": "headline", "svg.fonttype": "path", "font.size": 9.5}):
        figure, axes = pyplot.subplots(figsize=(7.2, 0.6 + 0.62 * len(cells)))
        for offset, values, color, label in (
            (0.19, [cell.least for cell in cells], "#1a6b45", "authorized model keeps, least of 27 deployments"),
            (-0.19, [cell.heldout_mean() or 0.0 for cell in cells], "#b03a2e", "judges read"),
        ):
            places = [index + offset for index in range(len(cells))]
            axes.barh(places, [100 * value for value in values], height=0.36, color=color, label=label)
            for place, value in zip(places, values, strict=True):
                axes.text(100 * value + 1, place, f"{100 * value:.0f} %", va="center")
        axes.set_yticks(range(len(cells)), [f"{cell.method}, {cell.budget_in_words}" for cell in cells])
        axes.set_xlim(0, 108)
        axes.set_xlabel("share of the photos, %")
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
        axes.spines[["top", "right"]].set_visible(False)
        out = io.BytesIO()
        figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    write_atomic(target, out.getvalue())


def _row(cell: DeploymentCell) -> list[str]:
    measured = cell.measured
    promised = [name for name in measured if name in cell.promised]
    return [
        cell.budget.replace("ssim-", "SSIM "), f"`{cell.method}`", cell.team, cell.protected,
        str(len(promised)), _mean_and_least(cell, promised),
        _mean_and_least(cell, [name for name in measured if name not in promised]), cell.heldout(CLEAN),
        *(cell.heldout(None, channel) for channel in HELDOUT), f"{cell.ssim:.3f}",
    ]  # fmt: skip


def _of(score: Score) -> str:
    return f"{score.right} of {score.photos}"


def _mean_and_least(cell: DeploymentCell, names: Sequence[str]) -> str:
    mean = fmean(proportion.share or 0.0 for proportion in cell.kept(names).values())
    name, least = cell.least_of(names)
    return f"{100 * mean:.1f} %, {share(least.hits or 0, least.total)} ({name}: {least.hits} of {least.total})"
