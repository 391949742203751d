"""The bundled models: complete, small, and correct on unseen portraits."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from paths import ROOT
from torch import Tensor

from onlymymodel.data.portraits import EMOTIONS, IDENTITY_NAMES, render
from onlymymodel.errors import UserError
from onlymymodel.surrogates import zoo
from onlymymodel.surrogates.zoo.architectures import FAMILIES, build

FIRST_SEED = 9_000_000  # benchmarks/train_zoo.py stays far below
LABELS = {"identity": IDENTITY_NAMES, "emotion": EMOTIONS}


@pytest.fixture(scope="module")
def fresh() -> tuple[Tensor, dict[str, Tensor]]:
    """300 portraits as (300, 3, 64, 64) pixels in [0, 1], resized as at run time, with labels by task."""
    rng = np.random.default_rng(FIRST_SEED)
    labels = {"identity": rng.integers(16, size=300), "emotion": rng.integers(7, size=300)}
    pixels = []
    for index, (identity, emotion) in enumerate(zip(labels["identity"], labels["emotion"], strict=True)):
        image = render(int(identity), int(emotion), FIRST_SEED + index)
        large = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        pixels.append(F.interpolate(large, (64, 64), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1))
    return torch.cat(pixels), {task: torch.from_numpy(answer) for task, answer in labels.items()}


def test_names_are_six_families_for_two_tasks() -> None:
    assert len(zoo.NAMES) == len(set(zoo.NAMES)) == 12
    assert {name.split("-")[1] for name in zoo.NAMES} == set(FAMILIES)
    assert {name.split("-")[0] for name in zoo.NAMES} == {"identity", "emotion"}


@pytest.mark.parametrize("name", zoo.NAMES)
def test_record_is_complete(name: str) -> None:
    model, card = zoo.read(name)
    task, family = name.split("-")
    assert card["task"] == task
    assert card["family"] == family
    assert tuple(card["labels"]) == LABELS[task]
    assert card["size"] == 64
    assert len(card["mean"]) == len(card["std"]) == 3
    assert card["parent"] == f"onlymymodel-zoo-{name}"
    assert card["licence"] == "MIT"
    assert card["accuracy"] >= 0.9
    assert isinstance(card["seed"], int)
    assert not model.training
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.NAMES)
def test_reads_portraits_it_has_not_seen(name: str, fresh: tuple[Tensor, dict[str, Tensor]]) -> None:
    pixels, labels = fresh
    model, card = zoo.read(name)
    mean, std = torch.tensor(card["mean"]).view(3, 1, 1), torch.tensor(card["std"]).view(3, 1, 1)
    with torch.inference_mode():
        logits = model((pixels - mean) / std)
    assert logits.shape == (300, len(card["labels"]))
    assert logits.isfinite().all()
    assert (logits.argmax(1) == labels[card["task"]]).float().mean() >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.NAMES)
def test_one_picture_reads_as_it_does_in_a_batch(name: str, fresh: tuple[Tensor, dict[str, Tensor]]) -> None:
    model, _ = zoo.read(name)
    batch = fresh[0][:5]
    with torch.inference_mode():
        torch.testing.assert_close(model(batch[3:4]), model(batch)[3:4], rtol=1e-4, atol=1e-4)


def test_weights_are_small_and_not_one_model_twice() -> None:
    contents = [zoo.path(name).read_bytes() for name in zoo.NAMES]
    assert sum(map(len, contents)) <= 6_000_000
    assert max(map(len, contents)) < 500_000
    assert len({hashlib.sha256(content).digest() for content in contents}) == 12


def test_results_speak_of_these_weights() -> None:
    rows = json.loads((ROOT / "results" / "zoo.json").read_text())["models"]
    assert tuple(rows) == zoo.NAMES
    for name, row in rows.items():
        content = zoo.path(name).read_bytes()
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert row["bytes"] == len(content)
        assert row["accuracy"] == zoo.read(name)[1]["accuracy"]
        assert row["portraits"] >= 2000


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("classes", [2, 16])
def test_families_are_tiny_and_trainable(family: str, classes: int) -> None:
    torch.manual_seed(0)
    model = build(family, classes)
    assert 90_000 < sum(weight.numel() for weight in model.parameters()) < 200_000
    logits = model(torch.randn(3, 3, 64, 64))
    assert logits.shape == (3, classes)
    torch.autograd.backward(logits.square().sum())
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="identity-residual"):
        zoo.read("identity-resnet")
    with pytest.raises(UserError, match="emotion-vit"):
        zoo.path("emotion_vit")


def test_hopeless_name_lists_every_model() -> None:
    with pytest.raises(UserError, match=r"identity-plain, .*emotion-mixer"):
        zoo.read("???")
