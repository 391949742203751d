"""Audit of representations: its adversary is independent of the defense, and bounded by what is released."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toys import small_cnn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.layers.layers import choose_layers, layer_outputs
from onlymymodel.evaluate.audits.options import RepresentationSettings
from onlymymodel.evaluate.audits.pictures import Pictures, portrait_pictures
from onlymymodel.evaluate.audits.report import AuditRow, audit_release
from onlymymodel.evaluate.audits.representation import audit
from onlymymodel.evaluate.audits.representation.audit import (
    MEAN_PICTURE,
    MEASURES,
    MEASURES_BY_DECODER,
    UNDEFENDED,
    RepresentationAdversary,
    RepresentationRelease,
    representation_reports,
)
from onlymymodel.evaluate.audits.representation.decoders import DECODERS, reconstruct
from onlymymodel.evaluate.audits.representation.defense import (
    Representation,
    train_representation,
)
from onlymymodel.evaluate.audits.representation.face_similarity import FaceSimilarity
from onlymymodel.evaluate.audits.representation.networks import BackboneEncoder, task_head
from onlymymodel.evaluate.audits.representation.plot import privacy_plot
from onlymymodel.evaluate.audits.representation.task import Task
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.load import load_model

SETTINGS = RepresentationSettings(noise=0.0, steps=4, batch=8, dimension=16, seed=3)


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return portrait_pictures(64, 16)


@pytest.fixture(scope="module")
def embedder() -> Classifier:
    return load_model("zoo:identity-residual")


def trained(pictures: Pictures, settings: RepresentationSettings) -> Representation:
    return train_representation(
        pictures.pixels, pictures.labels, task=Task.of(pictures), settings=settings, progress=False
    )


def adversary_for(public: Pictures, embedder: Classifier, steps: int = 3) -> RepresentationAdversary:
    undefended = trained(public, replace(SETTINGS, weight=0.0))
    return RepresentationAdversary(public, undefended, FaceSimilarity.centered_on(embedder, public.pixels), steps)


def test_audit_leaves_the_encoder_unchanged_and_reports_every_picture(pictures: Pictures, embedder: Classifier) -> None:
    public, private = pictures.split_into_groups((0.7,))
    assert not set(public.groups.tolist()) & set(private.groups.tolist())
    adversary, defense = adversary_for(public, embedder), trained(public, SETTINGS)
    before = {name: value.clone() for name, value in defense.encoder.state_dict().items()}
    report = audit_release(RepresentationRelease(defense, private), adversary, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in defense.encoder.state_dict().items())
    assert [row.name for row in report.rows] == list(private.names)
    assert [control.name for control in report.controls] == [
        MEAN_PICTURE,
        "somebody else's picture",
        "lambda 0, no noise",
        "the pixels themselves",
    ]
    json.dumps(report.to_json(), allow_nan=False)
    read = defense.classify(defense.release(private.pixels))
    assert report.summary["accuracy"] == pytest.approx((read == private.labels).double().mean().item())
    best = max(float(report.summary[f"psnr_{decoder}"] or 0) for decoder in DECODERS)
    assert report.summary["psnr"] == pytest.approx(best)


def test_adversary_needs_its_own_seed_and_other_people(pictures: Pictures, embedder: Classifier) -> None:
    public, private = pictures.split_into_groups((0.7,))
    adversary, defense = adversary_for(public, embedder), trained(public, SETTINGS)
    with pytest.raises(UserError, match="another one"):
        replace(adversary, seed=SETTINGS.seed).findings(RepresentationRelease(defense, private), progress=False)
    with pytest.raises(UserError, match="split them by person"):
        adversary.findings(RepresentationRelease(defense, pictures), progress=False)


@pytest.mark.slow
def test_curve_of_a_single_private_picture(
    pictures: Pictures, embedder: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, public, private = pictures.split_into_groups((0.5, 0.4))
    attacked: list[Representation] = []

    def noted(defense: Representation, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        attacked.append(defense)
        return reconstruct(defense, *args, **kwargs)

    monkeypatch.setattr(audit, "reconstruct", noted)
    reports = representation_reports(
        training,
        public,
        private.take([0]),
        [0.0, 1.0],
        embedder=embedder,
        settings=SETTINGS,
        decoder_steps=2,
        progress=False,
    )
    assert len(attacked) == len(set(map(id, attacked))) == 3  # the undefended one, a control too, only once
    names = ["representation, lambda 0", "representation, lambda 0", "representation, lambda 1"]
    assert [report.release for report in reports] == names
    assert reports[0].controls == reports[1].controls
    assert reports[0].summary["ssim_low"] is None  # one person has no interval
    json.dumps([report.to_json() for report in reports], allow_nan=False)
    svg = privacy_plot(reports)
    assert "<svg" in svg
    assert svg == privacy_plot(reports)
    assert svg.count("stroke-dasharray") == 2 * 3  # two controls and chance, in the plot and in its legend
    assert any(sentence.startswith("accuracy_by_chance: ") for sentence in reports[0].assumptions)
    # without noise lambda 0 is the control of that name
    undefended = next(control for control in reports[0].controls if control.name == "lambda 0, no noise")
    assert all(undefended.values[key] == pytest.approx(reports[0].rows[0].values[key]) for key in MEASURES)


@pytest.mark.slow
def test_error_of_decoders_is_bounded_by_the_null_space_of_the_encoder(embedder: Classifier) -> None:
    """Pictures of independent numbers, an encoder that keeps 32 of 64 directions: the other half cannot come back,
    and the ridge regression and the search get the first half."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(64, 64, generator=generator)).Q
    parts = 0.03 * torch.randn(600, 64, generator=generator)
    pixels = (0.5 + parts @ basis.T).clamp(0, 1).unflatten(1, (1, 8, 8))
    labels, groups = torch.arange(600) % 2, torch.arange(600)
    both = Pictures(pixels, labels, groups, tuple(map(str, range(600))), 2)
    public, private = both.take(range(500)), both.take(range(500, 600))
    linear = nn.Linear(64, 32, bias=False).requires_grad_(False)
    linear.weight.copy_(basis.T[:32])
    encoder = nn.Sequential(nn.Flatten(), linear)
    defense = Representation(encoder, task_head(32, 2), SETTINGS, 1, 8, Task(2), cap=1.0)
    adversary = RepresentationAdversary(public, defense, FaceSimilarity.centered_on(embedder, public.pixels), steps=60)
    rows = adversary.findings(RepresentationRelease(defense, private), progress=False).rows
    hidden = parts[500:, 32:].square().sum().item() / (100 * 64)
    for decoder in DECODERS:
        error = sum(10 ** (-float(row.values[f"psnr_{decoder}"] or 0) / 10) for row in rows) / 100
        assert error > 0.97 * hidden  # 3200 numbers: a deviation of 2.5 %
        if decoder in ("ridge", "searched"):
            assert error < 1.25 * hidden  # of all the error, little is in the row space


