"""How the optimizer works. Every field is a command-line flag, a TOML key and a manifest field."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from onlymymodel.errors import UserError
from onlymymodel.protect.views import VIEWS
from onlymymodel.surrogates.uri import did_you_mean

Objective = Literal["ensemble", "feature"]
Push = Literal["label", "own"]
Precision = Literal["float32", "bfloat16"]
CHOICES = {"objective": get_args(Objective), "push": get_args(Push), "precision": get_args(Precision)}


def _knob(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise UserError(sentence)


def _check_type(name: str, value: object, default: object) -> None:
    """A run file may hold anything; a whole number will do where a fraction is wanted, and nothing else."""
    wanted = (int, float) if isinstance(default, float) else type(default)
    if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(default, bool):
        kind = "names" if isinstance(default, tuple) else type(default).__name__
        raise UserError(f"recipe setting {name} wants {kind}, not {value!r}")


@dataclass(frozen=True)
class Recipe:
    """The optimizer's settings; see each field's help.

    Raises:
        UserError: a value of another type than the default's, or out of its range.
    """

    name: str = "default"
    objective: Objective = _knob(
        "ensemble", "what is pushed: the surrogates' answers, or the authorized model's features"
    )
    steps: int = _knob(30, "sign steps")
    step_share: float = _knob(0.2, "size of a sign step, as a share of epsilon")
    momentum: float = _knob(1.0, "share of the last direction that is kept (MI-FGSM's mu)")
    random_start: bool = _knob(False, "start at a random point of the budget")
    normalize: bool = _knob(True, "divide each surrogate's gradient by its own mean magnitude")
    views: tuple[str, ...] = _knob(
        ("block_shuffle",), f"random views to draw from, for each surrogate and step: {', '.join(VIEWS)}"
    )
    copies: int = _knob(1, "views of each surrogate at each step, whose gradients are averaged")
    jpeg_quality: int = _knob(
        0, "look through JPEG of this quality or better at each step, so that it survives; 0: never"
    )
    push: Push = _knob(
        "label", "push from the photo's label where a surrogate knows it, or always from its own clean answer"
    )
    guard: bool = _knob(True, "steer so that the authorized model's margin stays at kappa or more")
    kappa: float = _knob(2.0, "least margin of the authorized model, in logits, on the saved 8-bit pixels")
    repair_steps: int = _knob(
        20, "steps on the 8-bit pixels, on the authorized margin alone, where it fell below kappa"
    )
    patience: int = _knob(0, "stop a photo once all surrogates were misled in so many steps on end; 0: never")
    layer: str = _knob("auto", "module whose output the feature objective pushes; auto: the last feature map")
    feature_lambda: float = _knob(1.0, "weight of the authorized model's cross-entropy in the feature objective")
    working_size: int = _knob(512, "photos with a longer short side are optimized at this one and the change scaled up")
    precision: Precision = _knob(
        "float32", "of the networks' passes while optimizing; what is written is always judged in float32"
    )
    seed: int = _knob(0, "of the random views; each photo's stream also depends on its own bytes")

    def __post_init__(self) -> None:
        for knob in fields(self):
            _check_type(knob.name, getattr(self, knob.name), knob.default)
        for name in self.views:
            if name not in VIEWS:
                raise UserError(f"unknown view {name!r}{did_you_mean(name, VIEWS)}")
        _require(
            self.steps >= 0 and self.repair_steps >= 0 and self.patience >= 0,
            "steps and patience count from 0",
        )
        _require(self.copies >= 1, "copies is at least 1")
        _require(bool(self.views), "views needs at least one name; `center` is the photo as it is")
        for name, allowed in CHOICES.items():
            _require(getattr(self, name) in allowed, f"{name} is one of {', '.join(allowed)}")
        _require(0 <= self.jpeg_quality <= 100, "jpeg-quality lies between 0 and 100")
        _require(self.working_size >= 64, "working-size is at least 64")
        _require(self.step_share > 0, "step-share is a share of epsilon greater than 0")
        _require(self.kappa >= 0, "kappa is not negative")

    def to_json(self) -> dict[str, Any]:
        """All fields, as JSON values."""
        return {**asdict(self), "views": list(self.views)}

    def sha256(self) -> str:
        """Hash over all fields."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


RECIPES: dict[str, Recipe] = {
    "default": Recipe(),
    # the authorized model and the surrogates look through JPEG at every step
    "robust": Recipe(name="robust", jpeg_quality=60),
    # Only My Model On My Data: own features of the authorized model, random start; epsilon 16 is its budget
    "fmd": Recipe(
        name="fmd",
        objective="feature",
        steps=100,
        step_share=0.25,  # alpha 4 at epsilon 16
        momentum=0.0,
        random_start=True,
        normalize=False,
        views=("center",),
        guard=False,
    ),
    # MI-FGSM (Dong et al., CVPR 2018): N = 10, mu = 1, step = epsilon / N, on the mean loss of the surrogates
    "ens": Recipe(name="ens", steps=10, step_share=0.1, normalize=False, views=("center",)),
}


def make_recipe(name: str, **changes: Any) -> Recipe:
    """The recipe of that name with some fields changed.

    Raises:
        UserError: unknown recipe or field, or a value out of its range.
    """
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}{did_you_mean(name, RECIPES)}")
    known = [f.name for f in fields(Recipe) if f.name != "name"]
    for key in changes:
        if key not in known:
            raise UserError(f"unknown recipe setting {key!r}{did_you_mean(key, known)}")
    return replace(RECIPES[name], **changes)


@dataclass(frozen=True)
class Strength:
    """A budget for people: epsilon in 1/255, and what it looks like."""

    epsilon: float
    meaning: str


STRENGTHS: dict[str, Strength] = {
    "low": Strength(4, "hardest to see, weakest protection"),
    "medium": Strength(8, "faint patterns in flat areas"),
    "high": Strength(16, "visible patterns, strongest protection"),
}

# epsilon of the published methods where the user gives none
RECIPE_EPSILON: dict[str, float] = {"fmd": 16.0, "ens": 16.0}
