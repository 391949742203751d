import pytest
import torch
import torch.nn.functional as F
from batches import attack_batch, rows
from torch import nn
from toys import classifier, generators, linear, photos, small_cnn

from onlymymodel.errors import UserError
from onlymymodel.protect.attack.features import feature_layer
from onlymymodel.protect.attack.guard import Guard, steer
from onlymymodel.protect.attack.losses import CrossEntropy, FeatureDistance, Tap
from onlymymodel.protect.attack.model_inputs import ModelInputs, normalize_gradient
from onlymymodel.protect.attack.objective import EnsembleObjective, FeatureObjective
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.surrogates.answers import margin

ROWS = rows(0, 1, 2)


def test_margin_is_the_label_less_the_best_other() -> None:
    logits = torch.tensor([[1.0, 5.0, 3.0], [1.0, 5.0, 3.0], [2.0, 2.0, 0.0]])
    assert margin(logits, torch.tensor([1, 2, 0])).tolist() == [2.0, -2.0, 0.0]


def test_normalized_gradients_have_mean_magnitude_one_and_zero_stays_zero() -> None:
    gradient = torch.randn(3, 3, 5, 5) * torch.tensor([1e-20, 1.0, 0.0]).view(3, 1, 1, 1)
    sizes = normalize_gradient(gradient).abs().flatten(1).mean(1)
    torch.testing.assert_close(sizes, torch.tensor([1.0, 1.0, 0.0]))


def test_steer_raises_the_margin_and_removes_only_what_lowered_it() -> None:
    push, keep = normalize_gradient(torch.randn(4, 3, 6, 6)), torch.randn(4, 3, 6, 6)
    steered = steer(push, keep, weight=2.0)
    rest = steered - 2 * normalize_gradient(keep)  # the push without its harmful part
    along = (rest * normalize_gradient(keep)).flatten(1).sum(1)
    harmful = (push * normalize_gradient(keep)).flatten(1).sum(1) < 0
    torch.testing.assert_close(along[harmful], torch.zeros(int(harmful.sum())), atol=1e-4, rtol=0)
    assert torch.equal(rest[~harmful], push[~harmful]) or torch.allclose(rest[~harmful], push[~harmful], atol=1e-6)


def test_steer_changes_nothing_where_the_margin_gradient_is_zero() -> None:
    push = normalize_gradient(torch.randn(2, 3, 6, 6))
    assert torch.equal(steer(push, torch.zeros_like(push), weight=2.0), push)


def test_ensemble_gradient_on_linear_models_is_the_softmax_gradient() -> None:
    """d CE / d x = (softmax(z) - onehot(y)) . W, known in closed form."""
    model = linear(seed=3, classes=5, scale=0.01)
    pixels, targets = to_float(photos(3)), torch.tensor([0, 1, 2])
    recipe = Recipe(views=("center",), normalize=False)
    batch = attack_batch(pixels, targets)
    gradient, max_confidence = EnsembleObjective([model], [CrossEntropy(model, targets)], recipe, batch).gradient(
        ModelInputs(pixels, [model]), ROWS, generators(3)
    )
    shares = model(pixels).softmax(1)
    weights = model.net.get_parameter("weights")
    expected = (shares - F.one_hot(targets, 5)) @ weights
    torch.testing.assert_close(gradient.flatten(1), expected)
    torch.testing.assert_close(max_confidence, shares.gather(1, targets[:, None])[:, 0])


def test_normalized_surrogates_count_alike_however_large_their_gradients_are() -> None:
    small, large = linear(seed=1, scale=1e-3, name="small"), linear(seed=2, scale=1e-1, name="large")
    pixels, targets = to_float(photos(3)), torch.zeros(3, dtype=torch.long)

    def gradient_of(*models: object) -> torch.Tensor:
        team = [model for model in (small, large) if model in models]
        losses, batch = [CrossEntropy(model, targets) for model in team], attack_batch(pixels, targets)
        objective = EnsembleObjective(team, losses, Recipe(views=("center",)), batch)
        return objective.gradient(ModelInputs(pixels, team), ROWS, generators(3))[0]

    torch.testing.assert_close(gradient_of(small, large), (gradient_of(small) + gradient_of(large)) / 2)


