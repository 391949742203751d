"""`omm tune`."""

import argparse
import logging
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onlymymodel.cli.assumed import warn_assumed
from onlymymodel.cli.flags import (
    add_budget,
    add_files,
    add_limits,
    add_machine,
    add_models,
    add_recipe,
    add_run_file,
    folder_here,
    positive,
)
from onlymymodel.cli.interrupt import exit_on_interrupt
from onlymymodel.cli.known import add_i_know, check_known_photos
from onlymymodel.cli.parser import Parser
from onlymymodel.cli.recorded_command import recorded_command
from onlymymodel.errors import UserError
from onlymymodel.evaluate.tune.knob import HIGHEST, LOWEST_SSIM, OVER, Knob, highest_level
from onlymymodel.protect.budget.strengths import CAP
from onlymymodel.surrogates.deployments import GROUPS, expand_groups, get_deployments
from onlymymodel.surrogates.uri import redacted

if TYPE_CHECKING:
    from onlymymodel.cli.checks import CheckedPhotos
    from onlymymodel.evaluate.tune.outcome import TuningOutcome
    from onlymymodel.evaluate.tune.search import Target
    from onlymymodel.evaluate.tune.tuning import Tuning
    from onlymymodel.settings import RunSettings

RUN_FILE = "run.toml"

log = logging.getLogger(__name__)


def add_flags(parser: Parser) -> None:
    """Add the flags."""
    parser.description = (
        "Protect a sample of PHOTOS at several budgets, judge the written files, and find the least visible one that\n"
        "meets the target. Writes tune.json, frontier.svg, tune.html and run.toml for omm protect --run to DIR.\n"
        "A run that was stopped continues without repeating a computation or a query."
    )
    parser.details = (
        "The judges (--heldout) decide, since the change is fitted to the stand-ins, whose answers are no evidence.\n"
        "Without --heldout the last --surrogate is set aside as the judge; it is a stand-in again in run.toml."
    )
    pictures = "a folder of photos, or one photo; or Parquet files with rows of pictures; never changed"
    parser.add_argument("photos", type=folder_here, metavar="PHOTOS", help=pictures)
    photos = parser.add_argument_group("photos")
    photos.add_argument("--out", type=folder_here, required=True, metavar="DIR", help="folder for the results")
    photos.add_argument("--labels", metavar="CSV", help="as for omm protect")
    add_run_file(photos)
    _add_target(parser.add_argument_group("search"))
    plan = "say how many protections it takes and how long that is; write nothing"
    photos.add_argument("--dry-run", action="store_true", help=plan)
    models = parser.add_argument_group("models, by their URIs (see omm models)")
    add_models(models)
    add_i_know(models)
    add_budget(parser.add_argument_group("budget, region and recipe (omit --strength and what is searched)"))
    add_files(parser.add_argument_group("files"))
    add_limits(add_machine(parser))
    add_recipe(parser.add_argument_group("settings of the recipe (see omm protect)"))
    parser.set_defaults(run=run)


def _add_target(group: Any) -> None:
    read = "largest share of the photos that judges may read, in the files as written (0.1)"
    group.add_argument("--target-heldout", type=float, default=0.1, metavar="SHARE", help=read)
    kept = "least share that the authorized model keeps of the photos that it reads when clean (0.99)"
    group.add_argument("--target-kept", type=float, default=0.99, metavar="SHARE", help=kept)
    through = (
        "deployments through each of which it has to keep that share, too: names (omm evaluate --help-all), or "
        f"{', '.join(name for name, members in GROUPS.items() if members)}; the least one decides (none)"
    )
    group.add_argument("--through", nargs="+", default=[], metavar="NAME", help=through)
    over = "what is searched: epsilon (default), or a bound on SSIM under an epsilon of 16, or the one that is given"
    group.add_argument("--over", choices=OVER, default="epsilon", help=over)
    group.add_argument("--sample", type=positive, default=16, metavar="N", help="number of photos in the sample (16)")
    drawn = "seed of the sample (0); --seed is the seed of the recipe"
    group.add_argument("--sample-seed", type=int, default=0, metavar="N", help=drawn)
    group.add_argument("--highest", type=positive, metavar="N", help=f"largest epsilon to try ({HIGHEST})")
    lowest = f"lowest bound on SSIM to try, with --over ssim ({LOWEST_SSIM})"
    group.add_argument("--lowest-ssim", type=float, metavar="SSIM", help=lowest)
    photo = "also find the least budget for every photo, and write all photos to DIR/protected"
    group.add_argument("--per-image", action="store_true", help=photo)
    axis = "horizontal axis of the plot: the budget (default), or the median SSIM"
    group.add_argument("--axis", choices=("epsilon", "ssim"), default="epsilon", help=axis)


