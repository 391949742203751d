"""The checks of models report each defect by name, and pass sound models."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torchvision
from torch import Tensor, nn
from toys import PLAIN, classifier, linear, small_cnn

from onlymymodel.errors import UserError
from onlymymodel.surrogates import zoo
from onlymymodel.surrogates.checks import check_model, check_models
from onlymymodel.surrogates.classifier import Classifier, ModelCard, Preprocess
from onlymymodel.surrogates.load import load_model


class Apply(nn.Module):
    """A network followed by a function."""

    def __init__(self, net: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.function = net, function

    def forward(self, pixels: Tensor) -> Tensor:
        return self.function(self.net(pixels))


def ill(function: Callable[[Tensor], Tensor]) -> Classifier:
    return classifier(Apply(small_cnn(seed=1).net, function), 4, "ill")


def failed(model: Classifier) -> set[str]:
    findings = check_model(model)
    assert all(finding.passed == (not finding.advice) for finding in findings)
    return {finding.check for finding in findings if not finding.passed}


@pytest.mark.parametrize("model", [small_cnn(seed=1), linear(seed=2), linear(seed=3, scale=1e3)])
def test_healthy_models_pass(model: Classifier) -> None:
    assert failed(model) == set()


@pytest.mark.parametrize("name", zoo.NAMES)
def test_bundled_models_pass(name: str) -> None:
    assert failed(load_model(f"zoo:{name}")) == set()


def test_attention_with_a_faster_kernel_without_gradients_passes() -> None:
    torch.manual_seed(0)
    net = torchvision.models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=3)
    nn.init.normal_(net.heads[0].weight)
    preprocess = Preprocess(32, 32, fit="squash")
    assert failed(Classifier(net, ModelCard("vit", "vit", 3, preprocess))) == set()


@pytest.mark.parametrize("function", [lambda logits: (logits,), lambda logits: {0: logits}[len(logits) - 1]])
def test_whatever_a_network_does_with_a_batch_is_reported(function: Callable[[Tensor], Tensor]) -> None:
    assert failed(ill(function)) == {"batch of two"}


def test_broken_weights_are_reported() -> None:
    model = small_cnn(seed=1)
    with torch.no_grad():
        next(model.net.parameters())[0, 0, 0, 0] = float("nan")
    assert "finite logits" in failed(model)
    assert "finite logits" in failed(ill(lambda logits: logits * 1e38 * 1e38))


def test_probabilities_are_reported() -> None:
    assert failed(ill(lambda logits: logits.softmax(1))) == {"logits"}


@pytest.mark.filterwarnings("ignore:dropout")
def test_active_dropout_is_reported() -> None:
    assert "deterministic" in failed(ill(lambda logits: nn.functional.dropout(logits, 0.5, training=True)))
    assert "deterministic" in failed(ill(lambda logits: logits + torch.rand_like(logits)))


def test_training_mode_is_reported() -> None:
    model = small_cnn(seed=1)
    model.net.train()
    assert failed(model) == {"eval mode"}


def test_batch_statistics_are_reported() -> None:
    net = small_cnn(seed=1).net
    assert isinstance(net, nn.Sequential)
    net.insert(0, nn.BatchNorm2d(3, track_running_stats=False))
    assert failed(classifier(net, 4, "ill")) == {"batch independent"}


def test_a_constant_answer_is_reported() -> None:
    constant = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert failed(ill(lambda logits: logits * 0 + constant)) == {"input dependent", "gradient"}


def test_a_missing_gradient_is_reported() -> None:
    assert failed(ill(lambda logits: logits.detach())) == {"gradient"}
    assert failed(ill(lambda logits: logits.round(decimals=3))) == {"gradient"}


def test_a_network_without_batches_is_reported() -> None:
    assert failed(ill(lambda logits: logits.reshape(1, -1))) == {"batch of two"}
    assert failed(ill(lambda logits: logits.reshape(1, 4))) == {"batch of two"}
    assert failed(ill(lambda logits: logits[:, :3])) == {"batch of two"}


def test_usable_models_are_accepted() -> None:
    check_models(small_cnn(seed=1), [small_cnn(seed=2), linear(seed=3)])
    check_models(small_cnn(seed=1), [])


def test_a_surrogate_that_is_the_authorized_model_is_refused() -> None:
    again = Classifier(small_cnn(seed=1).net, ModelCard("other-name", "cnn-1", 4, PLAIN))
    with pytest.raises(UserError, match="stand-in other-name is the authorized model itself"):
        check_models(small_cnn(seed=1), [small_cnn(seed=2), again])


def test_a_surrogate_twice_is_refused() -> None:
    with pytest.raises(UserError, match="stand-in cnn-2 is named twice"):
        check_models(small_cnn(seed=1), [small_cnn(seed=2), small_cnn(seed=3), small_cnn(seed=2)])


def test_the_same_weights_in_another_file_are_the_same_model() -> None:
    first, second, third = (small_cnn(seed=seed) for seed in (1, 2, 3))
    known, again, other = (
        Classifier(model.net, replace(model.card, weights=weights))
        for model, weights in ((first, "w"), (second, "w"), (third, "v"))
    )
    check_models(known, [other])
    with pytest.raises(UserError, match="stand-in cnn-2 is the authorized model itself"):
        check_models(known, [other, again])
    with pytest.raises(UserError, match="stand-in cnn-2 is named twice: cnn-1 has the same weights"):
        check_models(other, [known, again])


@pytest.mark.parametrize("role", ["authorized model", "surrogate"])
def test_an_unusable_model_is_refused_by_role_and_reason(role: str) -> None:
    sick, sound = ill(lambda logits: logits.softmax(1)), small_cnn(seed=2)
    with pytest.raises(UserError, match=f"^{role} ill cannot be used: it gives probabilities, not logits"):
        check_models(*((sick, [sound]) if role == "authorized model" else (sound, [sick])))