def test_an_ensemble_without_surrogates_is_refused() -> None:
    with pytest.raises(UserError, match="stand-in"):
        EnsembleObjective([], [], Recipe(), attack_batch(to_float(photos(1)), torch.tensor([0])))


def test_guard_gradient_on_a_linear_model_is_the_difference_of_its_rows() -> None:
    model, labels = linear(seed=4), torch.tensor([0, 1, 0])
    inputs = ModelInputs(to_float(photos(3)), [model])
    margins, margin_gradient = Guard(model, labels).margin(inputs, ROWS)
    torch.testing.assert_close(margins, margin(model(inputs.pixels.detach()), labels))
    gradient = margin_gradient(torch.tensor([True, True, False])).flatten(1)
    weights = model.net.get_parameter("weights")
    torch.testing.assert_close(gradient[0], weights[0] - weights[1])
    torch.testing.assert_close(gradient[1], weights[1] - weights[0])
    assert not gradient[2].any()


def test_feature_objective_is_the_papers_formula() -> None:
    model, labels = small_cnn(seed=0), torch.tensor([0, 1, 2])
    originals = to_float(photos(3))
    moved = (originals + 0.02 * torch.randn_like(originals)).requires_grad_()
    recipe = Recipe(objective="feature", layer="1", feature_lambda=0.7)
    objective = FeatureObjective(model, recipe, attack_batch(originals, labels))
    gradient, _ = objective.gradient(ModelInputs(moved, [model]), ROWS, generators(3))
    layers = model.net
    assert isinstance(layers, nn.Sequential)
    distance = (layers[:2](moved) - layers[:2](originals)).square().flatten(1).mean(1).sum()
    held = F.cross_entropy(model(moved), labels, reduction="sum")
    (expected,) = torch.autograd.grad(distance - 0.7 * held, moved)
    torch.testing.assert_close(gradient, expected)


def test_feature_objective_only_takes_the_rows_asked_for() -> None:
    model, labels = small_cnn(seed=0), torch.tensor([0, 1, 2])
    originals = to_float(photos(3))
    moved = originals + 0.02
    objective = FeatureObjective(model, Recipe(objective="feature"), attack_batch(originals, labels))
    whole, _ = objective.gradient(ModelInputs(moved, [model]), ROWS, generators(3))
    part, _ = objective.gradient(ModelInputs(moved[1:], [model]), rows(1, 2), generators(2))
    torch.testing.assert_close(part, whole[1:])


def test_auto_layer_is_the_last_feature_map() -> None:
    model = small_cnn(seed=0)
    crop = torch.rand(1, 3, 16, 16)
    assert feature_layer(model, crop, "auto") is model.net.get_submodule("3")
    assert feature_layer(model, crop, "0") is model.net.get_submodule("0")
    with pytest.raises(UserError, match="no layer 'conv1'"):
        feature_layer(model, crop, "conv1")


def test_a_layer_without_a_tensor_as_output_is_refused() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Identity()])
            self.attention = nn.MultiheadAttention(3, 1, batch_first=True)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            tokens = self.layers[0](pixels).flatten(2).transpose(1, 2)
            attended: torch.Tensor = self.attention(tokens, tokens, tokens)[0]
            return attended.mean(1)

    model, batch = classifier(Attention(), 3, "attention"), attack_batch(to_float(photos(1)), torch.tensor([0]))
    for layer, message in (("attention", "MultiheadAttention, gives tuple"), ("layers", "ModuleList, is never called")):
        with pytest.raises(UserError, match=message):
            FeatureObjective(model, Recipe(objective="feature", layer=layer), batch)


