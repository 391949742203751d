"""Settings of a run as they are given, in flags or a run file: some of them, which are then checked and completed.

Importing this module does not import torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from onlymymodel.data.choices import Metadata
from onlymymodel.data.file_kinds import check_globs
from onlymymodel.data.regular_file import is_folder
from onlymymodel.errors import UserError, did_you_mean
from onlymymodel.protect.attack.recipe import OURS, Recipe, make_recipe
from onlymymodel.protect.budget.kinds import BOUNDS, EVEN, LINF, check_limits
from onlymymodel.protect.budget.strengths import AUTO, CAP, SET_BY_STRENGTH, STRENGTHS
from onlymymodel.protect.budget.strengths import DEFAULT as DEFAULT_STRENGTH
from onlymymodel.protect.choices import Faces, Format, NoFace
from onlymymodel.settings import PHOTO_DEFAULTS, RunSettings
from onlymymodel.surrogates.uri import lacks_gallery, with_gallery

Uris = Annotated[tuple[str, ...], Meta(description="a list of names or URIs of models")]


@dataclass(frozen=True)
class CheckedSettings:
    """Settings that passed all checks for which torch is not needed.

    Attributes:
        models: URI of the authorized model, those of the surrogates, and those of the held-out models.
        budget: the budget, as `Budget.from_json` takes it.
        recipe: the recipe.
        photos: the settings of `PHOTO_DEFAULTS` that are given.
        auto_strength: see `RunSettings`.
    """

    models: tuple[str, tuple[str, ...], tuple[str, ...]]
    budget: dict[str, Any]
    recipe: Recipe
    photos: dict[str, Any]
    auto_strength: bool


class PartialSettings(msgspec.Struct, frozen=True):
    """Settings from the flags or from a run file; None or empty where they set nothing.

    Attributes:
        authorized, surrogates, heldout: as in `RunSettings`.
        epsilon, strength: in 1/255, or a name of `STRENGTHS`, or `AUTO`.
        budget: fields of `Budget` except linf, as flags and TOML give them (luma in 1/255).
        recipe: `name`, and fields of `Recipe` that differ from that recipe's.
        region, no_face, faces, format, metadata, max_pixels, keep_makernotes, first_frame, exclude: as in
            `RunSettings`.
        gallery: a folder with one folder of photos for each person, for the models that have `gallery=` without a
            folder in their URIs.
    """

    authorized: Annotated[str, Meta(description="the name or URI of a model")] | None = None
    surrogates: Uris = ()
    heldout: Uris = ()
    epsilon: float | None = None
    strength: str | None = None
    budget: Annotated[dict[str, Any], Meta(description="a table")] = {}
    recipe: Annotated[dict[str, Any], Meta(description="a table")] = {}
    region: (
        Annotated[str, Meta(min_length=1, description="image, face, or the path of a mask or of a folder of masks")]
        | None
    ) = None
    no_face: NoFace | None = None
    faces: Faces | None = None
    format: Format | None = None
    metadata: Metadata | None = None
    max_pixels: Annotated[int, Meta(ge=1, description="a whole number from 1")] | None = None
    keep_makernotes: bool | None = None
    first_frame: bool | None = None
    exclude: Annotated[tuple[str, ...], Meta(description="a list of globs")] = ()
    gallery: Annotated[str, Meta(min_length=1, description="the path of a folder")] | None = None

    def over(self, other: "PartialSettings") -> "PartialSettings":
        """Return these settings, and those of `other` where these give none.

        Fields of a budget or a recipe are taken one by one, except that the recipe of `other` does not apply where
        these name another one: run files that `omm tune` writes hold every field.
        """
        names = [name for name in self.__struct_fields__ if name not in ("epsilon", "strength", "budget", "recipe")]
        values = {name: getattr(other if getattr(self, name) in (None, ()) else self, name) for name in names}
        size = other if self.epsilon is None and self.strength is None else self
        name = self.recipe.get("name", other.recipe.get("name"))
        same = other.recipe.get("name", name) == name
        return PartialSettings(
            **values,
            epsilon=size.epsilon,
            strength=size.strength,
            budget={**other.budget, **self.budget},
            recipe={**(other.recipe if same else {}), **self.recipe},
        )

    def complete(self) -> RunSettings:
        """Return settings with defaults for what is not given.

        Raises:
            UserError: see `check`.
        """
        from onlymymodel.protect.budget.budget import Budget

        checked = self.check()
        budget = Budget.from_json(checked.budget)
        return RunSettings(*checked.models, budget, checked.recipe, checked.auto_strength, **checked.photos)

    def check(self) -> "CheckedSettings":
        """Check everything that `complete` needs, without importing torch.

        Raises:
            UserError: no authorized model, no gallery although a model takes one, both an epsilon and a strength, a
                value that is not known or out of its range.
        """
        if self.authorized is None:
            raise UserError(
                "name the model that must still read the photos: --authorized URI (omm models lists the kinds)"
            )
        if self.metadata == "none" and self.keep_makernotes:
            raise UserError("metadata none and keep_makernotes are both given; give one")
        check_globs(self.exclude)
        recipe = make_recipe(**{"name": "default", **self.recipe})
        photos = {name: getattr(self, name) for name in PHOTO_DEFAULTS if getattr(self, name) is not None}
        budget = self._budget(recipe.name)
        limits = {name: BOUNDS[name].read(value) for name, value in budget.items() if name in BOUNDS}
        check_limits(limits, budget["shape"])
        models = self._with_gallery(self.authorized)
        auto = self.strength == AUTO
        if auto and recipe.objective == "feature":
            raise UserError(f"strength auto needs a recipe that misleads stand-ins, which {recipe.name} does not")
        return CheckedSettings(models, budget, recipe, photos, auto)

    def _with_gallery(self, authorized: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """Return the URIs of the models by role, with the gallery in those that take it."""
        uris = (authorized, *self.surrogates, *self.heldout)
        check_gallery(self.gallery)
        if self.gallery is not None and not any(map(lacks_gallery, uris)):
            raise UserError("a gallery is given, but no model takes it: write gallery= at the end of a model's URI")
        if self.gallery is None and any(map(lacks_gallery, uris)):
            raise UserError(
                "the models recognize the people of a gallery: name a folder with one folder of photos for each "
                "person, such as PEOPLE/Ada/1.jpg, by --gallery PEOPLE"
            )
        named = [with_gallery(uri, self.gallery or "") for uri in uris]
        of_surrogates = slice(1, 1 + len(self.surrogates))
        return named[0], tuple(named[of_surrogates]), tuple(named[of_surrogates.stop :])

    def _budget(self, recipe: str) -> dict[str, Any]:
        """Return the budget as `Budget.from_json` takes it, with its shape.

        Where nothing limits the change, it is the default strength; the published methods take epsilon 16, as their
        papers do, and so does a run with other bounds, which limit the change so that epsilon need not.
        """
        strength = self.strength
        if strength is not None and self.epsilon is not None:
            raise UserError(f"strength {strength!r} and epsilon {self.epsilon:g} are both given; give one")
        check_strength(strength)
        if strength == AUTO:
            if given := [name for name in SET_BY_STRENGTH if name in self.budget]:
                raise UserError(f"strength auto chooses {given[0]} for each photo: leave out --{given[0]}")
            strength = [*STRENGTHS][-1]
        bounded = bool(self.budget.keys() - {"shape"}) or self.epsilon is not None
        if strength is None and not bounded and recipe in OURS:
            strength = DEFAULT_STRENGTH
        if strength is not None:
            return {**STRENGTHS[strength].bounds, **self.budget}
        epsilon = CAP if self.epsilon is None else self.epsilon
        return {LINF: epsilon, "shape": "texture" if recipe in OURS else EVEN, **self.budget}


def check_strength(strength: str | None) -> None:
    """Refuse a strength that is not one.

    Raises:
        UserError: there is no such strength.
    """
    if strength is not None and strength not in (*STRENGTHS, AUTO):
        raise UserError(f"unknown strength {strength!r}{did_you_mean(strength, (*STRENGTHS, AUTO))}")


def check_gallery(gallery: str | None) -> None:
    """Refuse a gallery that does not exist.

    Raises:
        UserError: there is no such folder.
    """
    if gallery is not None and not is_folder(Path(gallery)):
        raise UserError(f"there is no gallery folder {gallery}; it needs one folder of photos for each person")