def run(arguments: argparse.Namespace) -> int:
    """Tune; return 0 if the target is met (with `--per-image` by every photo), else 1."""
    with exit_on_interrupt():
        target, checked = _checked(arguments)
        from onlymymodel.evaluate.tune.outcome import TuningOutcome
        from onlymymodel.evaluate.tune.per_photo import find_photo_budgets, previous_highest
        from onlymymodel.evaluate.tune.price import price_of
        from onlymymodel.evaluate.tune.tune import SAMPLE, tune
        from onlymymodel.progress import is_shown, remark
        from onlymymodel.runtime import configure
        from onlymymodel.surrogates.uri import parse_uri
    configure()
    settings, set_aside = with_judge(checked.settings.complete())
    tuning = _tuning(arguments, settings, target, checked)
    if set_aside:
        log.warning("no judge was given: the stand-in %s is set aside as the judge", redacted(set_aside))
    if arguments.dry_run:
        price = price_of(tuning, checked.photos, each=arguments.per_image)
        arguments.output.say(price.describe(), "nothing was written")
        arguments.output.add(dry_run=True, seconds=price.seconds, protections=price.protections)
        return 0
    if arguments.per_image:
        previous_highest(tuning)  # refuses a folder of other settings before anything is computed
    if is_shown() and not (tuning.out / SAMPLE).exists():
        remark(f"omm: {price_of(tuning, checked.photos, each=arguments.per_image).describe()}")
    frontier = tune(tuning)
    # a photo that cannot be measured gets the budget that the sample needs
    fallback = frontier.choice or tuning.highest
    photos = find_photo_budgets(tuning, fallback) if arguments.per_image else []
    outcome = TuningOutcome(tuning, frontier, parse_uri(set_aside).public if set_aside else "", photos)
    tuned = replace(joined(settings, set_aside), budget=tuning.context_at(frontier.nearest).budget)
    _report(arguments, outcome, tuned)
    enough = frontier.choice is not None and all(photo.state in ("least", "not measurable") for photo in photos)
    return 0 if enough else 1


def _report(arguments: argparse.Namespace, outcome: "TuningOutcome", tuned: "RunSettings") -> None:
    """Write the files of a tuning, and say what it found.

    Args:
        arguments: the flags.
        outcome: the result.
        tuned: settings with the budget that was found.
    """
    from onlymymodel.data.atomic import write_atomic
    from onlymymodel.evaluate.text import replace_unprintable
    from onlymymodel.evaluate.tune.outcome import describe_outcome, outcome_to_text
    from onlymymodel.evaluate.tune.per_photo import PROTECTED, table_name
    from onlymymodel.evaluate.tune.tune_page import PAGE, write_tuning

    output, tuning, frontier = arguments.output, outcome.tuning, outcome.frontier
    write_tuning(outcome, axis=arguments.axis)
    write_atomic(tuning.out / RUN_FILE, to_toml(tuned, tuning.out).encode())
    output.say(outcome_to_text(frontier), *map(replace_unprintable, describe_outcome(outcome)))
    command = f"; to protect with these settings: {_command(arguments)}"
    if frontier.choice is None:
        nearest = f"; to protect with the settings that come nearest: {_command(arguments)}"
        command = nearest if frontier.point_at(frontier.nearest).changed else ""
    output.say(f"\nfigure and pictures: {tuning.out / PAGE}{command}")
    if outcome.photos:
        table = tuning.out / table_name(tuning.knob)
        output.say(f"each photo within its own budget: {tuning.out / PROTECTED} (budgets: {table})")
    output.add(
        target_met=frontier.choice is not None,
        **{tuning.knob.column: tuning.knob.value(frontier.nearest)},
        run_file=tuning.out / RUN_FILE,
        report=tuning.out / PAGE,
        points=[point.to_json() for point in frontier.points],
        photos=[photo.to_json(tuning.knob) for photo in outcome.photos],
    )


