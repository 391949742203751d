"""Face networks get an aligned face from anywhere on the photo, and gradients reach its pixels."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from records import answers_of
from skimage.transform import SimilarityTransform
from torch import Tensor, nn

from onlymymodel.data.image_io import decode
from onlymymodel.data.portraits import render
from onlymymodel.protect.attack.model_inputs import LANDMARK_JITTER, jitter_landmarks
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.photo import Context, PhotoSource, protect_photos
from onlymymodel.protect.photo_record import WRITTEN
from onlymymodel.protect.region import Region
from onlymymodel.surrogates.alignment import align_faces, arcface_template, fit_similarity, main_faces
from onlymymodel.surrogates.classifier import Classifier, ModelCard, Preprocess
from onlymymodel.surrogates.load import load_model

ALIGN = Preprocess(height=112, width=96, fit="align", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=4), nn.GELU(), nn.Conv2d(8, 8, 5, stride=4), nn.GELU(), nn.Flatten(), nn.LazyLinear(3)
    )


def reader(seed: int, preprocess: Preprocess = ALIGN) -> Classifier:
    network = net(seed)
    network(torch.zeros(1, 3, preprocess.height, preprocess.width))
    card = ModelCard(f"reader-{seed}", f"sha-{seed}", 3, preprocess, task="toy")
    return Classifier(network, card)


def scene(left: int, top: int, side: int = 160) -> NDArray[np.uint8]:
    """A portrait on a large plain ground."""
    picture = np.full((260, 380, 3), 90, np.uint8)
    picture[top : top + side, left : left + side] = render(2, 0, 5, side)
    return picture


def pixels_of(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def test_a_known_similarity_is_found_and_the_nearest_otherwise() -> None:
    points = np.random.default_rng(0).normal(size=(5, 2)) * 20 + 100
    angle, scale = 0.3, 1.7
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = fit_similarity(points, points @ turn.T + np.array([3.0, -8.0]))
    np.testing.assert_allclose(matrix, np.column_stack([turn, [3.0, -8.0]]), atol=1e-9)
    noisy = points + np.random.default_rng(1).normal(size=(5, 2))
    reference = SimilarityTransform.from_estimate(noisy, arcface_template(112, 96))
    np.testing.assert_allclose(fit_similarity(noisy, arcface_template(112, 96)), reference.params[:2], atol=1e-6)


def test_the_template_is_arcfaces_in_the_middle_of_the_input() -> None:
    assert arcface_template(112, 112)[0].tolist() == [38.2946, 51.6963]
    assert arcface_template(160, 160)[2].tolist() == pytest.approx([80.0252, 95.7366])
    assert arcface_template(112, 96)[4].tolist() == pytest.approx([62.7299, 92.2041])


def test_the_warp_is_pillows() -> None:
    image = scene(90, 40)
    pixels = pixels_of(image)
    (points,) = main_faces(pixels)
    matrix = np.vstack([fit_similarity(points.double().numpy(), arcface_template(160, 160)), [0, 0, 1]])
    inverse = tuple(np.linalg.inv(matrix)[:2].ravel())
    wanted = Image.fromarray(image).transform((160, 160), Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC)
    warped = align_faces(pixels, 160, 160).clamp(0, 1)
    difference = (warped - pixels_of(np.asarray(wanted))).abs()
    assert difference.mean() < 1 / 255  # the two bicubic kernels differ by their parameter


def test_landmarks_come_to_lie_on_the_template() -> None:
    """A photo that is 1 at the nose alone: its center of mass after the warp is the template's nose."""
    points = main_faces(pixels_of(scene(90, 40)))
    spot = torch.zeros(1, 3, 260, 380)
    x, y = points[0, 2].round().int().tolist()
    spot[:, :, y, x] = 1
    warped = align_faces(spot, 160, 160, points)[0, 0].clamp_min(0)
    rows, columns = torch.meshgrid(torch.arange(160) + 0.5, torch.arange(160) + 0.5, indexing="ij")
    middle = torch.stack([(warped * columns).sum(), (warped * rows).sum()]) / warped.sum()
    expected = fit_similarity(points[0].double().numpy(), arcface_template(160, 160)) @ np.array(
        [x + 0.5, y + 0.5, 1.0]
    )
    np.testing.assert_allclose(middle.numpy(), expected, atol=0.1)


