"""Recipes: the settings of the optimizer. Every field is a command-line flag, a TOML key and a manifest field."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from onlymymodel.errors import TYPE_NAMES, UserError, as_written, did_you_mean, select
from onlymymodel.protect.attack.tables import AGAINST, OBJECTIVES, VIEWS
from onlymymodel.surrogates.deployments import GROUPS, expand_groups

Push = Literal["label", "own"]
Precision = Literal["auto", "float32", "bfloat16"]
Fusion = Literal["losses", "logits"]
StepRuleName = Literal["auto", "sign", "gradient"]
# fields that earlier versions did not have, with the values that they stand for there: left out of the JSON at these
# values, so that the hashes of earlier recipes stay the same
ADDED_LATER: dict[str, Any] = {
    "against": [],
    "smooth": 0.0,
    "guard_looks": 0,
    "guard_weight": 2.0,
    "keep_through": [],
    "compile": False,
    "attack": "",
    "step_rule": "sign",
    "fusion": "losses",
}
# fields that apply to an attack from outside, too
WITH_ATTACK = ("attack", "push", "toward", "kappa", "repair_steps", "keep_through", "working_size", "seed")
CHOICES = {
    "objective": tuple(OBJECTIVES),
    "push": get_args(Push),
    "precision": get_args(Precision),
    "step_rule": get_args(StepRuleName),
    "fusion": get_args(Fusion),
}


def _setting(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def _check_type(name: str, value: object, default: object) -> None:
    """Raise UserError for a value, from a run file, of another type than the default; an int is a valid float."""
    expected = (int, float) if isinstance(default, float) else type(default)
    if not isinstance(value, expected) or isinstance(value, bool) != isinstance(default, bool):
        raise UserError(f"recipe setting {name} must be {TYPE_NAMES[type(default)]}, not {as_written(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"recipe setting {name} must be a finite number, not {value!r}")
    if isinstance(value, tuple) and not all(isinstance(part, str) for part in value):
        raise UserError(f"recipe setting {name} must be {TYPE_NAMES[tuple]}, not {as_written(value)}")


@dataclass(frozen=True)
class Recipe:
    """Settings of the optimizer; each field has its own help text.

    Raises:
        UserError: a value of another type than the default's, or out of its range.
    """

    name: str = "default"
    objective: str = _setting(
        "ensemble",
        "; ".join(["what the optimizer climbs", *(f"{name}: {kind.help}" for name, kind in OBJECTIVES.items())]),
    )
    steps: int = _setting(60, "steps of the optimizer")
    step_share: float = _setting(0.4, "size of a step, as a fraction of epsilon")
    step_rule: StepRuleName = _setting(
        "auto",
        "update each pixel by the sign of the momentum, or in proportion to it and to local contrast (gradient); auto: "
        "gradient under a bound on the photo as a whole, such as SSIM, else sign",
    )
    momentum: float = _setting(1.0, "fraction of the previous direction that is kept (mu of MI-FGSM)")
    nesterov: bool = _setting(False, "take the gradient where the momentum leads, not at the current photo (NI-FGSM)")
    random_start: bool = _setting(False, "start at a random point inside the budget")
    normalize: bool = _setting(True, "divide the gradient of each stand-in by its mean magnitude")
    fusion: Fusion = _setting(
        "losses",
        "combine stand-ins by the mean of their losses, or by the loss of the mean of their logits where they have the "
        "same classes",
    )
    views: tuple[str, ...] = _setting(
        ("block_shuffle",), f"random views to draw from, for each stand-in and step: {', '.join(VIEWS)}"
    )
    copies: int = _setting(1, "views for each stand-in and step; their gradients are averaged")
    jpeg_quality: int = _setting(
        0, "apply JPEG of this quality or better at each step, so that the change survives it; 0: never"
    )
    resize_share: float = _setting(
        0.0, "resize to this fraction of the size or more, and back, at half of the steps; 0: never"
    )
    against: tuple[str, ...] = _setting(
        (),
        "parties that clean the photo before they read it: at each step the stand-ins see it as one of them would, or "
        f"as it is ({'; '.join(f'{name}: {meaning}' for name, meaning in AGAINST.items())}); none by default",
    )
    smooth: float = _setting(
        0.0,
        "standard deviation in pixels of a Gaussian blur of each step, for low-frequency changes (TI-FGSM); 0: none",
    )
    push: Push = _setting(
        "label",
        "move stand-ins away from the label of the photo where they have that class, or always from their own clean "
        "prediction",
    )
    toward: str = _setting(
        "", "target class of the authorized model, by name or index, for the stand-ins; empty: untargeted"
    )
    guard: bool = _setting(True, "constrain the margin of the authorized model to kappa or more")
    guard_looks: int = _setting(
        1,
        "random deployments of the authorized model at each step (crops, JPEG, resizing, blur) that are guarded too",
    )
    guard_weight: float = _setting(
        1.0, "weight of the gradient that raises an authorized margin below kappa, beside the attack gradient"
    )
    kappa: float = _setting(1.0, "smallest margin of the authorized model, in logits, on the saved 8-bit pixels")
    repair_steps: int = _setting(
        20, "steps on the 8-bit pixels that raise the authorized margin where it is below kappa"
    )
    keep_through: tuple[str, ...] = _setting(
        ("default",),
        "deployments through which the authorized model has to read a protected photo, wherever it reads the original "
        f"through them: names (omm evaluate --help-all), or {', '.join(GROUPS)}",
    )
    patience: int = _setting(0, "stop a photo once all stand-ins were misled for this many steps in a row; 0: never")
    layer: str = _setting("auto", "module whose output the feature objective changes; auto: the last feature map")
    depth: float = _setting(
        1.0, "with layer auto: which feature map, as a fraction of the network's depth; 1: the last"
    )
    feature_lambda: float = _setting(1.0, "weight of the authorized model's cross-entropy in the feature objective")
    working_size: int = _setting(
        512, "photos whose short side is longer are optimized at this one, and the change is scaled up"
    )
    precision: Precision = _setting(
        "float32",
        "precision of the networks while optimizing (auto: bfloat16 where the device computes in it natively, else "
        "float32); written files are always checked in float32",
    )
    compile: bool = _setting(
        False, "compile the networks by torch.compile while optimizing, for GPUs (slower on CPUs); needs a C++ compiler"
    )
    attack: str = _setting(
        "",
        "an attack from outside this package instead of the optimizer: python:module:factory, or the name under which "
        "an installed package offers it; needs --allow-python",
    )
    seed: int = _setting(0, "seed of the random views; the random numbers of a photo also depend on its bytes")

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            _check_type(setting.name, value, setting.default)
            if isinstance(setting.default, float):  # equal recipes have equal hashes, also where a run file has an int
                object.__setattr__(self, setting.name, float(value))
        object.__setattr__(self, "keep_through", expand_groups(self.keep_through))
        for name in self.views:
            if name not in VIEWS:
                raise UserError(f"unknown view {name!r}{did_you_mean(name, VIEWS)}")
        select(AGAINST, self.against, "party")
        _require(
            self.steps >= 0 and self.repair_steps >= 0 and self.patience >= 0,
            "steps, repair-steps and patience must not be negative",
        )
        _require(self.guard_looks >= 0 and self.guard_weight >= 0, "guard-looks and guard-weight must not be negative")
        _require(self.copies >= 1, "copies must be at least 1")
        _require(bool(self.views), "views needs at least one name; `center` is the photo unchanged")
        for name, allowed in CHOICES.items():
            _require(getattr(self, name) in allowed, f"{name} must be one of {', '.join(allowed)}")
        _require(0 <= self.jpeg_quality <= 100, "jpeg-quality must be between 0 and 100")
        _require(0 <= self.resize_share <= 1, "resize-share must be between 0 and 1")
        _require(0 <= self.smooth <= 32, "smooth must be between 0 and 32 pixels")
        _require(self.working_size >= 64, "working-size must be at least 64")
        _require(
            not self.compile or not OBJECTIVES[self.objective].uses_layers,
            f"compile needs networks as a whole, and the objective {self.objective} reads their layers; leave it out",
        )
        _require(0 < self.depth <= 1, "depth must be above 0 and at most 1")
        _require(self.step_share > 0, "step-share must be greater than 0")
        _require(self.kappa >= 0, "kappa must not be negative")
        _require(
            not self.attack or self.objective == "ensemble",
            f"attack takes the place of the objective {self.objective}: use it with the recipe default or exact",
        )
        _require(
            not self.toward or OBJECTIVES[self.objective].uses_classes,
            f"toward needs an objective that has classes, which {self.objective} has not; leave it out, or use one of "
            f"{', '.join(name for name, kind in OBJECTIVES.items() if kind.uses_classes)}",
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, without those of `ADDED_LATER` that have the value they stand for there."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in values.items() if key not in ADDED_LATER or value != ADDED_LATER[key]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Recipe":
        """Return the recipe that `to_json` wrote, in this version or an earlier one."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in {**ADDED_LATER, **content}.items()
        }
        return cls(**values)

    def sha256(self) -> str:
        """Return the SHA-256 of `to_json`, as 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


# for a closed pipeline: the guard sees the model's own preprocessing alone, which keeps nothing elsewhere
EXACT = Recipe(name="exact", guard_looks=0, guard_weight=2.0, kappa=2.0, keep_through=("exact",))

# the published methods under the guard of `exact`: they are defined by sign steps
PUBLISHED = replace(EXACT, step_rule="sign")

# MI-FGSM (Dong et al., CVPR 2018): N = 10, mu = 1, step = epsilon / N, on the mean logits of the surrogates; the
# methods that build on it keep these settings, and so do the recipes
MI_FGSM = replace(PUBLISHED, name="ens", steps=10, step_share=0.1, normalize=False, fusion="logits", views=("center",))

RECIPES: dict[str, Recipe] = {
    "default": Recipe(),
    "exact": EXACT,
    # every step goes through JPEG, and every other one through a resize
    "robust": Recipe(name="robust", jpeg_quality=60, resize_share=0.5),
    # for networks that read an aligned face, which a block shuffle destroys (chosen on faces that no table shows)
    "face": Recipe(name="face", steps=30, views=("affine", "resize_pad")),
    # Only My Model On My Data: features of the authorized model, random start; its budget is epsilon 16
    "fmd": replace(
        PUBLISHED,
        name="fmd",
        objective="feature",
        steps=100,
        step_share=0.25,  # alpha 4 at epsilon 16
        momentum=0.0,
        random_start=True,
        normalize=False,
        views=("center",),
        guard=False,
        depth=0.4,  # the paper does not name its layer; chosen on images and a model that no table uses
    ),
    "ens": MI_FGSM,
    # DI-FGSM (Xie et al., CVPR 2019): MI-FGSM whose photo is resized and padded with probability 1/2
    "di": replace(MI_FGSM, name="di", views=("center", "input_diversity")),
    # SI-NI-FGSM (Lin et al., ICLR 2020): m = 5 halvings of the photo, Nesterov momentum
    "si": replace(MI_FGSM, name="si", views=("scales",), copies=5, nesterov=True),
    # Admix (Wang et al., ICCV 2021): m1 = 5 halvings of m2 = 3 mixtures with eta = 0.2
    "admix": replace(MI_FGSM, name="admix", views=("admix",), copies=15),
    # BSR (Wang et al., CVPR 2024): 2x2 blocks, 24 degrees, N = 20 copies
    "bsr": replace(MI_FGSM, name="bsr", views=("block_shuffle",), copies=20),
    # the next three take fewer views a step than their papers, so that none takes more passes than BSR
    # DeCoWA (Lin et al., AAAI 2024): 10 warps of two passes instead of 20, see warping.WarpedObjective
    "decowa": replace(MI_FGSM, name="decowa", objective="warped", copies=10),
    # OPS (Guo et al., CVPR 2025): 20 neighbors instead of 10 times 20 + 1, see neighborhood.NeighborhoodObjective
    "ops": replace(MI_FGSM, name="ops", objective="neighborhood", views=("operators",), copies=20),
    # MEF (Qiu et al., arXiv 2405.16181): N = 20, mu = 0.5, 10 neighbors instead of 20, see
    # neighborhood.FlatnessObjective
    "mef": replace(MI_FGSM, name="mef", objective="flatness", steps=20, momentum=0.5, copies=10),
    # SVRE (Xiong et al., CVPR 2022), see variance_reduced.VarianceReducedObjective
    "svre": replace(MI_FGSM, name="svre", objective="variance_reduced"),
    # TAP (Zhou et al., ECCV 2018), see losses.Tap
    "tap": replace(MI_FGSM, name="tap", objective="tap", momentum=0.0, fusion="losses"),
    # NRDM (Naseer et al., 2018): a middle feature map of the surrogates, random start, no labels
    "nrdm": replace(
        PUBLISHED,
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
    """Return the recipe of that name with some fields changed.

    Raises:
        UserError: unknown recipe or field, or a value out of its range.
    """
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}{did_you_mean(name, RECIPES)}")
    settings = [setting.name for setting in fields(Recipe) if setting.name != "name"]
    for key in changes:
        if key not in settings:
            raise UserError(f"unknown recipe setting {key!r}{did_you_mean(key, settings)}")
    recipe = replace(RECIPES[name], **changes)
    if recipe.attack:
        ignored = [key for key in changes if key not in WITH_ATTACK and changes[key] != getattr(RECIPES[name], key)]
        _require(
            not ignored,
            f"the attack {recipe.attack} takes the place of the optimizer, whose settings do not apply to it: leave "
            f"out {', '.join(ignored)} (settings of the attack are given by its factory)",
        )
    return recipe


# their changes go beside texture where nothing else is asked for; the published methods change every pixel as much
OURS = ("default", "exact", "robust", "face")