def _checked(arguments: argparse.Namespace) -> "tuple[Target, CheckedPhotos]":
    """Check flags, photos and models before torch is imported.

    Raises:
        UserError: any of them cannot be used, or no model can judge.
    """
    from msgspec import structs

    from onlymymodel.cli.checks import check_photos
    from onlymymodel.data.source import open_source
    from onlymymodel.evaluate.tune.search import Target

    if arguments.strength is not None:
        raise UserError("omm tune searches for a budget: leave out --strength")
    if arguments.over == "epsilon" and arguments.epsilon is not None:
        raise UserError("omm tune searches for epsilon: leave out --epsilon (--highest limits it), or add --over ssim")
    if arguments.over == "ssim" and arguments.ssim is not None:
        raise UserError("--over ssim searches for a bound on SSIM: leave out --ssim (--lowest-ssim limits it)")
    highest_level(arguments.over, arguments.highest, arguments.lowest_ssim)
    through = expand_groups(tuple(arguments.through))
    get_deployments(through)
    target = Target(arguments.target_heldout, arguments.target_kept, through)
    arguments.photos = open_source(arguments.photos)
    checked = check_photos(arguments, arguments.photos)
    check_judge(checked.settings.surrogates, checked.settings.heldout)
    epsilon = 1.0 if arguments.over == "epsilon" else arguments.epsilon or CAP
    return target, replace(checked, settings=structs.replace(checked.settings, epsilon=epsilon, strength=None))


def with_judge(settings: "RunSettings") -> tuple["RunSettings", str]:
    """Return settings with a held-out model, and the URI of the surrogate that was set aside for it, "" if none was.

    A surrogate cannot judge the change that was fitted to it. The last one is set aside, so that an unfinished tuning
    continues with the same one.

    Raises:
        UserError: no held-out model, and fewer than two surrogates.
    """
    if settings.heldout:
        return settings, ""
    check_judge(settings.surrogates, settings.heldout)
    *remaining, last = settings.surrogates
    return replace(settings, surrogates=tuple(remaining), heldout=(last,)), last


def check_judge(surrogates: Sequence[str], heldout: Sequence[str]) -> None:
    """Check that a model can judge: a held-out one, or the last of several surrogates.

    Raises:
        UserError: there is none.
    """
    if not heldout and len(surrogates) < 2:
        raise UserError(
            "name a judge: --heldout URI; the change is fitted to the stand-ins, so their "
            "answers are no evidence (of two or more stand-ins the last one would be set aside as the judge)"
        )


def joined(settings: "RunSettings", set_aside: str) -> "RunSettings":
    """Return the settings for the protection itself, where the surrogate that was set aside is a surrogate again."""
    return replace(settings, surrogates=(*settings.surrogates, set_aside), heldout=()) if set_aside else settings


def to_toml(settings: "RunSettings", folder: Path) -> str:
    """Return the text of a run file in that folder."""
    return "# written by omm tune; for omm protect --run\n" + settings.to_toml(folder)


def _tuning(
    arguments: argparse.Namespace, settings: "RunSettings", target: "Target", checked: "CheckedPhotos"
) -> "Tuning":
    """Return the inputs of the tuning, with models loaded and checked.

    Raises:
        UserError: a model that cannot have its role.
    """
    from onlymymodel.evaluate.judges import judges_for
    from onlymymodel.evaluate.tune.tuning import Tuning
    from onlymymodel.protect.limits import Limits
    from onlymymodel.runtime import pick_device

    device = pick_device(arguments.device)
    context, heldout = settings.load(device=device, allow_python=arguments.allow_python, progress=True)
    warn_assumed((context.authorized, *context.surrogates, *heldout))
    limits = Limits.of(context, arguments.memory, arguments.time_limit)
    check_known_photos(context, [entry.file for entry in checked.photos], limits, accepted=arguments.i_know)
    return Tuning(
        source=arguments.photos,
        out=arguments.out,
        context=context,
        uris_from=settings.uris_from,
        judges=tuple(judges_for(context, heldout)),
        target=target,
        knob=Knob(arguments.over),
        highest=highest_level(arguments.over, arguments.highest, arguments.lowest_ssim),
        sample=arguments.sample,
        seed=arguments.sample_seed,
        labels=checked.labels.find(context.authorized.card) or {},
        masks=settings.masks,
        batch_size=arguments.batch_size,
        limits=limits,
        command=recorded_command(arguments.words),
    )


def _command(arguments: argparse.Namespace) -> str:
    """Return the command that protects all photos with the tuned settings; a run file holds no labels."""
    words = ["omm", "protect", str(arguments.photos), "--run", str(arguments.out / RUN_FILE)]
    words += [] if arguments.labels is None else ["--labels", str(arguments.labels)]
    words += ["--allow-python"] * arguments.allow_python
    return f"{shlex.join(words)} --out DST"
