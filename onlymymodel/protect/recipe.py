"""How the optimizer works. Every field is a command-line flag, a TOML key and a manifest field."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from onlymymodel.errors import UserError
from onlymymodel.protect.views import VIEWS
from onlymymodel.surrogates.uri import did_you_mean

Objective = Literal["ensemble", "variance_reduced", "surrogate_features", "tap", "feature"]
Push = Literal["label", "own"]
Precision = Literal["float32", "bfloat16"]
LABELED = ("ensemble", "variance_reduced", "tap")  # objectives that know what a surrogate answers
LATER = ("smooth",)
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
        "ensemble",
        "what is pushed: the surrogates' answers (ensemble; variance_reduced: SVRE; tap: with features), "
        "surrogate_features: NRDM, feature: the authorized model's own features (FMD)",
    )
    steps: int = _knob(60, "sign steps")
    step_share: float = _knob(0.4, "size of a sign step, as a share of epsilon")
    momentum: float = _knob(1.0, "share of the last direction that is kept (MI-FGSM's mu)")
    nesterov: bool = _knob(False, "push from where the momentum leads, not from where the photo is (NI-FGSM)")
    random_start: bool = _knob(False, "start at a random point of the budget")
    normalize: bool = _knob(True, "divide each surrogate's gradient by its own mean magnitude")
    views: tuple[str, ...] = _knob(
        ("block_shuffle",), f"random views to draw from, for each surrogate and step: {', '.join(VIEWS)}"
    )
    copies: int = _knob(1, "views of each surrogate at each step, whose gradients are averaged")
    jpeg_quality: int = _knob(
        0, "look through JPEG of this quality or better at each step, so that it survives; 0: never"
    )
    resize_share: float = _knob(
        0.0, "look through a resize to this share of the size or more, and back, at half of the steps; 0: never"
    )
    smooth: float = _knob(
        0.0,
        "blur each step's direction by a Gaussian of so many pixels, for low-frequency changes (TI-FGSM); 0: never",
    )
    push: Push = _knob(
        "label", "push from the photo's label where a surrogate knows it, or always from its own clean answer"
    )
    toward: str = _knob(
        "", "class of the authorized model, by name or index, that surrogates are led to; empty: away from the label"
    )
    guard: bool = _knob(True, "steer so that the authorized model's margin stays at kappa or more")
    kappa: float = _knob(2.0, "least margin of the authorized model, in logits, on the saved 8-bit pixels")
    repair_steps: int = _knob(
        20, "steps on the 8-bit pixels, on the authorized margin alone, where it fell below kappa"
    )
    patience: int = _knob(0, "stop a photo once all surrogates were misled in so many steps on end; 0: never")
    layer: str = _knob("auto", "module whose output the feature objective pushes; auto: the last feature map")
    depth: float = _knob(1.0, "with layer auto: which of a network's feature maps, as a share of the way, 1 the last")
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
        _require(0 <= self.resize_share <= 1, "resize-share lies between 0 and 1")
        _require(0 <= self.smooth <= 32, "smooth lies between 0 and 32 pixels")
        _require(self.working_size >= 64, "working-size is at least 64")
        _require(0 < self.depth <= 1, "depth lies above 0 and is at most 1")
        _require(self.step_share > 0, "step-share is a share of epsilon greater than 0")
        _require(self.kappa >= 0, "kappa is not negative")
        _require(
            not self.toward or self.objective in LABELED,
            f"toward leads answers to a class, which the objective {self.objective} does not know; "
            f"leave it out, or take one of {', '.join(LABELED)}",
        )

    def to_json(self) -> dict[str, Any]:
        """All fields, as JSON values; those that came later only where they are used, so that earlier hashes stay."""
        unused = {name for name in LATER if getattr(self, name) == getattr(Recipe, name)}
        return {key: value for key, value in {**asdict(self), "views": list(self.views)}.items() if key not in unused}

    def sha256(self) -> str:
        """Hash over all fields."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


# MI-FGSM (Dong et al., CVPR 2018): N = 10, mu = 1, step = epsilon / N, on the mean loss of the surrogates; the methods
# that others built on it keep these settings, and so do the recipes
MI_FGSM = Recipe(name="ens", steps=10, step_share=0.1, normalize=False, views=("center",))

RECIPES: dict[str, Recipe] = {
    "default": Recipe(),
    # the authorized model and the surrogates look through JPEG at every step, and through a resize at every other
    "robust": Recipe(name="robust", jpeg_quality=60, resize_share=0.5),
    # for networks that read an aligned face, which shuffled blocks are not (chosen on faces that no table shows)
    "face": Recipe(name="face", steps=30, views=("affine", "resize_pad")),
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
        depth=0.4,  # the paper's layer is not known here; chosen on images and a model that no table uses
    ),
    "ens": MI_FGSM,
    # DI-FGSM (Xie et al., CVPR 2019): MI-FGSM whose photo is resized and padded with probability 1/2
    "di": replace(MI_FGSM, name="di", views=("center", "resize_pad")),
    # SI-NI-FGSM (Lin et al., ICLR 2020): m = 5 halvings of the photo, Nesterov momentum
    "si": replace(MI_FGSM, name="si", views=("scales",), copies=5, nesterov=True),
    # Admix (Wang et al., ICCV 2021): m1 = 5 halvings of m2 = 3 mixtures with eta = 0.2
    "admix": replace(MI_FGSM, name="admix", views=("admix",), copies=15),
    # BSR (Wang et al., CVPR 2024): 2x2 blocks, 24 degrees, N = 20 copies
    "bsr": replace(MI_FGSM, name="bsr", views=("block_shuffle",), copies=20),
    # SVRE (Xiong et al., CVPR 2022): see VarianceReducedObjective
    "svre": replace(MI_FGSM, name="svre", objective="variance_reduced"),
    # TAP (Zhou et al., ECCV 2018): see losses.Tap
    "tap": replace(MI_FGSM, name="tap", objective="tap", momentum=0.0),
    # NRDM (Naseer et al., 2018): a middle feature map of the surrogates, random start, no labels
    "nrdm": Recipe(
        name="nrdm",
        objective="surrogate_features",
        steps=100,
        step_share=0.25,
        momentum=0.0,
        random_start=True,
        normalize=True,
        views=("center",),
        depth=0.5,
    ),
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

OURS = ("default", "robust", "face")
# epsilon of the published methods where the user gives none
RECIPE_EPSILON: dict[str, float] = {name: 16.0 for name in RECIPES if name not in OURS}
