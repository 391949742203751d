"""The page's form: its fields, the conversion to run settings, and which models the page may load."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import torch
from msgspec import Meta

from onlymymodel.app.choices import settings_of
from onlymymodel.app.visibility import LAST, limits_at
from onlymymodel.data.choices import Metadata
from onlymymodel.errors import UserError
from onlymymodel.protect.budget.kinds import EVEN, LINF
from onlymymodel.protect.context import Context
from onlymymodel.protect.memory_limit import MemorySize
from onlymymodel.settings import RunSettings, check_one_role
from onlymymodel.settings_partial import PartialSettings
from onlymymodel.surrogates.black_box import BlackBox
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.uri import lacks_gallery, parse_uri, redacted
from onlymymodel.validation import converted
from onlymymodel.version import __version__

MAX_PIXELS = 40_000_000  # a browser has to hold such a photo three times
MAX_EPSILON = 32
MAX_STEPS = 1000
MAX_MODELS = 16
MAX_URI = 2000  # characters
RUN_FILE = "omm-run.toml"

MODELS = ("authorized", "surrogates", "heldout")
Epsilon = Annotated[int, Meta(ge=1, le=MAX_EPSILON, description=f"a whole number from 1 to {MAX_EPSILON}")]
Steps = Annotated[int, Meta(ge=1, le=MAX_STEPS, description=f"a whole number from 1 to {MAX_STEPS}")]
Stop = Annotated[int, Meta(ge=1, le=LAST, description=f"a whole number from 1 to {LAST}")]
Text = Annotated[str, Meta(max_length=MAX_URI, description=f"at most {MAX_URI} characters")]
# the fields beside the models: what an error calls them, and what they take; epsilon in 1/255, in place of a visibility
FIELDS: dict[str, tuple[str, Any]] = {
    "choice": ("choice of models", Text | None),
    "gallery": ("folder of people", Text | None),
    "visibility": ("visibility", Stop | None),
    "epsilon": ("largest change of a pixel", Epsilon | None),
    "recipe": ("recipe", Literal["default", "robust"] | None),
    "region": ("region", Literal["image", "face"] | None),
    "steps": ("number of steps", Steps | None),
    "metadata": ("choice of metadata", Metadata | None),
}


@dataclass(frozen=True)
class Policy:
    """Limits on the models that the page may load.

    Attributes:
        device: where they run.
        allow_python: allow `python:` models, which run code.
        local: whether the page can be opened from this machine only; if not, models may not name files on it.
        memory: what the process may take in all; None for the default.
    """

    device: torch.device
    allow_python: bool = False
    local: bool = True
    memory: MemorySize | None = None

    def check(self, uri: str) -> None:
        """Refuse a model that would send photos away, or that would let another machine read files of this one.

        Raises:
            UserError: it would, or the URI is not valid.
        """
        parsed = parse_uri(uri)
        if parsed.kind.is_remote:
            raise UserError(
                f"model {parsed.public!r} is on a server, and this page sends photos nowhere: "
                "let it judge the saved files with omm evaluate"
            )
        if not self.local and parsed.names_local_files:
            raise UserError(
                f"model {parsed.public!r} names a file of the machine that shows this page; "
                "such models can be used only where the page is opened on that machine"
            )

    def load(
        self,
        settings: RunSettings,
        on_model: Callable[[int, BlackBox | Classifier | None], None] | None = None,
    ) -> tuple[Context, Sequence[BlackBox]]:
        """Load and check every model, see `RunSettings.load`.

        Args:
            settings: the models and their roles.
            on_model: see `RunSettings.load`.

        Raises:
            UserError: a model that the page may not load, that cannot be loaded or that cannot play its role.
        """
        for uri in settings.models:
            self.check(uri)
        return settings.load(device=self.device, allow_python=self.allow_python, on_model=on_model)


def read_form(content: object, *, local: bool = True) -> RunSettings:
    """Return the settings that the form gives.

    Args:
        content: the JSON value that the page sends: the fields of `FIELDS`, each of which may be missing, and without a
            `choice` of models `authorized`, a URI, `surrogates` and `heldout`, lists of URIs.
        local: see `Policy`.

    Raises:
        UserError: a value is missing, of another type or out of its range, or it names a folder where that is refused.
    """
    if not isinstance(content, Mapping) or not content.keys() <= {*MODELS, *FIELDS}:
        raise UserError("the settings could not be read: reload the page")
    values = cast(Mapping[str, Any], content)
    labels, types = ({name: field[part] for name, field in FIELDS.items()} for part in (0, 1))
    form = converted({name: values.get(name) for name in FIELDS}, types, "the ", labels=labels)
    chosen = settings_of(form["choice"]) if form["choice"] else PartialSettings(*_models(values))
    _check_gallery(chosen, form["gallery"], local)
    recipe = {"name": form["recipe"], "steps": form["steps"]}
    given = PartialSettings(
        **_limits(form["visibility"], form["epsilon"]),
        recipe={name: value for name, value in recipe.items() if value is not None},
        region=form["region"],
        metadata=form["metadata"] or "none",
        max_pixels=MAX_PIXELS,
        gallery=form["gallery"] or None,
    )
    return given.over(chosen).complete()


def _limits(stop: int | None, epsilon: int | None) -> dict[str, Any]:
    """Return the budget as `PartialSettings` takes it: epsilon alone, or that of a stop of the visibility slider.

    Raises:
        UserError: both are given.
    """
    if stop is not None and epsilon is not None:
        raise UserError("a visibility and a largest change of a pixel are both given; give one")
    if epsilon is not None:
        return {"epsilon": epsilon, "budget": {"shape": EVEN}}
    if stop is None:
        return {}
    limits = limits_at(stop)
    return {"epsilon": limits.pop(LINF), "budget": limits}


def _check_gallery(settings: PartialSettings, gallery: str | None, local: bool) -> None:
    """Check that a folder of people is given where the models need one, and may be.

    Raises:
        UserError: it is missing; or another machine names it, which is not even told whether it exists.
    """
    if gallery and not local:
        raise UserError("folders of people can be named only where the page is opened on its own machine")
    uris = (settings.authorized or "", *settings.surrogates, *settings.heldout)
    if not gallery and any(map(lacks_gallery, uris)):
        raise UserError("name the folder of people, with one folder of photos for each person")


def run_file(settings: RunSettings) -> str:
    """Return a run file whose first lines say by which command it makes the same files, wherever it is saved.

    The page protects photos one by one; in a batch, rounding errors give other bytes.
    """
    return (
        f"# onlymymodel {__version__}; the same files are made by\n"
        f"#   omm protect PHOTOS --out PROTECTED --run {RUN_FILE} --batch-size 1\n{settings.to_toml(None)}"
    )


def _models(given: Mapping[str, Any]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return the URIs of the models of each role.

    Raises:
        UserError: a role without a model, too many models, one that is named twice.
    """
    authorized = _uris([given.get("authorized", "")])
    surrogates, heldout = (_uris(given.get(role, [])) for role in ("surrogates", "heldout"))
    if not authorized:
        raise UserError("name the model that must still read the photos")
    if not surrogates:
        raise UserError("choose at least one stand-in for unknown models")
    uris = (*authorized, *surrogates, *heldout)
    if len(uris) > MAX_MODELS:
        raise UserError(f"{len(uris)} models are too many for one run: the page takes {MAX_MODELS}")
    check_one_role(uris)
    return authorized[0], surrogates, heldout


def _uris(content: object) -> tuple[str, ...]:
    if not isinstance(content, list) or not all(isinstance(uri, str) for uri in content):
        raise UserError("the models could not be read: reload the page")
    uris = tuple(filter(None, (uri.strip() for uri in content)))
    for uri in uris:
        if len(uri) > MAX_URI or not uri.isprintable():
            raise UserError(
                f"model {redacted(uri)[:60]!r} is no URI: it is too long, or has characters that cannot be printed"
            )
    return uris
