"""Who plays which part: the URIs of the models, from flags, run file and what a folder was made with."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from onlymymodel.errors import UserError
from onlymymodel.protect import run_record
from onlymymodel.protect.recipe import Recipe
from onlymymodel.protect.run_record import ModelUris
from onlymymodel.run_file import RunFile
from onlymymodel.surrogates.uri import parse_uri


@dataclass(frozen=True)
class Roles:
    """The URIs of a run's models: flags over the run file."""

    authorized: str
    surrogates: tuple[str, ...]
    heldout: tuple[str, ...]

    def seen_from(self, folder: Path) -> ModelUris:
        """The models that the optimizer uses, with their files relative to `folder`."""
        surrogates = tuple(parse_uri(uri).seen_from(folder) for uri in self.surrogates)
        return ModelUris(parse_uri(self.authorized).seen_from(folder), surrogates)


def roles_of_a_run(arguments: argparse.Namespace, run: RunFile, recipe: Recipe) -> Roles:
    """Flags over the run file.

    Raises:
        UserError: nobody is authorized, or the recipe needs a surrogate.
    """
    authorized = arguments.authorized or run.authorized
    if authorized is None:
        raise UserError("name the model that must still read the photos: --authorized URI (omm models lists the kinds)")
    roles = Roles(authorized, tuple(arguments.surrogate) or run.surrogates, tuple(arguments.heldout) or run.heldout)
    if recipe.objective != "feature" and not roles.surrogates:
        raise UserError("name at least one model that stands in for the unknown ones: --surrogate URI")
    return roles


def roles_of_an_evaluation(arguments: argparse.Namespace, run: RunFile) -> Roles:
    """Flags over the run file over what the first protected folder was made with."""
    authorized, surrogates = arguments.authorized or run.authorized, tuple(arguments.surrogate) or run.surrogates
    first = arguments.protected[0]
    for folder in arguments.protected:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder of protected photos")
    if (authorized is None or not surrogates) and (first / run_record.NAME).exists():
        recorded = run_record.read(first)["models"]
        authorized = authorized or _seen_from_here(recorded["authorized"], first)
        surrogates = surrogates or tuple(_seen_from_here(uri, first) for uri in recorded["surrogates"])
    if authorized is None:
        raise UserError(f"{first} does not say for which model it was made: name it by --authorized URI")
    return Roles(authorized, surrogates, tuple(arguments.heldout) or run.heldout)


def _seen_from_here(uri: str, folder: Path) -> str:
    return parse_uri(uri, folder).seen_from(Path())