def test_the_gradient_is_the_adjoint_of_the_warp_and_stays_on_the_face() -> None:
    photo = pixels_of(scene(200, 60)).double().requires_grad_()
    points = main_faces(photo)
    warped = align_faces(photo, 112, 96, points)
    weights = torch.rand_like(warped)
    (gradient,) = torch.autograd.grad((warped * weights).sum(), photo)
    torch.testing.assert_close((gradient * photo).sum(), (warped * weights).sum())
    touched = gradient.abs().sum((0, 1)) > 0
    assert touched[60:220, 200:360].any()
    assert not touched[:, :150].any()


def test_a_face_is_read_wherever_it_is() -> None:
    model = reader(1)
    here, there = (model(pixels_of(scene(*position))) for position in ((10, 10), (190, 80)))
    elsewhere = model(ALIGN.center(torch.rand(1, 3, 112, 96)))
    assert (here - there).norm() < 0.1 * (here - elsewhere).norm()
    torch.testing.assert_close(model(pixels_of(scene(10, 10)).repeat(3, 1, 1, 1))[1:2], here)


def test_a_photo_without_a_face_is_seen_whole() -> None:
    plain = torch.rand(1, 3, 112, 96)
    assert torch.isnan(main_faces(plain)).all()
    torch.testing.assert_close(ALIGN.canvas(plain), plain, atol=1e-4, rtol=0)
    gray = torch.rand(2, 1, 40, 50)
    assert ALIGN.canvas(gray).shape == (2, 3, 112, 96)


def context(**changes: Any) -> Context:
    recipe = make_recipe("default", steps=4, step_share=0.5, views=("center", "affine"), kappa=0.0)
    return Context(reader(1), (reader(2), reader(3)), Budget(16 / 255), recipe, **changes)


def bytes_of(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def test_only_what_the_models_see_of_a_face_is_changed_and_judged_after_a_new_search() -> None:
    image = scene(200, 60)
    ((data, record),) = protect_photos([PhotoSource(bytes_of(image))], context())
    assert record.status in WRITTEN, record.reason
    assert data is not None
    written = decode(data).pixels
    changed = (written != image).any(axis=2)
    assert changed[60:220, 200:360].mean() > 0.2
    assert not changed[:, :150].any()
    answer = int(reader(1)(pixels_of(written)).argmax())  # found, aligned and read on the decoded file
    assert answers_of(record).answer_after == record.label == answer


def test_landmarks_err_by_a_share_of_the_eyes_distance_each_photo_by_its_own_draw() -> None:
    assert jitter_landmarks(None, []) is None
    faces = torch.tensor(arcface_template(112, 112)).float().repeat(400, 1, 1)
    faces[1] *= 4
    faces[2] = torch.nan
    moved = jitter_landmarks(faces, [torch.Generator().manual_seed(row) for row in range(400)])
    assert moved is not None
    eyes = float(faces[0, 1, 0] - faces[0, 0, 0])
    assert float((moved - faces)[3:].std()) == pytest.approx(LANDMARK_JITTER * eyes, rel=0.05)
    assert torch.isnan(moved[2]).all()
    again = jitter_landmarks(faces[1:2], [torch.Generator().manual_seed(1)])
    assert again is not None
    torch.testing.assert_close(again[0], moved[1])
    larger, same = (moved - faces)[1], jitter_landmarks(faces[:1], [torch.Generator().manual_seed(1)])
    assert same is not None
    torch.testing.assert_close(larger, 4 * (same[0] - faces[0]), atol=1e-3, rtol=0)


@pytest.mark.slow
def test_a_large_photo_is_warped_from_its_own_pixels() -> None:
    large = np.asarray(Image.fromarray(scene(100, 50)).resize((380 * 3, 260 * 3), Image.Resampling.BICUBIC))
    ((data, record),) = protect_photos([PhotoSource(bytes_of(large))], context())
    assert record.status in WRITTEN, record.reason
    assert data is not None
    assert decode(data).pixels.shape == large.shape


def test_a_photo_without_a_face_is_skipped_unless_the_user_chooses_the_whole_image() -> None:
    plain = np.random.default_rng(3).integers(60, 200, (90, 120, 3), dtype=np.uint8)
    ((nothing, record),) = protect_photos([PhotoSource(bytes_of(plain))], context())
    assert (nothing, record.status, record.reason) == (None, "skipped", "no face was found")
    ((_, record),) = protect_photos([PhotoSource(bytes_of(plain))], context(region=Region(no_face="image")))
    assert record.status in (*WRITTEN, "unchanged")
    assert record.authorized is not None


def test_the_fit_is_an_option_of_every_model() -> None:
    model = load_model("zoo:identity-plain?fit=align&size=112")
    assert (model.card.preprocess.fit, model.card.preprocess.height) == ("align", 112)
