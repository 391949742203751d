"""Check one protected file against its record, its original and the models, from its bytes."""

from collections.abc import Iterator
from typing import NamedTuple

from msgspec import UnsetType
from torch import Tensor

from onlymymodel.data.image_io import PhotoError, decode
from onlymymodel.data.manifest import sha256
from onlymymodel.data.pixels import to_array, to_tensor
from onlymymodel.data.regular_file import max_photo_bytes
from onlymymodel.data.stores.store import Store
from onlymymodel.evaluate.verify_authorized import (
    MARGIN_TOLERANCE,
    impossible_claims,
    lost_deployments,
    misread_faces,
    missing_objects,
)
from onlymymodel.evaluate.verify_report import Fault
from onlymymodel.evaluate.verify_surrogates import AskedSurrogates, surrogate_faults
from onlymymodel.protect.auto_strength import budget_of
from onlymymodel.protect.budget.distortion import largest_change
from onlymymodel.protect.context import Context
from onlymymodel.protect.kept_object import objects_of
from onlymymodel.protect.photo_record import PhotoRecord
from onlymymodel.protect.predictions import predict_photo
from onlymymodel.protect.region import area_from_record
from onlymymodel.surrogates.device_copy import to_device

BUDGET_TOLERANCE = 1e-4  # of figures in floats: l2, PSNR, SSIM, LPIPS


class CheckedFile(NamedTuple):
    """Result of checking one protected file.

    Attributes:
        faults: what is wrong with it.
        asked: whether its pixels could be read, so that the models were asked.
        compared: whether it was compared with its original, too.
    """

    faults: tuple[Fault, ...]
    asked: bool = False
    compared: bool = False


def check_file(
    store: Store, record: PhotoRecord, original: bytes | None, context: Context, surrogates: AskedSurrogates
) -> CheckedFile:
    """Check one protected file.

    Args:
        store: the protected folder.
        record: of the photo, which was written.
        original: the bytes of its original; None where they are not available.
        context: the authorized model, and the settings of the run.
        surrogates: those that are asked.
    """
    if record.output is None or record.label is None:
        return CheckedFile((Fault(record.source, "is recorded as protected, but without a file or a label"),))
    if impossible := list(impossible_claims(record, context.authorized.card)):
        return _failed(record.output, impossible)
    faults = []
    try:
        data = store.read(record.output, max_photo_bytes(context.max_pixels))
        if sha256(data) != record.output_sha256:
            faults.append("its bytes have changed")
        pixels = to_device(to_tensor(decode(data, max_pixels=context.max_pixels).pixels), context.device)
    except FileNotFoundError:
        return _failed(record.output, [*faults, "is missing"])
    except OSError as error:
        return _failed(record.output, [*faults, f"cannot be read: {error.strerror}"])
    except PhotoError as error:
        return _failed(record.output, [*faults, f"cannot be read any more: {error}"])
    clean = None
    if original is not None:
        try:
            read = decode(original, max_pixels=context.max_pixels, first_frame=context.first_frame)
            clean = to_device(to_tensor(read.pixels), context.device)
        except PhotoError as error:
            faults.append(f"its original cannot be read here, so that it was not compared with it: {error}")
    faults += _faults_of_pixels(pixels, clean, record, record.label, context, surrogates)
    return CheckedFile(tuple(Fault(record.output, fault) for fault in faults), True, clean is not None)


def _failed(file: str, faults: list[str]) -> CheckedFile:
    return CheckedFile(tuple(Fault(file, fault) for fault in faults))


def _faults_of_pixels(
    pixels: Tensor,
    clean: Tensor | None,
    record: PhotoRecord,
    label: int,
    context: Context,
    surrogates: AskedSurrogates,
) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong with the (C,H,W) uint8 pixels of one protected file."""
    objects = None if isinstance(record.objects, UnsetType) else objects_of(record.objects)
    predictions = predict_photo(pixels, label, context, objects=objects)
    if predictions.authorized != label:
        yield f"the authorized model reads {predictions.authorized}, not {label}"
    elif predictions.margin < context.recipe.kappa - MARGIN_TOLERANCE:
        yield f"the authorized margin is {predictions.margin:.3f}, less than {context.recipe.kappa:g}"
    else:
        yield from lost_deployments(pixels, record, label, objects, context)
        yield from misread_faces(pixels, record, predictions, context)
    yield from surrogate_faults(record, pixels, clean, surrogates, MARGIN_TOLERANCE)
    if clean is not None:
        yield from missing_objects(clean, objects, context)
        yield from _faults_beside_original(pixels, clean, record, context)


def _faults_beside_original(pixels: Tensor, clean: Tensor, record: PhotoRecord, context: Context) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong with the difference of (C,H,W) uint8 pixels from the original."""
    if clean.shape[1:] != pixels.shape[1:]:
        yield "it has another size than its original"
        return
    if len(pixels) < len(clean):
        yield "it is gray, and its original is not"
        return
    if len(clean) < len(pixels) and (pixels != pixels[:1]).any():  # WebP stores gray as three equal channels
        yield "it has colors, and its original is gray"
        return
    pixels = pixels[: len(clean)]
    measured = largest_change(pixels, clean)
    if measured == 0:
        yield "it does not differ from its original"
    elif _differs_outside_region(clean, pixels, record):
        yield "it differs from its original outside its region"
    else:
        yield from budget_of(record, context.budget).violations(pixels, clean, BUDGET_TOLERANCE)
    if measured != record.linf:
        recorded = "none" if record.linf is None else f"{record.linf}/255"
        yield f"its largest change is {measured}/255, and its line says {recorded}"


def _differs_outside_region(clean: Tensor, pixels: Tensor, record: PhotoRecord) -> bool:
    """Return whether a pixel outside the faces changed. Masks are not kept with the folder and are not checked."""
    mask = area_from_record(to_array(clean), record.region).mask
    if mask is None:
        return False
    changed = (pixels != clean).any(0).cpu().numpy()
    return bool((changed & (mask == 0)).any())
