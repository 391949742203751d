"""Judge a protected folder again, from the bytes on disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from onlymymodel.data.image_io import PhotoError, decode
from onlymymodel.data.manifest import Manifest, sha256
from onlymymodel.errors import UserError
from onlymymodel.evaluate.judgment import ANSWERS, CSV, MARKDOWN, PAGE, RESULTS
from onlymymodel.protect import run_record
from onlymymodel.protect.answers import Answers, look_at, look_at_face
from onlymymodel.protect.context import Context
from onlymymodel.protect.folder import MANIFEST
from onlymymodel.protect.people import found_again
from onlymymodel.protect.photo import to_tensor
from onlymymodel.protect.region import area_again
from onlymymodel.surrogates.load import load_model

# logits; another machine or thread count sums in another order
MARGIN_TOLERANCE = 1e-3
BUDGET_TOLERANCE = 1e-4  # of figures in floats: l2, PSNR, SSIM, LPIPS
OURS = {MANIFEST, run_record.NAME, RESULTS, CSV, MARKDOWN, PAGE, ANSWERS}


@dataclass(frozen=True)
class Fault:
    """Something that is not as the manifest says."""

    file: str
    what: str


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        checked: files that were judged.
        without_source: files whose original was not at hand, so that the budget could not be measured again.
        faults: empty when all is well.
    """

    checked: int
    without_source: int
    faults: tuple[Fault, ...]


def verify_folder(
    out: Path,
    *,
    source: Path | None = None,
    authorized: str | None = None,
    allow_python: bool = False,
    device: str = "cpu",
    progress: bool = True,
) -> Verification:
    """Judge every protected file of a folder: same bytes, authorized model right by the margin, inside the budget.

    Args:
        out: a folder that `omm protect` made.
        source: the originals; where the run found them if None. Files whose original is not there are judged
            without the budget.
        authorized: URI of the authorized model, if it has moved; its weights must be the recorded ones.

    Raises:
        UserError: no such folder, broken records, or the authorized model is not the one of the run.
    """
    content = run_record.read(out)
    context = _context(out, content, authorized, allow_python, device)
    originals = source if source is not None else out / content["source"]
    records = Manifest(out / MANIFEST).by_source()
    protected = [record for record in records.values() if record["status"] == "protected"]
    if source is not None and not source.exists():
        raise UserError(f"{source} does not exist")
    faults: list[Fault] = []
    without_source = 0
    for record in tqdm(protected, unit="photo", disable=None if progress else True):
        original = _read(originals / record["source"] if originals.is_dir() else originals)
        if original is not None and sha256(original) != record["source_sha256"]:
            faults.append(Fault(record["source"], "the original has changed since it was protected"))
            original = None
        without_source += original is None
        faults += [Fault(record["output"], what) for what in _faults(out, record, original, context)]
    known = {record["output"] for record in records.values()} | OURS
    present = (path.relative_to(out).as_posix() for path in sorted(out.rglob("*")) if path.is_file())
    faults += [Fault(name, "is not in the manifest") for name in present if name not in known]
    return Verification(len(protected), without_source, tuple(faults))


def _context(out: Path, content: dict[str, Any], uri: str | None, allow_python: bool, device: str) -> Context:
    budget, recipe = run_record.budget_and_recipe(content)
    base = out if uri is None else None
    model = load_model(uri or content["models"]["authorized"], base=base, allow_python=allow_python, device=device)
    if model.card.sha256 != content["settings"]["authorized"]["sha256"]:
        raise UserError(f"{model.card.uri} has other weights than the authorized model that this folder was made for")
    return Context(model, (), budget, recipe, max_pixels=content["settings"]["max_pixels"])


def _faults(out: Path, record: dict[str, Any], original: bytes | None, context: Context) -> Iterator[str]:
    """What is wrong with one protected file."""
    data = _read(out / record["output"])
    if data is None:
        yield "is missing"
        return
    if sha256(data) != record["output_sha256"]:
        yield "its bytes have changed"
    try:
        pixels = to_tensor(decode(data, max_pixels=context.max_pixels).pixels).to(context.device)
    except PhotoError as error:
        yield f"cannot be read any more: {error}"
        return
    seen = look_at(pixels, record["label"], context)
    if seen.authorized != record["label"]:
        yield f"the authorized model reads {seen.authorized}, not {record['label']}"
    elif seen.margin < context.recipe.kappa - MARGIN_TOLERANCE:
        yield f"the authorized margin is {seen.margin:.3f}, less than {context.recipe.kappa:g}"
    else:
        yield from _misread_people(pixels, record, seen, context)
    if original is None:
        return
    clean = to_tensor(decode(original, max_pixels=context.max_pixels).pixels).to(context.device)
    if clean.shape[1:] != pixels.shape[1:]:
        yield "it has another size than its original"
    elif _outside(clean, pixels, record):
        yield "it differs from its original outside its region"
    else:
        yield from context.budget.excess(pixels[: len(clean)], clean, BUDGET_TOLERANCE)


def _misread_people(pixels: Tensor, record: dict[str, Any], seen: Answers, context: Context) -> Iterator[str]:
    """The people in the photo whom the authorized model was said to keep reading, and reads otherwise."""
    kept = [face for face in record.get("faces") or () if face["authorized"] and face["area"] == "changed"]
    places = found_again(pixels, [tuple(face["box"]) for face in kept])
    for face, place in zip(kept[1:], places[1:], strict=True):  # the first decides about the whole photo
        if place is None:
            yield f"the face of {face['label_name']} is not found any more"
            continue
        read = look_at_face(pixels, place, face["label"], seen, context)
        if read.authorized != face["label"] and face["authorized"]["margin_after"] >= MARGIN_TOLERANCE:
            yield f"the authorized model reads {read.authorized} at the face of {face['label_name']}"


def _outside(clean: Tensor, pixels: Tensor, record: dict[str, Any]) -> bool:
    """Whether a pixel outside the faces changed. Masks are not kept with the folder and cannot be asked."""
    mask = area_again(clean.permute(1, 2, 0).cpu().numpy(), record.get("region")).mask
    if mask is None:
        return False
    changed = (pixels != clean).any(0).cpu().numpy()
    return bool((changed & (mask == 0)).any())


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
