import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from records import answers_of, measured, surrogates_of
from toys import mine, others, small_cnn, theirs

from onlymymodel.data.image_io import decode
from onlymymodel.data.manifest import sha256
from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.distortion import psnr, ssim
from onlymymodel.protect.photo import Context, Format, PhotoSource, protect_bytes, protect_photos
from onlymymodel.surrogates.answers import margin

CONTEXT = Context(
    mine(), (theirs(), others()), Budget(16 / 255), make_recipe("default", steps=6, kappa=0.5, views=("center",))
)
# 4: the 4th person; any portrait does
FACE = render(identity=4, emotion=1, seed=9, size=48)


def coded(pixels: NDArray[Any] | Image.Image = FACE, kind: str = "PNG", **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_the_record_is_true_of_the_bytes_returned() -> None:
    source = coded()
    data, record = protect_bytes(source, label=None, context=CONTEXT)
    assert record.status == "protected"
    assert data is not None
    written, original = to_tensor(decode(data).pixels), to_tensor(FACE)
    assert record.source_sha256 == sha256(source)
    assert record.linf == int((written.int() - original.int()).abs().max()) == 16
    assert record.psnr == psnr(written, original)
    assert record.ssim == ssim(written, original)
    logits = CONTEXT.authorized(to_float(written)[None])
    assert answers_of(record).answer_after == record.label == int(logits.argmax())
    assert answers_of(record).margin_after == pytest.approx(
        float(margin(logits, torch.tensor([record.label]))), abs=1e-4
    )
    assert measured(answers_of(record).margin_after) >= 0.5
    for row, model in zip(surrogates_of(record), CONTEXT.surrogates, strict=True):
        assert row.answer_before == int(model(to_float(original)[None]).argmax())
        assert row.answer_after == int(model(to_float(written)[None]).argmax())
        assert row.pushed_from == record.label
    assert record.label_source == "authorized model's clean answer"


def test_the_same_bytes_come_out_alone_in_a_batch_and_again() -> None:
    sources = [coded(render(identity, 0, 1, 48)) for identity in range(4)]
    together = protect_photos([PhotoSource(data) for data in sources], CONTEXT)
    again = protect_photos([PhotoSource(data) for data in sources], CONTEXT)
    for data, (first, _), (second, _) in zip(sources, together, again, strict=True):
        assert first == second == protect_bytes(data, label=None, context=CONTEXT)[0]


def test_a_given_label_is_what_the_authorized_model_is_made_to_read() -> None:
    source = coded()
    clean = int(CONTEXT.authorized(to_float(to_tensor(FACE))[None]).argmax())
    for label in {0, 1, 2} - {clean}:
        data, record = protect_bytes(source, label=label, context=CONTEXT)
        assert record.label_source == "given"
        assert answers_of(record).answer_before == clean
        if record.status == "protected":
            assert data is not None
            assert answers_of(record).answer_after == label


def test_a_photo_that_cannot_be_kept_right_is_unchanged_and_not_written() -> None:
    context = replace(CONTEXT, recipe=replace(CONTEXT.recipe, kappa=1000.0, repair_steps=2))
    data, record = protect_bytes(coded(), label=None, context=context)
    assert data is None
    assert record.status == "unchanged"
    assert "cannot be kept right" in record.reason


def test_without_a_budget_the_photo_is_unchanged() -> None:
    context = replace(CONTEXT, budget=Budget(0.0), recipe=replace(CONTEXT.recipe, kappa=0.0))
    data, record = protect_bytes(coded(), label=None, context=context)
    assert (data, record.status, record.linf) == (None, "unchanged", 0)
    assert "no room" in record.reason


def test_a_budget_that_misleads_no_surrogate_is_unchanged() -> None:
    context = replace(CONTEXT, budget=Budget(1 / 255), surrogates=(small_cnn(seed=2, classes=3),))
    data, record = protect_bytes(
        coded(), label=None, context=replace(context, recipe=make_recipe("default", steps=1, kappa=0.0))
    )
    row = surrogates_of(record)[0]
    assert row.answer_before == row.answer_after  # the premise
    if row.answer_before == row.pushed_from:
        assert (data, record.status) == (None, "unchanged")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_every_format_is_protected_at_its_own_size(kind: str) -> None:
    source = coded(render(identity=4, emotion=1, seed=9, size=50)[:41], kind)
    data, record = protect_bytes(source, label=None, context=CONTEXT)
    assert record.status == "already-misread"  # both toys misread it when clean
    assert data is not None
    assert Image.open(io.BytesIO(data)).format == "PNG"
    original, written = decode(source), decode(data)
    assert written.pixels.shape == original.pixels.shape == (41, 50, 3)
    assert np.abs(written.pixels.astype(int) - original.pixels).max() <= 16


def test_alpha_exif_and_profile_survive_bit_for_bit() -> None:
    exif = Image.Exif()
    exif[271] = "camera"
    profile = bytes(range(256)) * 3
    alpha = np.linspace(0, 255, 48 * 48).reshape(48, 48).astype(np.uint8)
    source = coded(np.dstack([FACE, alpha]), exif=exif.tobytes(), icc_profile=profile)
    data, _ = protect_bytes(source, label=None, context=CONTEXT)
    assert data is not None
    original, written = decode(source), decode(data)
    assert written.alpha is not None
    assert np.array_equal(written.alpha, alpha)
    assert written.icc == profile
    assert written.exif == original.exif
    stripped, _ = protect_bytes(source, label=None, context=replace(CONTEXT, metadata="none"))
    assert stripped is not None
    assert decode(stripped).exif is None


@pytest.mark.parametrize("format", ["png", "webp"])
def test_a_gray_photo_stays_gray(format: Format) -> None:
    source = coded(Image.fromarray(FACE).convert("L"))
    data, record = protect_bytes(source, label=None, context=replace(CONTEXT, format=format))
    assert record.status == "protected"
    assert data is not None
    pixels = decode(data).pixels
    assert np.array_equal(pixels.min(2), pixels.max(2))


def test_a_turned_photo_is_protected_upright() -> None:
    exif = Image.Exif()
    exif[274] = 6  # stored lying on its left side
    source = coded(np.rot90(FACE[:40]).copy(), exif=exif.tobytes())
    data, _ = protect_bytes(source, label=None, context=CONTEXT)
    assert data is not None
    written = Image.open(io.BytesIO(data))
    assert written.size == (48, 40)
    assert written.getexif().get(274, 1) == 1
    assert np.abs(np.array(written.convert("RGB")).astype(int) - FACE[:40]).max() <= 16


def test_a_large_photo_is_optimized_small_and_judged_at_its_own_size() -> None:
    large = np.asarray(Image.fromarray(FACE).resize((300, 220), Image.Resampling.BICUBIC))
    context = replace(CONTEXT, recipe=make_recipe("default", steps=6, kappa=0.5, working_size=64, views=("center",)))
    data, record = protect_bytes(coded(large), label=None, context=context)
    assert record.status == "protected"
    assert data is not None
    written = decode(data).pixels
    assert written.shape == (220, 300, 3)
    assert 0 < np.abs(written.astype(int) - large).max() <= 16
    assert int(context.authorized(to_float(to_tensor(written))[None]).argmax()) == record.label


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"", "failed", "empty"),
        (b"hello, I am no photo", "failed", ""),
        (coded()[:200], "failed", ""),
        (coded(np.zeros((1, 1, 3), np.uint8)), "skipped", "too small"),
        (coded(FACE, "JPEG2000"), "skipped", "JPEG 2000"),
    ],
)
def test_an_invalid_photo_gets_a_reason_and_other_photos_are_protected(data: bytes, status: str, reason: str) -> None:
    good = coded()
    (written, first), (nothing, second) = protect_photos([PhotoSource(good), PhotoSource(data)], CONTEXT)
    assert written == protect_bytes(good, label=None, context=CONTEXT)[0]
    assert first.status == "protected"
    assert nothing is None
    assert second.status == status
    assert reason in second.reason
    assert second.to_json().keys() == first.to_json().keys()


@pytest.mark.slow
def test_a_photo_above_the_working_size_is_protected_at_its_own_size() -> None:
    row, column = np.linspace(0, 255, 1000), np.linspace(0, 255, 1500)
    plane = np.add.outer(row / 2, column / 2)
    large = np.stack([plane, 255 - plane, plane // 2], axis=2).astype(np.uint8)
    data, record = protect_bytes(coded(large, "BMP"), label=None, context=CONTEXT)
    assert record.status == "already-misread"
    assert data is not None
    written = decode(data).pixels
    assert written.shape == (1000, 1500, 3)
    assert int(CONTEXT.budget.spent(to_tensor(written)[None], to_tensor(large)[None])) == measured(record.linf) <= 16
