"""The conditioned generator of network inversion."""

import pytest
import torch

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.weights.generator import (
    ConditionedGenerator,
    draw_codes,
    draw_soft_vectors,
    hot_conditioning_matrix,
)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_hot_matrix_is_one_in_the_row_and_the_column_of_its_class() -> None:
    assert hot_conditioning_matrix(torch.tensor([1]), 3).tolist() == [[[0, 1, 0], [1, 1, 1], [0, 1, 0]]]


def test_soft_vector_is_a_distribution_with_its_largest_entry_at_the_label() -> None:
    labels = torch.arange(7).repeat(20)
    soft = draw_soft_vectors(labels, 7, stream())
    plain = torch.softmax(10 * torch.randn(140, 7, generator=stream()), 1)
    assert torch.equal(soft.argmax(1), labels)
    assert torch.equal(soft.sort(1).values, plain.sort(1).values)


@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 16, 10), (3, 33, 2), (1, 8, 64)])
def test_generated_picture_depends_only_on_its_own_code(channels: int, size: int, classes: int) -> None:
    labels = torch.arange(5) % classes
    torch.manual_seed(0)
    generator = ConditionedGenerator(channels, size, classes)
    together = generator(draw_codes(labels, classes, stream()))
    assert together.shape == (5, channels, size, size)
    codes = draw_codes(labels, classes, stream())
    alone = generator(type(codes)(codes.latent[3:4], codes.soft[3:4], codes.labels[3:4]))
    torch.testing.assert_close(alone[0], together[3])


def test_generated_picture_depends_on_the_matrix() -> None:
    torch.manual_seed(0)
    generator, codes = ConditionedGenerator(1, 16, 4), draw_codes(torch.tensor([2]), 4, stream())
    other = type(codes)(codes.latent, codes.soft, torch.tensor([3]))
    assert not torch.allclose(generator(codes), generator(other), atol=1e-3)


@pytest.mark.parametrize("classes", [0, 1, 65])
def test_generator_refuses_too_few_and_too_many_classes(classes: int) -> None:
    with pytest.raises(UserError, match=f"2 to 64 classes, not {classes},"):
        ConditionedGenerator(1, 16, classes)
