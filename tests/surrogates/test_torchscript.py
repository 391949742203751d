"""Networks of TorchScript, which have no hooks, and no switch for the gradients of a whole network."""

import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_timm import crop
from torch import nn

from onlymymodel.cli.main import main
from onlymymodel.protect.photo_record import MANIFEST
from onlymymodel.surrogates.checks import check_model
from onlymymodel.surrogates.fingerprint import parameters_sha256
from onlymymodel.surrogates.load import load_black_box, load_model
from onlymymodel.surrogates.wrap import wrap_network

URI = "python:test_torchscript:scripted?size=32"


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    return nn.Sequential(*layers).eval()


def scripted(seed: int = 0, *, frozen: bool = False) -> nn.Module:
    """The factory of `URI`."""
    jit: Any = torch.jit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, that there are newer formats
        made: nn.Module = jit.script(network(seed))
        return jit.freeze(made) if frozen else made


@pytest.fixture(autouse=True)
def _this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "test_torchscript", sys.modules[__name__])


def test_a_script_is_loaded_and_has_gradients() -> None:
    model = load_model(URI, allow_python=True)
    torch.testing.assert_close(model.logits(crop(32)), network()(crop(32)))
    assert all(result.passed for result in check_model(model))
    assert load_black_box(URI, allow_python=True).card == model.card


def test_a_script_of_a_program_is_left_as_it_is() -> None:
    mine = scripted()
    model = wrap_network(mine, mean=(0, 0, 0), std=(1, 1, 1), size=32)
    torch.testing.assert_close(model.logits(crop(32)), network()(crop(32)))
    assert all(parameter.requires_grad for parameter in mine.parameters())
    assert model.card.sha256 == parameters_sha256(network())


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.* is deprecated")
def test_scripts_with_other_weights_have_other_hashes(tmp_path: Path) -> None:
    jit: Any = torch.jit
    hashes = set()
    for frozen in (False, True):
        for seed in (0, 1):
            path = tmp_path / f"{seed}-{frozen}.pt"
            scripted(seed, frozen=frozen).save(path)  # type: ignore[operator]
            first, second = (parameters_sha256(jit.load(path)) for _ in range(2))
            assert first == second
            hashes.add(first)
    assert len(hashes) == 4


@pytest.mark.slow
def test_photos_are_protected_for_a_script(two_portraits: Path, tmp_path: Path) -> None:
    models = ["--authorized", URI, "--surrogate", "zoo:identity-plain", "--allow-python"]
    quick = ["--steps", "1", "--keep-through", "exact", "--quiet", "--device", "cpu"]
    assert main(["protect", str(two_portraits), "--out", str(tmp_path / "out"), *models, *quick]) in (0, 1)
    assert len((tmp_path / "out" / MANIFEST).read_text().splitlines()) == 2