def test_the_search_returns_pictures_of_an_encoder_that_loses_nothing() -> None:
    """An invertible encoder: decoders that hardly learned bring little back, the search everything."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(48, 1, 8, 8, generator=generator)
    turned = nn.Linear(64, 64, bias=False).requires_grad_(False)
    turned.weight.copy_(torch.linalg.qr(torch.randn(64, 64, generator=generator)).Q)
    defense = Representation(nn.Sequential(nn.Flatten(), turned), task_head(64, 2), SETTINGS, 1, 8, Task(2), cap=1.0)
    public, private = pixels[:16], pixels[16:]
    by_decoder = reconstruct(defense, public, defense.release(private), steps=1, seed=0, progress=False)
    errors = {name: (pictures - private).square().mean().sqrt().item() for name, pictures in by_decoder.items()}
    assert min(errors["convolutional"], errors["ridge"]) > 0.2
    assert errors["searched"] < 0.03


def test_summary_of_the_task_equals_hand_computed_values(pictures: Pictures, embedder: Classifier) -> None:
    def row(name: int, true: int, read: int) -> AuditRow:
        figures = dict.fromkeys((*MEASURES, *MEASURES_BY_DECODER), 0.5)
        values = {**figures, "class": true, "class_read": read, "right": float(true == read), "person": name % 2}
        return AuditRow(str(name), values)

    pairs = [(1, 1)] * 5 + [(0, 0)] * 3 + [(0, 1)] * 2 + [(1, 0)]
    controls = [
        AuditRow(MEAN_PICTURE, {"ssim": 0.25}),
        AuditRow("the pixels themselves", {"ssim": 0.75}),
        AuditRow(UNDEFENDED, {"accuracy": 0.9, "mcc": 0.8}),
    ]
    summary = adversary_for(pictures, embedder).summary(
        [row(index, *pair) for index, pair in enumerate(pairs)], controls
    )
    assert summary["mcc"] == pytest.approx((5 * 3 - 2 * 1) / math.sqrt(7 * 6 * 5 * 4))
    assert summary["accuracy"] == pytest.approx(8 / 11)
    assert summary["accuracy_undefended"] == 0.9
    assert summary["accuracy_by_chance"] == pytest.approx(6 / 11)  # always class 1
    assert summary["recovered"] == pytest.approx(0.5)
    # two people with accuracies of 4/6 and 4/5: Student's t with one degree of freedom, 12.7062 standard errors
    assert summary["people"] == 2
    half = 12.7062 * abs(4 / 6 - 4 / 5) / 2
    middle = (4 / 6 + 4 / 5) / 2
    ends = [summary["accuracy_low"], summary["accuracy_high"]]
    assert ends == pytest.approx([middle - half, middle + half], rel=1e-4)


def test_an_encoder_from_a_backbone_leaves_the_backbone_as_it_is(pictures: Pictures) -> None:
    backbone = small_cnn(0, 4)
    (layer,) = choose_layers(backbone, pictures.pixels, (), 1)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    defense = train_representation(
        pictures.pixels, pictures.labels, task=Task.of(pictures), settings=SETTINGS, progress=False,
        make_encoder=lambda: BackboneEncoder(backbone, layer, pictures.pixels, SETTINGS.dimension),
    )  # fmt: skip
    encoder = defense.encoder
    assert isinstance(encoder, BackboneEncoder)
    for owner in (backbone, encoder.backbone):
        assert all(torch.equal(value, before[name]) for name, value in owner.state_dict().items())
    released = defense.release(pictures.pixels)
    torch.testing.assert_close(released.var(1, correction=0), torch.ones(len(pictures)), rtol=0.01, atol=0)
    features = layer_outputs(backbone, layer, pictures.pixels).flatten(1)
    linear = encoder.linear(F.layer_norm(features, features.shape[1:]))
    torch.testing.assert_close(released, F.layer_norm(linear, linear.shape[1:]))
