"""What `omm tune` does with its arguments."""

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

from onlymymodel.arguments import budget_of, labels_of, masks_of, photo_settings_of, recipe_of, team_of
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.folder import scan
from onlymymodel.errors import UserError
from onlymymodel.evaluate.judgment import panel
from onlymymodel.evaluate.per_photo import PROTECTED, TABLE, PhotoBudget, check_earlier, least_per_photo
from onlymymodel.evaluate.search import Target
from onlymymodel.evaluate.tune import Tuning, tune
from onlymymodel.evaluate.tune_page import PAGE, Found, sentences, to_text, write_tuning
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.recipe import RECIPES, Recipe
from onlymymodel.roles import Roles, roles_of_a_run
from onlymymodel.run_file import PhotoSettings, RunFile, read_run_file, toml_lines
from onlymymodel.surrogates.uri import parse_uri

OK, NOT_ALL_WELL = 0, 1
RUN_FILE = "run.toml"


def tune_command(arguments: argparse.Namespace) -> int:
    """`omm tune`: 0 where the target is met, with --per-image by every photo, else 1."""
    if arguments.epsilon is not None or arguments.strength is not None:
        raise UserError("omm tune looks for epsilon itself: leave out --epsilon and --strength (--highest limits it)")
    run = read_run_file(arguments.run_file) if arguments.run_file else RunFile()
    run = replace(run, epsilon=None, strength=None)
    recipe, settings = recipe_of(arguments, run), photo_settings_of(arguments, run)
    roles, set_aside = judged_roles(roles_of_a_run(arguments, run, recipe))
    tuning = _tuning(arguments, run, recipe, roles, settings)
    if set_aside:
        print(f"omm: no held-out model was given: the surrogate {set_aside} is set aside to judge")
    if arguments.per_image:
        check_earlier(tuning)
    progress = not arguments.quiet
    frontier = tune(tuning, progress=progress)
    # a photo that nobody can judge gets what the sample needs
    fallback = frontier.choice or tuning.highest
    photos: list[PhotoBudget] = least_per_photo(tuning, fallback, progress=progress) if arguments.per_image else []
    found = Found(tuning, frontier, parse_uri(set_aside).public if set_aside else "", photos)
    write_tuning(found, axis=arguments.axis)
    text = run_file(tuning.out, joined(roles, set_aside), recipe, tuning.at(frontier.nearest).budget, settings)
    write_atomic(tuning.out / RUN_FILE, text.encode())
    print(to_text(frontier), *sentences(found), sep="\n")
    print(f"\nfigure and pictures: {tuning.out / PAGE}; as a run file: {_use(arguments)}")
    if photos:
        print(f"each photo by its own budget: {tuning.out / PROTECTED} ({tuning.out / TABLE} says which)")
    enough = frontier.choice is not None and all(one.state in ("least", "not measurable") for one in photos)
    return OK if enough else NOT_ALL_WELL


def judged_roles(roles: Roles) -> tuple[Roles, str]:
    """Roles with somebody to judge, and the URI of the surrogate that was set aside for that; "" where none had to be.

    A surrogate cannot be the judge of what was fitted to it. The last one named is set aside, so that an unfinished
    tuning goes on with the same one.

    Raises:
        UserError: no held-out model, and fewer than two surrogates.
    """
    if roles.heldout:
        return roles, ""
    if len(roles.surrogates) < 2:
        raise UserError(
            "name a model that takes no part and judges: --heldout URI; the change is fitted to the surrogates, so "
            "what they say is no evidence (with two surrogates or more the last one is set aside to judge)"
        )
    *rest, last = roles.surrogates
    return Roles(roles.authorized, tuple(rest), (last,)), last


def joined(roles: Roles, set_aside: str) -> Roles:
    """The roles of the protection to come: who was set aside joins again."""
    return Roles(roles.authorized, (*roles.surrogates, set_aside), ()) if set_aside else roles


def run_file(folder: Path, roles: Roles, recipe: Recipe, budget: Budget, photos: PhotoSettings) -> str:
    """A run file in that folder that says the same; it has the recipe whole, so that it means the same tomorrow."""
    uris, heldout = roles.seen_from(folder), [parse_uri(uri).seen_from(folder) for uri in roles.heldout]
    content = budget.to_json()
    tables = {"budget": {key: value for key, value in content.items() if key != "linf"}, "recipe": recipe.to_json()}
    if recipe.name not in RECIPES:
        del tables["recipe"]["name"]
    top = {
        "authorized": uris.authorized,
        "surrogates": list(uris.surrogates),
        "heldout": heldout,
        "epsilon": round(content["linf"]),
        **photos.changes(folder),
    }
    lines = ["# written by omm tune; for omm protect --run", *toml_lines(top)]
    for name, table in tables.items():
        if table:
            lines += ["", f"[{name}]", *toml_lines(table)]
    return "\n".join(lines) + "\n"


def _tuning(
    arguments: argparse.Namespace, run: RunFile, recipe: Recipe, roles: Roles, settings: PhotoSettings
) -> Tuning:
    """What is tuned, its models loaded and checked.

    Raises:
        UserError: a target that means nothing, no photo, a model that cannot take its part.
    """
    target = Target(arguments.target_heldout, arguments.target_kept)
    photos = [str(entry.relative) for entry in scan(arguments.photos, f".{settings.format}") if entry.status == "photo"]
    context, heldout = team_of(arguments, settings, roles, recipe, budget_of(arguments, run, recipe))
    return Tuning(
        source=arguments.photos,
        out=arguments.out,
        context=context,
        uris_from=roles.seen_from,
        judges=tuple(panel(context, heldout)),
        target=target,
        highest=arguments.highest,
        sample=arguments.sample,
        seed=arguments.sample_seed,
        labels=labels_of(arguments, photos, context.authorized.card),
        masks=masks_of(arguments, settings),
        batch_size=arguments.batch_size,
        command=shlex.join(["omm", *arguments.words]),
    )


def _use(arguments: argparse.Namespace) -> str:
    """The command that protects all photos as was found; a run file says nothing of labels."""
    words = ["omm", "protect", str(arguments.photos), "--run", str(arguments.out / RUN_FILE)]
    words += [] if arguments.labels is None else ["--labels", str(arguments.labels)]
    words += ["--allow-python"] * arguments.allow_python
    return f"{shlex.join(words)} --out DST"
