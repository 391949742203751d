"""The representation defence and its judge: what must hold whatever the training finds."""

import json
import math
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.audit import Finding, audit_release
from onlymymodel.evaluate.audits.likeness import Likeness, embeddings
from onlymymodel.evaluate.audits.pictures import Pictures, portrait_pictures
from onlymymodel.evaluate.audits.representation import (
    FIGURES,
    NOTHING,
    NewDecoder,
    RepresentationRelease,
    representation_reports,
)
from onlymymodel.evaluate.audits.representation_plot import privacy_plot
from onlymymodel.protect.representation import (
    PENALTY,
    Representation,
    RepresentationSettings,
    best_linear,
    capped_loss,
    train_representation,
)
from onlymymodel.protect.representation_export import CARD, ENCODER, HEAD, ONNX, load, save
from onlymymodel.protect.representation_networks import Encoder, Features, task_head
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
        pictures.pixels, pictures.labels, classes=pictures.classes, settings=settings, progress=False
    )


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


# the loss


@pytest.mark.parametrize("lost", [0.0, 0.3, 0.5, 7.0, 1e30, math.inf])
def test_no_decoder_pushes_the_loss_below_its_bound(lost: float) -> None:
    found = capped_loss(torch.tensor(0.0), torch.full((3,), lost), weight=4.0, cap=0.5)
    assert found.item() == pytest.approx(-4.0 * min(lost, 0.5) / 0.5)
    assert found.item() >= -4.0


def test_pictures_beyond_the_cap_earn_nothing_and_spare_no_other() -> None:
    lost = torch.tensor([0.1, 9.0], requires_grad=True)
    torch.autograd.backward(capped_loss(torch.tensor(1.0), lost, weight=2.0, cap=0.5))
    assert lost.grad is not None
    assert lost.grad.tolist() == pytest.approx([-2.0 / 0.5 / 2, 0.0])


def test_the_linear_adversary_is_the_refit_without_each_picture() -> None:
    generator = torch.Generator().manual_seed(0)
    released = torch.randn(12, 16, generator=generator, dtype=torch.float64)
    pixels = torch.rand(12, 1, 4, 4, generator=generator, dtype=torch.float64)
    found = best_linear(released.requires_grad_(True), pixels)
    centered = (pixels - pixels.mean(0)).flatten(1)
    for index in range(12):
        others = [row for row in range(12) if row != index]
        rows = released[others]
        weights = torch.linalg.solve(rows.T @ rows + PENALTY * 16 * torch.eye(16), rows.T @ centered[others])
        torch.testing.assert_close(found[index].flatten(), released[index] @ weights + pixels.mean(0).flatten())
    torch.autograd.backward(found.sum())
    assert released.grad is not None
    assert released.grad.isfinite().all()


def test_the_linear_adversary_bears_equal_pictures_and_a_batch_of_one() -> None:
    released, pixels = torch.ones(3, 16), torch.full((3, 1, 4, 4), 0.5)
    assert torch.equal(best_linear(released, pixels), pixels)
    assert best_linear(released[:1], pixels[:1]).isfinite().all()


# the training


