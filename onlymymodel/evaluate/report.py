"""One HTML file that shows what an evaluation found: figures, pictures, and what they do not promise."""

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onlymymodel.data.atomic import write_atomic
from onlymymodel.evaluate.harness import Pair, Role, Row
from onlymymodel.protect.distortion import SSIM_DEFINITION

MAX_SIDE = 512
MAX_PAIRS = 60
# noise compresses badly: sixty pairs of 512x512 would make a page that no phone opens
MAX_PICTURE_BYTES = 48 * 2**20

Pixels = NDArray[np.uint8]
Verdict = Literal["right", "wrong", "reference"]
Distortion = tuple[float | None, float]

# in the order of the page: role, heading, what the models of this role stand for
GROUPS: tuple[tuple[Role, str, str], ...] = (
    ("authorized", "Authorized", "must still read every photo"),
    ("held-out", "Held-out", "took no part in the protection; these are the evidence"),
    ("surrogate", "Surrogates", "stood in for unknown models while the photos were changed; no evidence about others"),
)


@dataclass(frozen=True)
class Said:
    """One answer of one model; `reference` where right is defined by this very answer."""

    text: str
    verdict: Verdict


@dataclass(frozen=True)
class Answers:
    """What one model says of a photo before and after."""

    row: Row
    before: Said
    after: Said


@dataclass(frozen=True)
class Card:
    """A pair as the gallery shows it.

    Attributes:
        size, shown: (width, height) of the photo, and of the pictures on the page.
        original, protected, difference: data URIs.
        linf: largest change, in 8-bit steps.
        psnr: None where both are equal.
    """

    name: str
    label: str
    size: tuple[int, int]
    shown: tuple[int, int]
    original: str
    protected: str
    difference: str
    linf: int
    psnr: float | None
    ssim: float
    answers: tuple[Answers, ...]

    @property
    def reduced(self) -> bool:
        """Whether the pictures are smaller than the photo."""
        return self.shown != self.size


@dataclass(frozen=True)
class Mean:
    """The mean over some held-out models of the share that each reads right."""

    models: int
    before: float
    after: float


def write_report(
    path: Path,
    *,
    title: str,
    summary: str,
    rows: Sequence[Row],
    pairs: Sequence[Pair],
    label_names: Sequence[str],
    epsilon: float,
    amplify: int = 8,
    distortion: Sequence[Distortion],
    command: str,
    environment: Mapping[str, Any],
) -> None:
    """Write one self-contained HTML file: no request leaves it, and it reads the same without scripts.

    Args:
        title, summary: plain text; a few words, and a sentence of the caller's own below the headline.
        rows: as `evaluate_models` gives them, all of the same photos.
        pairs: the first of these photos, in the same order, at least one; (H,W,3) or (H,W,1) uint8 each. 60 at most
            are shown; the figures are of all photos.
        label_names: the authorized model's class names; indices are shown where it has none.
        epsilon: the budget in 1/255.
        amplify: how many times the shown difference is larger than the real one.
        distortion: (PSNR in dB or None where nothing changed, SSIM) of each pair.
        command, environment: what makes this report again, and what it depends on besides its inputs.

    Raises:
        ValueError: no pairs, or rows or distortions that do not fit them.
        OSError: the file cannot be written.
    """
    _check(rows, pairs, distortion)
    cards = _gallery(rows, pairs, label_names, distortion, amplify)
    told = {"title": title, "summary": summary, "command": command, "environment": environment}
    figures = {"photos": rows[0].photos, "classes": len(label_names), "epsilon": epsilon, "amplify": amplify}
    html = _template().render(**told, **figures, **_by_role(rows), cards=cards)
    # a file name that is not UTF-8 reaches us with lone surrogates
    write_atomic(path, html.encode("utf-8", "replace"))


def mean_of(rows: Sequence[Row]) -> Mean | None:
    """The mean share read right, every model counting the same; None without models."""
    if not rows:
        return None
    before = sum(row.right_before / row.photos for row in rows) / len(rows)
    after = sum(row.right_after / row.photos for row in rows) / len(rows)
    return Mean(len(rows), before, after)


def amplified(original: Pixels, protected: Pixels, amplify: int) -> Pixels:
    """128 + amplify * (protected - original), clipped: (H,W,C) uint8 all three; gray is no change."""
    change = protected.astype(np.int32) - original
    shown: Pixels = np.clip(128 + amplify * change, 0, 255).astype(np.uint8)
    return shown


