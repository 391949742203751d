"""Every bound from the command line to the written file: protect, the manifest, run.json, verify."""

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from records import measured
from skimage.metrics import peak_signal_noise_ratio
from stored import contents

from onlymymodel.cli.main import main
from onlymymodel.data.image_io import decode
from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.budget import lpips as perceptual
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.distortion import SSIM_DEFINITION, ssim
from onlymymodel.protect.context import Context
from onlymymodel.protect.photo import protect_bytes
from onlymymodel.protect.photo_record import MANIFEST, PhotoManifest
from onlymymodel.surrogates.load import load_model

MODELS = ["--authorized", "zoo:identity-residual", "--surrogate", "zoo:identity-plain"]
QUICK = ["--steps", "4", "--views", "center", "--kappa", "0.1", "--quiet", "--device", "cpu"]
CONTEXT = Context(
    load_model("zoo:identity-residual"),
    (load_model("zoo:identity-plain"),),
    Budget(16 / 255),
    make_recipe("default", steps=4, kappa=0.1, views=("center",)),
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    source = tmp_path / "photos"
    source.mkdir()
    for index in range(2):
        Image.fromarray(render(index, index, index, 96)).save(source / f"{index}.png")
    return source


def protect(source: Path, out: Path, *flags: str) -> int:
    return main(["protect", str(source), "--out", str(out), *MODELS, *QUICK, *flags])


def verify(out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the reported faults; each written file has at most one."""
    capsys.readouterr()
    main(["verify", str(out), "--quiet", "--device", "cpu"])
    return capsys.readouterr().err


def png(pixels: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def pair(source: Path, out: Path, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = (to_tensor(decode((folder / name).read_bytes()).pixels) for folder in (out, source))
    return first, second


@pytest.mark.parametrize(
    ("flags", "tighter"),
    [
        (["--l2", "2.5"], {"l2": 0.5}),
        (["--psnr", "34"], {"psnr": 44}),
        (["--ssim", "0.95"], {"ssim": 0.995}),
        (["--luma", "4"], {"luma": 2.0}),
        (["--luma", "4", "--shape", "texture", "--l2", "2.5"], {"luma": 2.0}),
        (["--shape", "texture", "--epsilon", "12"], {"linf": 4.0}),
        (["--shape", "texture", "--ssim", "0.95", "--psnr", "30"], {"ssim": 0.995}),
    ],
)
def test_protect_holds_and_verify_checks_each_bound(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], tighter: dict[str, float]
) -> None:
    out = tmp_path / "out"
    protect(photos, out, *flags)
    content = json.loads((out / "run.json").read_text())
    budget = Budget.from_json(content["settings"]["budget"])
    assert round(budget.linf * 255) == (12 if "--epsilon" in flags else 16)
    records = [record for record in PhotoManifest(out).load() if record.status == "protected"]
    assert records
    for record in records:
        written, original = pair(photos, out, record.source)
        assert budget.violations(written, original) == []
        assert record.ssim == pytest.approx(ssim(written, original))
        assert record.psnr == pytest.approx(peak_signal_noise_ratio(original.numpy(), written.numpy()))
        if budget.l2 is not None:
            change = np.linalg.norm((written.numpy().astype(float) - original.numpy()) / 255)
            assert record.l2 == pytest.approx(change, abs=1e-5)
        if budget.luma is not None:
            red, green, blue = written.double() - original
            assert record.luma == pytest.approx(float((0.299 * red + 0.587 * green + 0.114 * blue).abs().max()))
            assert 2 < measured(record.luma) <= 4 < measured(record.linf)
    assert set(content.get("bounds", {})) == set(budget.definitions)
    if budget.ssim:
        assert content["bounds"]["ssim"] == SSIM_DEFINITION
    assert verify(out, capsys) == ""
    content["settings"]["budget"] |= tighter
    (out / "run.json").write_text(json.dumps(content))
    report = verify(out, capsys)
    words = {
        "linf": "differs from its original",
        "l2": "l2 norm",
        "psnr": "PSNR",
        "ssim": "SSIM",
        "luma": "its brightness",
    }
    assert report.count(words[next(iter(tighter))]) == len(records)


def test_verify_reports_a_violated_shape(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    protect(photos, tmp_path / "out", "--epsilon", "12", "--shape", "even")
    content = json.loads((tmp_path / "out" / "run.json").read_text())
    content["settings"]["budget"]["shape"] = "texture"
    (tmp_path / "out" / "run.json").write_text(json.dumps(content))
    assert "in a smooth region" in verify(tmp_path / "out", capsys)


@pytest.mark.slow
def test_a_run_resumes_with_equal_bounds_only(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    protect(photos, out, "--ssim", "0.95")
    before = contents(out)
    capsys.readouterr()
    assert protect(photos, out, "--ssim", "0.95") in (0, 1)
    assert contents(out) == before
    assert protect(photos, out, "--ssim", "0.94") == 2
    assert "was made with other settings (ssim 0.95 there, 0.94 here)" in capsys.readouterr().err


@pytest.mark.slow
def test_flags_override_the_bounds_of_a_run_file(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[budget]\nssim = 0.9\npsnr = 30\nshape = "texture"\nluma = 3\n')
    protect(photos, tmp_path / "out", "--run", str(tmp_path / "run.toml"), "--ssim", "0.97")
    content = json.loads((tmp_path / "out" / "run.json").read_text())
    assert content["settings"]["budget"] == {
        "linf": 16.0, "luma": 3.0, "psnr": 30, "ssim": 0.97, "shape": "texture",
    }  # fmt: skip


def test_a_budget_without_room_leaves_the_photo_unchanged() -> None:
    source = png(render(0, 0, 0, 96))
    for budget in (Budget(16 / 255, ssim=1.0), Budget(16 / 255, l2=0.0), Budget(16 / 255, psnr=120.0)):
        data, record = protect_bytes(source, label=None, context=_with(budget))
        assert data is None
        assert (record.status, record.reason) == ("unchanged", "the budget leaves no room for a change")


@pytest.mark.slow
@pytest.mark.parametrize("budget", [Budget(16 / 255, l2=4.0), Budget(16 / 255, psnr=35.0), Budget(16 / 255, ssim=0.96)])
def test_a_photo_larger_than_the_working_size_is_bounded_at_its_own_size(budget: Budget) -> None:
    source = render(1, 1, 1, 200)
    context = Context(CONTEXT.authorized, CONTEXT.surrogates, budget, make_recipe("default", steps=4, working_size=80))
    data, record = protect_bytes(png(source), label=None, context=context)
    assert measured(record.linf) > 0
    if data is not None:
        assert budget.violations(to_tensor(decode(data).pixels), to_tensor(source)) == []
    # spent, not given away by measuring it on the smaller photo
    if budget.l2 is not None:
        assert 3.0 < measured(record.l2) <= 4.0
    if budget.psnr is not None:
        assert 35.0 <= measured(record.psnr) < 37.5
    if budget.ssim is not None:
        assert 0.96 <= measured(record.ssim) < 0.975


def test_a_gray_webp_is_measured_on_its_one_channel() -> None:
    gray = render(0, 0, 0, 96)[..., 1]
    context = Context(CONTEXT.authorized, CONTEXT.surrogates, Budget(16 / 255, l2=1.5), CONTEXT.recipe, format="webp")
    data, record = protect_bytes(png(gray), label=None, context=context)
    assert 0 < measured(record.l2) <= 1.5
    if data is not None:
        change = decode(data).pixels[..., 0].astype(float) - gray
        assert record.l2 == pytest.approx(np.linalg.norm(change / 255), abs=1e-5)


@pytest.fixture
def random_lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    """LPIPS whose AlexNet is random: its own weights are not everywhere."""
    from lpips import LPIPS

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's, about how the package names its weights
        whole = LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    network = whole.eval().requires_grad_(False)
    monkeypatch.setattr(perceptual, "_network", lambda _device: network)


@pytest.mark.slow
@pytest.mark.usefixtures("random_lpips")
def test_lpips_bounds_the_written_file() -> None:
    source = render(2, 2, 2, 96)
    data, record = protect_bytes(png(source), label=None, context=CONTEXT)
    assert data is not None
    free = perceptual.lpips(source, decode(data).pixels)
    data, record = protect_bytes(png(source), label=None, context=_with(Budget(16 / 255, lpips=free / 2)))
    assert 0.3 * free < measured(record.lpips) <= free / 2
    assert data is None or perceptual.lpips(source, decode(data).pixels) == pytest.approx(record.lpips, abs=1e-5)
    small = protect_bytes(png(source[:31]), label=None, context=_with(Budget(lpips=0.1)))[1]
    assert (small.status, small.lpips) == ("skipped", None)
    assert "too small for LPIPS: 96x31" in small.reason


@pytest.mark.slow
def test_missing_lpips_weights_are_reported_before_the_first_photo(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    assert protect(photos, tmp_path / "out", "--lpips", "0.1") == 2
    assert "LPIPS needs" in capsys.readouterr().err
    assert not (tmp_path / "out" / MANIFEST).exists()


def _with(budget: Budget) -> Context:
    return Context(CONTEXT.authorized, CONTEXT.surrogates, budget, CONTEXT.recipe)