def test_lambda_zero_is_ordinary_training_bit_for_bit(pictures: Pictures) -> None:
    settings = replace(SETTINGS, weight=0.0, noise=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        encoder, head = Encoder(3, 16, 16), task_head(16, pictures.classes)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], settings.rate)
    generator = torch.Generator().manual_seed(settings.seed)
    for _ in range(settings.steps):
        rows = torch.randperm(len(pictures), generator=generator)[: settings.batch]
        loss = F.cross_entropy(head(encoder(pictures.pixels[rows])), pictures.labels[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    defence = trained(pictures, settings)
    assert same(defence.encoder, encoder)
    assert same(defence.head, head)


def test_the_weight_the_noise_and_the_seed_change_the_encoder_and_nothing_else_does(pictures: Pictures) -> None:
    settings = replace(SETTINGS, weight=2.0, noise=0.5)
    state = torch.random.get_rng_state()
    defence = trained(pictures, settings)
    assert torch.equal(torch.random.get_rng_state(), state)  # nobody else's numbers were drawn
    again = trained(pictures, settings)
    assert same(again.encoder, defence.encoder)
    assert same(again.head, defence.head)
    assert again.adversary_loss == defence.adversary_loss
    for other in (
        replace(settings, weight=0.0),
        replace(settings, noise=0.0),
        replace(settings, best_linear=False),
        replace(settings, seed=4),
    ):
        assert not same(trained(pictures, other).encoder, defence.encoder)


def test_the_noise_is_as_large_as_stated_and_of_its_seed(pictures: Pictures) -> None:
    defence = trained(pictures, replace(SETTINGS, noise=0.7))
    with torch.no_grad():
        clean = defence.encoder(pictures.pixels)
    assert torch.equal(replace(defence, settings=SETTINGS).release(pictures.pixels), clean)
    added = defence.release(pictures.pixels, seed=5) - clean
    assert added.std().item() == pytest.approx(0.7, rel=0.1)  # 1024 numbers: a deviation of 2 %
    assert torch.equal(defence.release(pictures.pixels, seed=5), added + clean)
    assert not torch.equal(defence.release(pictures.pixels, seed=6), added + clean)


def test_representations_have_mean_zero_and_variance_one(pictures: Pictures) -> None:
    encoder = Encoder(3, 16, 32)
    for pixels in (pictures.pixels[:1], pictures.pixels):
        found = encoder(pixels)
        assert found.shape == (len(pixels), 32)
        torch.testing.assert_close(found.mean(1), torch.zeros(len(pixels)), atol=1e-5, rtol=0)
        torch.testing.assert_close(found.var(1, correction=0), torch.ones(len(pixels)), atol=1e-2, rtol=0)


def test_whatever_cannot_be_trained_is_said(pictures: Pictures) -> None:
    pixels, labels = pictures.pixels[:8], pictures.labels[:8]

    def error(pixels: Tensor, labels: Tensor, classes: int = 7) -> str:
        with pytest.raises(UserError) as raised:
            train_representation(pixels, labels, classes=classes, settings=SETTINGS, progress=False)
        return str(raised.value)

    assert "8 pictures have 7 labels" in error(pixels, labels[:7])
    assert "labels run from 0 to 0" in error(pixels, torch.arange(8), 1)
    assert "side of 8, 16, 32" in error(F.interpolate(pixels, 12), labels)
    assert "square" in error(pixels[..., :8], labels)
    assert "alike" in error(pixels[:1].expand(8, -1, -1, -1), labels)
    assert "one picture or more" in error(pixels[:0], labels[:0])


@pytest.mark.parametrize("wrong", [{"weight": -1.0}, {"noise": math.nan}, {"steps": 0}, {"batch": 0}, {"rate": 0.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        RepresentationSettings(**wrong)  # type: ignore[arg-type]


def test_features_are_frozen_and_differentiable(pictures: Pictures) -> None:
    features, first = Features(), pictures.pixels[:4].clone().requires_grad_(True)
    assert features.distance(first, first).tolist() == [0, 0, 0, 0]
    found = features.distance(first, pictures.pixels[4:8])
    assert ((found > 0) & (found <= 4)).all()
    torch.autograd.backward(found.sum())
    assert first.grad is not None
    assert first.grad.abs().amax() > 0
    assert not any(parameter.requires_grad for parameter in features.parameters())


# files


def test_an_exported_defence_comes_back_equal_and_runs_elsewhere(pictures: Pictures, tmp_path: Path) -> None:
    defence = trained(pictures, replace(SETTINGS, weight=1.0, noise=0.5))
    card = json.loads(save(defence, tmp_path / "new").read_text())
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted([CARD, ENCODER, HEAD, ONNX])
    assert sorted(card["sha256"]) == sorted([ENCODER, HEAD, ONNX])
    back = load(tmp_path / "new")
    assert same(back.encoder, defence.encoder)
    assert same(back.head, defence.head)
    assert replace(back, encoder=defence.encoder, head=defence.head) == defence
    assert torch.equal(back.release(pictures.pixels, seed=1), defence.release(pictures.pixels, seed=1))
    session = onnxruntime.InferenceSession(tmp_path / "new" / ONNX)
    for count in (1, 5):
        found = session.run(None, {"pixels": pictures.pixels[:count].numpy()})[0]
        torch.testing.assert_close(torch.from_numpy(found), defence.encoder(pictures.pixels[:count]), atol=1e-4, rtol=0)


def test_files_that_do_not_belong_together_are_refused(pictures: Pictures, tmp_path: Path) -> None:
    save(trained(pictures, SETTINGS), tmp_path)
    weights, card = (tmp_path / ENCODER).read_bytes(), (tmp_path / CARD).read_text()
    (tmp_path / ENCODER).write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(UserError, match="is not the file"):
        load(tmp_path)
    (tmp_path / ENCODER).write_bytes(weights)
    (tmp_path / CARD).write_text(card.replace('"dimension": 16', '"dimension": 32'))
    with pytest.raises(UserError, match="do not fit"):
        load(tmp_path)
    (tmp_path / CARD).write_text("{}")
    with pytest.raises(UserError, match="not the card"):
        load(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path / "nowhere")


# the judge


def judge_of(public: Pictures, embedder: Classifier, steps: int = 3) -> NewDecoder:
    undefended = trained(public, replace(SETTINGS, weight=0.0))
    return NewDecoder(public, undefended, Likeness.around(embedder, public.pixels), steps)


def test_the_judge_leaves_the_encoder_alone_and_says_everything(pictures: Pictures, embedder: Classifier) -> None:
    public, private = pictures.by_group(0.7)
    assert not set(public.groups.tolist()) & set(private.groups.tolist())
    judge, defence = judge_of(public, embedder), trained(public, SETTINGS)
    before = {name: value.clone() for name, value in defence.encoder.state_dict().items()}
    report = audit_release(RepresentationRelease(defence, private), judge, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in defence.encoder.state_dict().items())
    assert [row.name for row in report.rows] == list(private.names)
    assert [control.name for control in report.controls] == [
        NOTHING,
        "somebody else's picture",
        "lambda 0, no noise",
        "the pixels themselves",
    ]
    json.dumps(report.to_json(), allow_nan=False)
    read = defence.read(defence.release(private.pixels))
    assert report.summary["accuracy"] == pytest.approx((read == private.labels).double().mean().item())
    better = max(float(report.summary[key] or 0) for key in ("psnr_convolutional", "psnr_ridge"))
    assert report.summary["psnr"] == pytest.approx(better)


def test_the_adversary_of_the_training_is_not_the_judge(pictures: Pictures, embedder: Classifier) -> None:
    public, private = pictures.by_group(0.7)
    judge, defence = judge_of(public, embedder), trained(public, SETTINGS)
    with pytest.raises(UserError, match="another one"):
        replace(judge, seed=SETTINGS.seed).findings(RepresentationRelease(defence, private), progress=False)
    with pytest.raises(UserError, match="split them by person"):
        judge.findings(RepresentationRelease(defence, pictures), progress=False)


def test_one_private_picture_and_a_curve(pictures: Pictures, embedder: Classifier) -> None:
    public, private = pictures.by_group(0.9)
    reports = representation_reports(
        public, private.take([0]), [0.0, 1.0], embedder=embedder, settings=SETTINGS, judge_steps=2, progress=False
    )
    assert [report.release for report in reports] == ["representation, lambda 0", "representation, lambda 1"]
    assert reports[0].controls == reports[1].controls
    json.dumps([report.to_json() for report in reports], allow_nan=False)
    svg = privacy_plot(reports)
    assert "<svg" in svg
    assert svg == privacy_plot(reports)
    assert svg.count("stroke-dasharray") == 2 * 3  # two controls and chance, in the plot and in its legend
    assert any(sentence.startswith("accuracy_by_chance: ") for sentence in reports[0].assumptions)
    # without noise lambda 0 is the control of that name
    undefended = next(control for control in reports[0].controls if control.name == "lambda 0, no noise")
    assert all(undefended.values[key] == pytest.approx(reports[0].rows[0].values[key]) for key in FIGURES)


def test_nobody_draws_what_lies_in_the_null_space(embedder: Classifier) -> None:
    """Pictures of independent numbers, an encoder that keeps 32 of 64 directions: the other half cannot come back,
    and the ridge regression gets the first half."""
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
    defence = Representation(encoder, task_head(32, 2), SETTINGS, 1, 8, 2, cap=1.0)
    judge = NewDecoder(public, defence, Likeness.around(embedder, public.pixels), steps=60)
    rows = judge.findings(RepresentationRelease(defence, private), progress=False)
    hidden = parts[500:, 32:].square().sum().item() / (100 * 64)
    for decoder in ("convolutional", "ridge"):
        error = sum(10 ** (-float(row.values[f"psnr_{decoder}"] or 0) / 10) for row in rows) / 100
        assert error > 0.97 * hidden  # 3200 numbers: a deviation of 2.5 %
        if decoder == "ridge":
            assert error < 1.25 * hidden  # of all the error, none but the penalty's in the row space


def test_the_correlation_of_the_task_is_that_of_its_table(pictures: Pictures, embedder: Classifier) -> None:
    def row(name: int, true: int, read: int) -> Finding:
        figures = dict.fromkeys((*FIGURES, "psnr_convolutional", "psnr_ridge"), 0.5)
        return Finding(str(name), {**figures, "class": true, "class_read": read})

    pairs = [(1, 1)] * 5 + [(0, 0)] * 3 + [(0, 1)] * 2 + [(1, 0)]
    controls = [Finding(NOTHING, {"ssim": 0.25}), Finding("the pixels themselves", {"ssim": 0.75})]
    summary = judge_of(pictures, embedder).summary([row(index, *pair) for index, pair in enumerate(pairs)], controls)
    assert summary["mcc"] == pytest.approx((5 * 3 - 2 * 1) / math.sqrt(7 * 6 * 5 * 4))
    assert summary["accuracy"] == pytest.approx(8 / 11)
    assert summary["accuracy_by_chance"] == pytest.approx(6 / 11)  # always class 1
    assert summary["recovered"] == pytest.approx(0.5)


def test_likeness_is_one_and_zero_for_equal_pictures(pictures: Pictures, embedder: Classifier) -> None:
    likeness = Likeness.around(embedder, pictures.pixels)
    first, other = pictures.pixels[:8], pictures.pixels[8:16]
    torch.testing.assert_close(likeness.identity_cosine(first, first), torch.ones(8))
    assert likeness.perceptual(first, first).tolist() == [0] * 8
    assert (likeness.perceptual(first, other) > 0).all()
    # two batches of 8 different people
    assert likeness.identity_cosine(first, other).mean() < 0.5


def test_embeddings_are_what_the_last_linear_layer_gets(pictures: Pictures, embedder: Classifier) -> None:
    last = [module for module in embedder.net.modules() if isinstance(module, nn.Linear)][-1]
    found = embeddings(embedder, pictures.pixels[:4])
    torch.testing.assert_close(last(found), embedder(pictures.pixels[:4]))
