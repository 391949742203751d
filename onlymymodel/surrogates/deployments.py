"""Deployments: the ways in which the owner of a model may read a file, and what may happen to the file before.

A deployment is a processing step of the pixels together with a reading. The command line and recipes list them, so
nothing here imports NumPy or torch; `readings.py` makes models read photos by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

from onlymymodel.errors import UserError, select

if TYPE_CHECKING:
    from onlymymodel.data.pixels import Pixels

PROCESSING = "onlymymodel.data.processing"


@dataclass(frozen=True)
class Reading:
    """Read a decoded photo into the input of a network, where this differs from the model's own preprocessing.

    Attributes:
        library: `torch` resizes floats as this package does, `pillow` resizes 8-bit pixels as most programs do.
        interpolation: of the resize; the model's own if None.
        crop_pct: see `Preprocess`; the model's own if None.
        resize_offset: pixels by which both sides of the resized photo are longer.
        shift: pixels of the network's input by which the crop is moved right and down; black beyond the photo.
        mirror: flip the photo horizontally.
        precision: of the network.
    """

    library: Literal["torch", "pillow"] = "torch"
    interpolation: Literal["bicubic", "bilinear", "nearest"] | None = None
    crop_pct: float | None = None
    resize_offset: int = 0
    shift: tuple[int, int] = (0, 0)
    mirror: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"

    @property
    def moves_boxes(self) -> bool:
        """Return whether an object lies elsewhere in the input of a network, other than mirrored."""
        return self.shift != (0, 0) or bool(self.resize_offset) or self.crop_pct is not None

    @property
    def moves_faces(self) -> bool:
        """Return whether it also changes the input of a model that aligns faces."""
        return self.mirror or self.shift != (0, 0) or self.precision != "float32"


@dataclass(frozen=True)
class Deployment:
    """A processing step and a reading.

    Attributes:
        name: a key of `DEPLOYMENTS`.
        meaning: description for the reader of a report.
        reading: applied to models whose network is available; others read the photo in their own way.
        step: function of `data.processing`; empty where the pixels stay the same. It may change their size.
        options: arguments of that function.
    """

    name: str
    meaning: str
    reading: Reading = Reading()
    step: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def apply(self, pixels: Pixels) -> Pixels:
        """Process (H,W,C) uint8 pixels, C 1 or 3; gray stays gray."""
        if not self.step:
            return pixels
        processed: Pixels = resolve_name(f"{PROCESSING}:{self.step}")(pixels, **self.options)
        return processed


@dataclass(frozen=True)
class Platform:
    """The processing of an uploaded photo by a platform, as observed at a date. Platforms change it without notice.

    Attributes:
        longest: pixels of the longer side; larger photos are reduced.
        quality: of the JPEG.
        progressive: whether the JPEG is progressive.
        observed: when, and how certain it is.
    """

    longest: int
    quality: int
    progressive: bool
    observed: str


PLATFORMS = {
    "facebook-2021": Platform(2048, 85, True, "2021"),
    "instagram-2021": Platform(1080, 75, True, "2021, unconfirmed"),
    "x-2021": Platform(4096, 85, True, "2021"),
    "whatsapp-2021": Platform(1600, 75, False, "2021, unconfirmed"),
}


def _read(name: str, meaning: str, **reading: Any) -> Deployment:
    return Deployment(name, meaning, Reading(**reading))


def _sent(name: str, meaning: str, step: str, **options: Any) -> Deployment:
    return Deployment(name, meaning, step=step, options=options)


def _uploaded(name: str, platform: Platform) -> Deployment:
    options = {key: value for key, value in asdict(platform).items() if key != "observed"}
    meaning = f"JPEG {platform.quality}, {platform.longest} pixels ({platform.observed})"
    return _sent(name, meaning, "upload", **options)


DEPLOYMENTS: dict[str, Deployment] = {
    deployment.name: deployment
    for deployment in (
        _read("as-written", "the file as written, the model's own preprocessing"),
        _read("pillow", "Pillow resizes 8-bit pixels, with the model's own filter", library="pillow"),
        _read("pillow-bilinear", "the same with the bilinear filter", library="pillow", interpolation="bilinear"),
        _read("resize+1", "resized one pixel larger before the crop", library="pillow", resize_offset=1),
        _read("resize-1", "resized one pixel smaller before the crop", library="pillow", resize_offset=-1),
        _read("crop-0.875", "resized to 1/0.875 of the input before the crop", library="pillow", crop_pct=0.875),
        _read("crop-0.95", "resized to 1/0.95 of the input before the crop", library="pillow", crop_pct=0.95),
        _read("crop-1", "resized to the input, hardly cropped", library="pillow", crop_pct=1.0),
        _read("shift-right", "the crop 6 pixels further right", shift=(6, 0)),
        _read("shift-up-left", "the crop 6 pixels further up and left", shift=(-6, -6)),
        _read("mirror", "mirrored", mirror=True),
        _read("bfloat16", "the network in bfloat16", precision="bfloat16"),
        _sent("jpeg-90", "JPEG of quality 90", "recompress", codec="JPEG", quality=90),
        _sent("jpeg-75", "JPEG of quality 75", "recompress", codec="JPEG", quality=75),
        _sent("jpeg-50", "JPEG of quality 50", "recompress", codec="JPEG", quality=50),
        _sent("webp-80", "lossy WebP of quality 80", "recompress", codec="WEBP", quality=80),
        _sent("avif-75", "AVIF of quality 75", "recompress", codec="AVIF", quality=75),
        _sent("half", "reduced to half the size", "reduce", fraction=0.5),
        _sent("half-and-back", "reduced to half the size and back", "resize_to_half_and_back"),
        _sent("three-quarters", "reduced to three quarters of the size", "reduce", fraction=0.75),
        _sent("blur-1", "Gaussian blur of radius 1 pixel", "blur"),
        _sent("noise-2", "Gaussian noise of 2 levels", "add_noise", deviation=2),
        _sent("bits-5", "each color in 5 bits", "reduce_colors", bits=5),
        _sent("gamma-1.1", "gamma 1.1, as a screenshot may have", "change_gamma", exponent=1.1),
        *(_uploaded(name, platform) for name, platform in PLATFORMS.items()),
    )
}

# what recipes promise by default: every usual reading, and an example of each kind of processing. The others show what
# a protected photo keeps beyond its promise.
KEPT_BY_DEFAULT = (
    "pillow", "pillow-bilinear", "resize+1", "resize-1", "crop-0.875", "crop-0.95", "crop-1", "shift-right",
    "shift-up-left", "mirror", "jpeg-90", "jpeg-75", "jpeg-50", "webp-80", "half-and-back", "three-quarters", "blur-1",
    "facebook-2021", "instagram-2021", "whatsapp-2021",
)  # fmt: skip
# names for several deployments, where a user lists what to keep
GROUPS: dict[str, tuple[str, ...]] = {"default": KEPT_BY_DEFAULT, "platform": tuple(PLATFORMS), "exact": ()}


@cache
def _codecs() -> frozenset[str]:
    """Return the codecs of this Pillow, among those that deployments use."""
    from PIL import features

    return frozenset({"JPEG", "WEBP"} | ({"AVIF"} if features.check("avif") else set()))


def get_deployments(names: Sequence[str]) -> list[Deployment]:
    """Return the deployments of these names, in this order; all that this machine has the codecs for, for no names.

    Raises:
        UserError: a name is unknown or listed twice, or its codec is missing.
    """
    chosen = select(DEPLOYMENTS, names or list(DEPLOYMENTS), "deployment")
    missing = [deployment for deployment in chosen if deployment.options.get("codec", "JPEG") not in _codecs()]
    if names and missing:
        raise UserError(f"this Pillow cannot write {missing[0].options['codec']}, which {missing[0].name} needs")
    return [deployment for deployment in chosen if deployment not in missing]


def expand_groups(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of deployments that a list of deployments and groups stands for, each once.

    The photo as written is always kept, and is left out.

    Raises:
        UserError: a name is unknown or listed twice.
    """
    select({**DEPLOYMENTS, **GROUPS}, names, "deployment")
    members = [member for name in names for member in GROUPS.get(name, (name,))]
    return tuple(dict.fromkeys(member for member in members if member != "as-written"))