def test_auto_layer_needs_a_feature_map() -> None:
    flat = classifier(nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), 2, "flat")
    with pytest.raises(UserError, match="feature map"):
        feature_layer(flat, torch.rand(1, 3, 16, 16), "auto")


def test_models_that_resize_alike_share_a_canvas() -> None:
    first, second = small_cnn(seed=0), small_cnn(seed=1)
    inputs = ModelInputs(torch.rand(1, 3, 40, 50), [first, second])
    assert inputs.canvas(first) is inputs.canvas(second)


def test_the_feature_map_at_half_depth_is_the_middle_one() -> None:
    model = small_cnn(seed=0)  # four maps: convolution, activation, convolution, activation
    crop = torch.rand(1, 3, 16, 16)
    for depth, module in ((0.01, "0"), (0.25, "0"), (0.5, "1"), (0.51, "2"), (1.0, "3")):
        assert feature_layer(model, crop, "auto", depth) is model.net.get_submodule(module)


def test_copies_are_averaged() -> None:
    """One surrogate under `scales`: the mean of the gradients at x, x/2 and x/4, each through its own halving."""
    model, targets = linear(seed=3, classes=5, scale=0.01), torch.tensor([0, 1, 2])
    pixels = to_float(photos(3))
    recipe = Recipe(views=("scales",), copies=3, normalize=False)
    objective = EnsembleObjective([model], [CrossEntropy(model, targets)], recipe, attack_batch(pixels, targets))
    gradient, _ = objective.gradient(ModelInputs(pixels, [model]), ROWS, generators(3))
    weights = model.net.get_parameter("weights")
    expected = sum(
        (model(pixels / 2**copy).softmax(1) - F.one_hot(targets, 5)) @ weights / 2**copy for copy in range(3)
    )
    torch.testing.assert_close(gradient.flatten(1), expected / 3)


def test_nrdm_is_the_squared_distance_of_the_middle_features() -> None:
    model, originals = small_cnn(seed=0), to_float(photos(3))
    moved = originals + 0.02 * torch.randn_like(originals)
    layers = model.net
    assert isinstance(layers, nn.Sequential)
    expected = (layers[:2](moved) - layers[:2](originals)).flatten(1).norm(dim=1) ** 2
    torch.testing.assert_close(FeatureDistance(model, originals, depth=0.5)(moved, ROWS.index).loss, expected)
    part = FeatureDistance(model, originals, depth=0.5)(moved[1:], ROWS.index[1:]).loss
    torch.testing.assert_close(part, expected[1:])


def test_tap_is_the_papers_formula() -> None:
    model, originals, targets = small_cnn(seed=0), to_float(photos(3)), torch.tensor([0, 1, 2])
    moved = originals + 0.02 * torch.randn_like(originals)
    layers = model.net
    assert isinstance(layers, nn.Sequential)

    def root(features: torch.Tensor) -> torch.Tensor:
        return features.sign() * features.abs().sqrt()

    distances = [
        (root(layers[:depth](moved)) - root(layers[:depth](originals))).flatten(1).square().sum(1)
        for depth in (1, 2, 3, 4)
    ]
    box = F.conv2d(moved - originals, torch.full((3, 1, 3, 3), 1 / 9), padding=1, groups=3).abs().flatten(1).sum(1)
    expected = F.cross_entropy(model(moved), targets, reduction="none") + 0.005 * sum(distances) + 0.01 * box
    torch.testing.assert_close(Tap(model, originals, targets)(moved, ROWS.index).loss, expected)


def test_tap_has_a_finite_gradient_at_the_clean_photo_and_at_dead_units() -> None:
    model, originals = small_cnn(seed=0), to_float(photos(2))
    leaf = originals.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(
        Tap(model, originals, torch.zeros(2, dtype=torch.long))(leaf, ROWS.index[:2]).loss.sum(), leaf
    )
    assert torch.isfinite(gradient).all()
