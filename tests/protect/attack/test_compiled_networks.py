"""Compiled networks give the answers and the gradients of the plain ones, and the optimizer takes the same steps."""

import pytest
import torch
from batches import attack_batch
from detectors import corners
from toys import generators, photos, small_cnn

from onlymymodel.errors import UserError
from onlymymodel.protect.attack.optimizer import Proposal, optimize
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.portable import LIMITS
from onlymymodel.settings import check_recipe
from onlymymodel.surrogates.compilation import compiled
from onlymymodel.surrogates.early_checks import check_compiler

COMPILE = make_recipe("default", compile=True)


@pytest.fixture(autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "inductor"))


@pytest.mark.slow
def test_answers_and_gradients_are_those_of_the_plain_network() -> None:
    model = small_cnn(seed=1)
    assert compiled(model) is compiled(model)
    assert compiled(model).card == model.card
    found = []
    for network in (model, compiled(model)):
        pixels = to_float(photos(2)).requires_grad_()
        logits = network.logits(pixels)
        found.append((logits.detach(), torch.autograd.grad(logits.square().sum(), pixels)[0]))
    (plain, gradient), (logits, compiled_gradient) = found
    torch.testing.assert_close(logits, plain, rtol=1e-4, atol=1e-5)
    assert torch.equal(logits.argmax(1), plain.argmax(1))
    torch.testing.assert_close(compiled_gradient, gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max()))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"]  # it was compiled


@pytest.mark.slow
def test_the_optimizer_takes_nearly_the_same_steps() -> None:
    authorized, surrogate, pixels = small_cnn(seed=1), small_cnn(seed=2), to_float(photos(2))
    labels = authorized(pixels).argmax(1)

    def run(compile: bool) -> Proposal:
        return optimize(
            attack_batch(pixels, labels, streams=generators(2)),
            authorized=authorized,
            surrogates=[surrogate],
            recipe=make_recipe("exact", steps=2, views=("center",), kappa=0.0, compile=compile),
        )

    with_compiling, without = run(True).delta, run(False).delta
    assert (with_compiling == without).float().mean() > 0.99  # signs of gradients near zero may differ


def test_a_detector_is_left_as_it_is() -> None:
    detector = corners()
    assert compiled(detector) is detector


def test_it_is_another_recipe() -> None:
    assert COMPILE.sha256() != make_recipe("default").sha256()
    assert "compile" not in make_recipe("default").to_json()


@pytest.mark.parametrize("name", ["fmd", "tap", "nrdm"])
def test_an_objective_that_reads_layers_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="reads their layers"):
        make_recipe(name, compile=True)


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no-such-compiler: apt install"):
        check_recipe(COMPILE, ["zoo:identity-vit"])
    monkeypatch.setenv("CXX", "sh")  # any program that is there
    check_compiler()


def test_portable_code_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LIMITS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CXX", "sh")
    with pytest.raises(UserError, match="--portable"):
        check_recipe(COMPILE, ["zoo:identity-vit"])
