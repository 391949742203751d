"""What a person chose on the page, the models that follow from it, and the run file that says the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args
from urllib.parse import quote

import torch

from onlymymodel.errors import UserError
from onlymymodel.evaluate.harness import check_independence
from onlymymodel.evaluate.judgment import panel
from onlymymodel.protect.budget import SHAPES, Budget, Shape
from onlymymodel.protect.context import Context
from onlymymodel.protect.recipe import make_recipe
from onlymymodel.protect.region import Region
from onlymymodel.run_file import PhotoSettings, toml_lines
from onlymymodel.surrogates.black_box import BlackBox, load_black_box
from onlymymodel.surrogates.doctor import check_team
from onlymymodel.surrogates.load import load_model
from onlymymodel.surrogates.uri import ON_DISK, PATH_KEYS, WEB, parse_uri
from onlymymodel.version import __version__

PageRecipe = Literal["default", "robust"]
PageRegion = Literal["image", "face"]
MAX_PIXELS = 40_000_000  # a browser has to hold such a photo three times
MAX_EPSILON = 32
MAX_STEPS = 1000
MAX_MODELS = 16
MAX_URI = 2000  # characters
RUN_FILE = "omm-run.toml"


@dataclass(frozen=True)
class Choice:
    """The page's form.

    Attributes:
        authorized, surrogates, heldout: model URIs.
        epsilon: 1 to 32, in 1/255.
        shape: of the budget, over the photo.
        steps: of the optimizer; the recipe's own if None.
        keep_metadata: whether camera, place and time (EXIF) stay in the written files.
    """

    authorized: str
    surrogates: tuple[str, ...]
    heldout: tuple[str, ...] = ()
    epsilon: int = 8
    shape: Shape = "flat"
    recipe: PageRecipe = "default"
    region: PageRegion = "image"
    steps: int | None = None
    keep_metadata: bool = False

    @property
    def uris(self) -> tuple[str, ...]:
        """Every model once, in the order of the roles."""
        return (self.authorized, *self.surrogates, *self.heldout)

    @property
    def photos(self) -> PhotoSettings:
        """What of the photos may change, and how they are read and written."""
        return PhotoSettings(self.region, strip_metadata=not self.keep_metadata, max_pixels=MAX_PIXELS)


@dataclass(frozen=True)
class Policy:
    """What whoever opens the page may load.

    Attributes:
        allow_python: `python:` models, which run code.
        local: the page can be opened from this machine alone; if not, nobody names files on it.
    """

    device: torch.device
    allow_python: bool = False
    local: bool = True

    def check(self, uri: str) -> None:
        """Refuse a model that would send photos away, or let a stranger read this machine's files.

        Raises:
            UserError: it would, or the URI is none.
        """
        parsed = parse_uri(uri)
        if parsed.scheme in WEB:
            raise UserError(
                f"model {parsed.public!r} is on a server, and this page sends photos nowhere: "
                "let it judge the saved files with omm evaluate"
            )
        if not self.local and (parsed.scheme in ON_DISK or set(PATH_KEYS) & parsed.options.keys()):
            raise UserError(
                f"model {parsed.public!r} names a file of the machine that shows this page; "
                "such models can be used only where the page is opened on that machine"
            )


def read_choice(content: object) -> Choice:
    """The form as the page sends it, JSON values.

    Raises:
        UserError: something is missing, of another kind or out of its range.
    """
    if not isinstance(content, Mapping) or not content.keys() <= Choice.__dataclass_fields__.keys():
        raise UserError("the settings could not be read: reload the page")
    given = cast(Mapping[str, Any], content)
    authorized = _uris([given.get("authorized", "")])
    surrogates, heldout = (_uris(given.get(role, [])) for role in ("surrogates", "heldout"))
    if not authorized:
        raise UserError("name the model that must still read the photos")
    if not surrogates:
        raise UserError("choose at least one model that stands in for the unknown ones")
    uris = (*authorized, *surrogates, *heldout)
    if len(uris) > MAX_MODELS:
        raise UserError(f"{len(uris)} models are too many for one run: the page takes {MAX_MODELS}")
    twice = [uri for uri in uris if uris.count(uri) > 1]
    if twice:
        raise UserError(f"model {twice[0]!r} is named twice: a model plays one part")
    steps = given.get("steps")
    return Choice(
        authorized=authorized[0],
        surrogates=surrogates,
        heldout=heldout,
        epsilon=_whole("strength", given.get("epsilon"), MAX_EPSILON),
        shape=cast(Shape, _one_of("shape", given.get("shape"), SHAPES)),
        recipe=cast(PageRecipe, _one_of("recipe", given.get("recipe"), get_args(PageRecipe))),
        region=cast(PageRegion, _one_of("region", given.get("region"), get_args(PageRegion))),
        steps=None if steps is None else _whole("number of steps", steps, MAX_STEPS),
        keep_metadata=given.get("keep_metadata") is True,
    )


def load(choice: Choice, policy: Policy) -> tuple[Context, Sequence[BlackBox]]:
    """Load and check every model; the held-out ones apart.

    Raises:
        UserError: a model that cannot be loaded, is refused, or cannot play its part.
    """
    for uri in choice.uris:
        policy.check(uri)
    how: dict[str, Any] = {"allow_python": policy.allow_python, "device": policy.device}
    authorized, *surrogates = (load_model(uri, **how) for uri in (choice.authorized, *choice.surrogates))
    check_team(authorized, surrogates)
    judges = [load_black_box(uri, **how) for uri in choice.heldout]
    context = Context(
        authorized=authorized,
        surrogates=tuple(surrogates),
        budget=Budget(choice.epsilon / 255, shape=choice.shape),
        recipe=make_recipe(choice.recipe, **({} if choice.steps is None else {"steps": choice.steps})),
        format=choice.photos.format,
        strip_metadata=choice.photos.strip_metadata,
        max_pixels=choice.photos.max_pixels,
        region=Region(choice.photos.kind, choice.photos.no_face, choice.photos.faces),
    )
    check_independence(panel(context, judges))
    return context, judges


def to_toml(choice: Choice) -> str:
    """The run file from which `omm protect --run` makes the same files."""
    top = {
        "authorized": _whole_uri(choice.authorized),
        "surrogates": [_whole_uri(uri) for uri in choice.surrogates],
        "heldout": [_whole_uri(uri) for uri in choice.heldout],
        "epsilon": choice.epsilon,
        **choice.photos.changes(Path()),
    }
    steps = {} if choice.steps is None else {"steps": choice.steps}
    lines = [
        f"# onlymymodel {__version__}; the same files are made by",
        f"#   omm protect PHOTOS --out PROTECTED --run {RUN_FILE}",
        *toml_lines(top),
        *([] if choice.shape == "flat" else ["", "[budget]", *toml_lines({"shape": choice.shape})]),
        "",
        "[recipe]",
        *toml_lines({"name": choice.recipe, **steps}),
    ]
    return "\n".join(lines) + "\n"


def _uris(content: object) -> tuple[str, ...]:
    if not isinstance(content, list) or not all(isinstance(uri, str) for uri in content):
        raise UserError("the models could not be read: reload the page")
    uris = tuple(filter(None, (uri.strip() for uri in content)))
    for uri in uris:
        if len(uri) > MAX_URI or not uri.isprintable():
            raise UserError(f"model {uri[:60]!r} is no URI: it is too long, or has characters that cannot be printed")
    return uris


def _whole(name: str, value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise UserError(f"the {name} is a whole number from 1 to {most}, not {value!r}")
    return value


def _one_of(name: str, value: object, known: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise UserError(f"the {name} is one of {', '.join(known)}, not {value!r}")
    return value


def _whole_uri(text: str) -> str:
    """The URI with whole paths: nobody knows where the run file will be saved."""
    uri = parse_uri(text, Path.cwd())
    query = "&".join(f"{key}={quote(value, safe=':/,@+ ')}" for key, value in uri.options.items())
    return f"{uri.scheme}:{uri.rest}" + (f"?{query}" if query else "")
