"""The settings of a run: the models and their roles, the budget, the region and the recipe.

Importing this module does not import torch, so that the command line reports mistakes in settings at once.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from onlymymodel.data.choices import Metadata
from onlymymodel.data.image_io import MAX_PIXELS
from onlymymodel.data.regular_file import is_file, is_folder
from onlymymodel.errors import UserError
from onlymymodel.progress import counted, track
from onlymymodel.protect.attack.recipe import ADDED_LATER, RECIPES, Recipe
from onlymymodel.protect.budget.kinds import BOUNDS, LINF
from onlymymodel.protect.budget.strengths import AUTO, SET_BY_STRENGTH, STRENGTHS
from onlymymodel.protect.budget.strengths import DEFAULT as DEFAULT_STRENGTH
from onlymymodel.protect.choices import WITHOUT_MASKS, Faces, Format, NoFace
from onlymymodel.protect.portable import is_portable
from onlymymodel.surrogates.early_checks import check_compiler
from onlymymodel.surrogates.uri import QUERY_SAFE, parse_uri, redacted

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from onlymymodel.evaluate.judges import Judge
    from onlymymodel.evaluate.results import Role
    from onlymymodel.protect.attack.external_load import LoadedAttack
    from onlymymodel.protect.budget.budget import Budget
    from onlymymodel.protect.context import Context
    from onlymymodel.surrogates.black_box import BlackBox
    from onlymymodel.surrogates.classifier import Classifier


def _fetch(uris: Sequence[str], *, progress: bool) -> None:
    """Check the names of networks, and download the weights that are missing, see `fetch_weights`."""
    parsed = [parse_uri(uri) for uri in uris]
    if any("arch" in uri.options for uri in parsed):
        from onlymymodel.surrogates.library_names import check_architecture  # imports timm and torchvision

        for uri in parsed:
            check_architecture(uri)
    if any(uri.kind.downloads for uri in parsed):
        from onlymymodel.surrogates.fetch import fetch_weights  # imports timm and torchvision, which takes seconds

        fetch_weights(uris, progress=progress)


def _default_budget() -> "Budget":
    from onlymymodel.protect.budget.budget import Budget

    return Budget.from_json(STRENGTHS[DEFAULT_STRENGTH].bounds)


@dataclass(frozen=True)
class RunSettings:
    """All settings of a run.

    Attributes:
        authorized, surrogates, heldout: URIs of the models by role; their files are relative to the current folder.
        auto_strength: see `Context`.
        region: `image`, `face`, or the path of a mask or of a folder of masks.
        no_face, faces: see `Region`.
        format, metadata, max_pixels, keep_makernotes, first_frame, exclude: see `Context`.
    """

    authorized: str
    surrogates: tuple[str, ...] = ()
    heldout: tuple[str, ...] = ()
    budget: "Budget" = field(default_factory=_default_budget)
    recipe: Recipe = field(default_factory=Recipe)
    auto_strength: bool = False
    region: str = "image"
    no_face: NoFace = "skip"
    faces: Faces = "all"
    format: Format = "png"
    metadata: Metadata = "keep"
    max_pixels: int = MAX_PIXELS
    keep_makernotes: bool = False
    first_frame: bool = False
    exclude: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """The URIs of all models."""
        return (self.authorized, *self.surrogates, *self.heldout)

    @property
    def masks(self) -> Path | None:
        """See `masks_of`."""
        return masks_of(self.region)

    def load(
        self,
        *,
        device: "torch.device | str" = "cpu",
        allow_python: bool = False,
        progress: bool = False,
        on_model: "Callable[[int, BlackBox | Classifier | None], None] | None" = None,
    ) -> "tuple[Context, list[BlackBox]]":
        """Load and check every model, so that mistakes are reported before the first photo.

        Args:
            device: where the models run.
            allow_python: whether `python:` models and attacks from outside may run code.
            progress: show progress.
            on_model: called with the position of each model in `models`, before it is loaded with None, and then with
                the model. What it raises ends the loading.

        Returns:
            The context of the protection, and the held-out models, which are independent of the others in weights.

        Raises:
            UserError: no surrogate although the recipe needs one, missing masks, or a model that cannot be loaded,
                that fails a check or that cannot have its role.
        """
        from onlymymodel.evaluate.judges import check_independence, judges_for
        from onlymymodel.protect.attack.external_load import load_attack
        from onlymymodel.surrogates.load import load_black_box, load_model

        self.check_models()
        _fetch(self.models, progress=progress)
        attack = load_attack(self.recipe.attack, allow_python=allow_python) if self.recipe.attack else None
        tell = on_model or (lambda _position, _model: None)
        with counted("loading", len(self.models), unit="model", progress=progress) as task:

            def loaded(position: int, load: Any) -> Any:
                task.note(parse_uri(self.models[position]).public)
                tell(position, None)
                model = load(self.models[position], allow_python=allow_python, device=device)
                tell(position, model)
                task.update()
                return model

            took_part = 1 + len(self.surrogates)
            authorized, *surrogates = [loaded(position, load_model) for position in range(took_part)]
            task.note("checking that they can be used")
            context = self.context(authorized, surrogates, attack)
            heldout = [loaded(position, load_black_box) for position in range(took_part, len(self.models))]
        check_independence(judges_for(context, heldout))
        return context, heldout

    def check_models(self) -> None:
        """Check, before any model is loaded, that the settings have what they need.

        Raises:
            UserError: missing masks, or see `check_recipe`.
        """
        check_recipe(self.recipe, self.surrogates)
        _ = self.masks  # raises if they are missing

    def context(
        self, authorized: "Classifier", surrogates: "Sequence[Classifier]", attack: "LoadedAttack | None" = None
    ) -> "Context":
        """Return the context of a protection with loaded models.

        Args:
            authorized: the model that has to read the protected photos.
            surrogates: the models that the attack misleads.
            attack: the attack from outside that the recipe names.

        Raises:
            UserError: a model fails a check, see `onlymymodel.surrogates.checks.check_models`.
        """
        from onlymymodel.protect.attack.precision import resolve_precision
        from onlymymodel.protect.context import Context
        from onlymymodel.protect.region import Region
        from onlymymodel.surrogates.checks import check_models

        check_models(authorized, surrogates)
        recipe, reason = resolve_precision(self.recipe, authorized.mean.device)
        return Context(
            authorized=authorized,
            surrogates=tuple(surrogates),
            budget=self.budget,
            recipe=recipe,
            format=self.format,
            metadata=self.metadata,
            max_pixels=self.max_pixels,
            keep_makernotes=self.keep_makernotes,
            first_frame=self.first_frame,
            exclude=self.exclude,
            region=Region.at(self.region, self.no_face, self.faces),
            attack=attack,
            auto_strength=self.auto_strength,
            precision_reason=reason,
        )

    def load_judges(
        self, *, device: "torch.device | str" = "cpu", allow_python: bool = False, progress: bool = False
    ) -> "list[Judge]":
        """Load every model as a judge, which needs no gradients; the authorized one is the first.

        Args:
            device: see `load`.
            allow_python: see `load`.
            progress: show progress.

        Raises:
            UserError: a model that cannot be loaded.
        """
        from onlymymodel.evaluate.judges import Judge
        from onlymymodel.surrogates.load import load_black_box

        _fetch(self.models, progress=progress)
        roles: list[tuple[Role, str]] = [
            ("authorized", self.authorized),
            *(("surrogate", uri) for uri in self.surrogates),
            *(("held-out", uri) for uri in self.heldout),
        ]
        return [
            Judge(role, load_black_box(uri, allow_python=allow_python, device=device))
            for role, uri in track(roles, "loading", unit="model", progress=progress)
        ]

    def uris_from(self, folder: Path) -> dict[str, Any]:
        """Return the URIs of the models that the optimizer uses, as `run.json` in `folder` records them."""
        return {
            "authorized": recorded_uri(self.authorized, folder),
            "surrogates": [recorded_uri(uri, folder) for uri in self.surrogates],
        }

    def to_toml(self, folder: Path | None) -> str:
        """Return a run file with these settings, which `read_run_file` reads back.

        It has the recipe as a whole, so that it means the same in a later version. The values of a server's own
        options, which may be secret, are left out: such a model has to be named again.

        Args:
            folder: where the file will be saved: its paths are relative to it. None where that is not known: its paths
                are absolute.
        """
        import tomli_w

        steps = [name for name, kind in BOUNDS.items() if kind.denominator != 1]
        bounds = {name: _short(value) if name in steps else value for name, value in self.budget.to_json().items()}
        size = {"epsilon": bounds.pop(LINF)}
        if self.auto_strength:
            size = {"strength": AUTO}
            bounds = {name: limit for name, limit in bounds.items() if name not in SET_BY_STRENGTH}
        bounds["shape"] = self.budget.shape  # also where it is the default, which depends on the recipe
        recipe = {**ADDED_LATER, **self.recipe.to_json()}
        if self.recipe.name not in RECIPES:
            del recipe["name"]
        photos = {name: getattr(self, name) for name, usual in PHOTO_DEFAULTS.items() if getattr(self, name) != usual}
        if "region" in photos:
            photos["region"] = region_from(self.region, folder)
        content = {
            "authorized": recorded_uri(self.authorized, folder),
            "surrogates": [recorded_uri(uri, folder) for uri in self.surrogates],
            "heldout": [recorded_uri(uri, folder) for uri in self.heldout],
            **size,
            **photos,
            "budget": bounds,
            "recipe": recipe,
        }
        return tomli_w.dumps(content)


def make_context(settings: RunSettings, allow_python: bool, device: str) -> "Context":
    """Load the models of the optimizer; with the settings bound by `functools.partial`, a worker can be told to."""
    return replace(settings, heldout=()).load(device=device, allow_python=allow_python)[0]


PHOTO_DEFAULTS = {setting.name: setting.default for setting in fields(RunSettings)[6:]}


def masks_of(region: str) -> Path | None:
    """Return the mask, or the folder of masks, that a region names; None where it needs none.

    Raises:
        UserError: it does not exist.
    """
    if region in WITHOUT_MASKS:
        return None
    path = Path(region)
    if not is_file(path) and not is_folder(path):
        raise UserError(
            "the region (--region, or region in a run file) is image, face, or a picture or folder of masks; "
            f"there is no {region}"
        )
    return path


def check_recipe(recipe: Recipe, surrogates: Sequence[str]) -> None:
    """Check that a recipe has what it needs, before any model is loaded.

    Raises:
        UserError: it needs a surrogate; or it compiles networks, without a compiler or for one machine with --portable.
    """
    if recipe.compile:
        check_compiler()
        if is_portable():
            raise UserError("--compile makes code for the processor at hand: leave out --compile or --portable")
    if recipe.objective != "feature" and not surrogates:
        raise UserError("name at least one stand-in for unknown models: --surrogate URI")


def check_one_role(uris: tuple[str, ...]) -> None:
    """Refuse a model that is named twice.

    Args:
        uris: URIs of all models.

    Raises:
        UserError: a model is named twice.
    """
    for uri in uris:
        if uris.count(uri) > 1:
            raise UserError(f"model {redacted(uri)!r} is named twice; a model can have only one role")


def recorded_uri(text: str, folder: Path | None) -> str:
    """Return a URI without secrets, with its files relative to the folder, or absolute if it is None."""
    if folder is not None:
        return redacted(parse_uri(text).relative_to(folder))
    uri = parse_uri(text, Path.cwd())
    if not uri.names_local_files:
        return redacted(text)
    query = "&".join(f"{key}={quote(value, safe=QUERY_SAFE)}" for key, value in uri.options.items())
    return f"{uri.scheme}:{uri.rest}" + (f"?{query}" if query else "")


def region_from(region: str, folder: Path | None) -> str:
    """Return a region with the path of its masks relative to the folder, or absolute if it is None.

    A relative path that equals the name of another region is written with `./`.
    """
    if region in WITHOUT_MASKS:
        return region
    masks = Path(region).parent.resolve() / Path(region).name
    if folder is None:
        return masks.as_posix()
    relative = Path(os.path.relpath(masks, folder.resolve())).as_posix()
    return f"./{relative}" if relative in WITHOUT_MASKS else relative


def _short(value: float) -> float:
    """Return a limit in 1/255 without rounding errors: a run file has 8, not 8.000000000000002."""
    rounded = round(value, 9)
    return int(rounded) if rounded == int(rounded) else rounded