def _by_role(rows: Sequence[Row]) -> dict[str, Any]:
    """The models as the headline and the table ask for them."""
    groups = [(*group, [row for row in rows if row.role == group[0]]) for group in GROUPS]
    heldout = [row for row in rows if row.role == "held-out"]
    return {
        "rows": rows,
        "groups": [group for group in groups if group[-1]],
        "authorized": [row for row in rows if row.role == "authorized"],
        "heldout": mean_of([row for row in heldout if row.truth == "label"]),
        "heldout_own": mean_of([row for row in heldout if row.truth == "own"]),
    }


def _check(rows: Sequence[Row], pairs: Sequence[Pair], distortion: Sequence[Distortion]) -> None:
    if not pairs:
        raise ValueError("a report needs at least one pair")
    if len(distortion) != len(pairs):
        raise ValueError(f"{len(distortion)} distortions for {len(pairs)} pairs")
    for row in rows:
        counts = {row.photos, len(row.answers_before), len(row.answers_after)}
        if counts != {rows[0].photos} or row.photos < len(pairs):
            raise ValueError(f"the answers of {row.model} are not those to these {len(pairs)} pairs")


def _gallery(
    rows: Sequence[Row],
    pairs: Sequence[Pair],
    label_names: Sequence[str],
    distortion: Sequence[Distortion],
    amplify: int,
) -> list[Card]:
    """The first pairs, as many as fit; always one."""
    ordered = [row for role, _, _ in GROUPS for row in rows if row.role == role]
    cards: list[Card] = []
    weight = 0
    for index, pair in enumerate(pairs[:MAX_PAIRS]):
        label = label_names[pair.label] if pair.label < len(label_names) else f"class {pair.label}"
        answers = tuple(_answers(row, index, pair) for row in ordered)
        card = _card(pair, label, distortion[index], answers, amplify)
        weight += len(card.original) + len(card.protected) + len(card.difference)
        if cards and weight > MAX_PICTURE_BYTES:
            break
        cards.append(card)
    return cards


def _card(pair: Pair, label: str, distortion: Distortion, answers: tuple[Answers, ...], amplify: int) -> Card:
    # the difference first, at full size: that of two shrunk photos would be another
    pictures = [pair.original, pair.protected, amplified(pair.original, pair.protected, amplify)]
    shrunk = [_shrink(picture) for picture in pictures]
    original, protected, difference = (_data_uri(picture) for picture in shrunk)
    height, width = pair.original.shape[:2]
    return Card(
        name=pair.name,
        label=label,
        size=(width, height),
        shown=shrunk[0].size,
        original=original,
        protected=protected,
        difference=difference,
        linf=int(np.abs(pair.protected.astype(np.int16) - pair.original).max()),
        psnr=distortion[0],
        ssim=distortion[1],
        answers=answers,
    )


def _answers(row: Row, index: int, pair: Pair) -> Answers:
    before, after = row.answers_before[index], row.answers_after[index]
    own = row.truth == "own"
    truth = before if own else pair.label

    def said(answer: int, *, reference: bool = False) -> Said:
        return Said(row.name_of(answer), "reference" if reference else "right" if answer == truth else "wrong")

    return Answers(row, said(before, reference=own), said(after))


def _shrink(pixels: Pixels) -> Image.Image:
    """The (H,W,3) or (H,W,1) photo with its long side at most 512 pixels; unchanged where it already is."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    ratio = MAX_SIDE / max(image.size)
    if ratio >= 1:
        return image
    width, height = (max(1, round(side * ratio)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _csp_hash(text: str) -> str:
    """The source expression by which a content security policy admits exactly this inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) of a mapping and the mappings in it, names joined by dots."""
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), value


def _template() -> jinja2.Template:
    # file and class names are a stranger's text: everything is escaped
    jinja = jinja2.Environment(
        loader=jinja2.PackageLoader("onlymymodel.evaluate"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.globals |= {"max_side": MAX_SIDE, "ssim": SSIM_DEFINITION}
    jinja.filters |= {"percent": _percent, "csp_hash": _csp_hash, "flat": _flat}
    return jinja.get_template("report.html.j2")
