"""Every face of a photo is kept through the deployments of the recipe, not only the largest."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from face_scenes import (
    RECIPE,
    TWO,
    context,
    embedder,
    embeddings,
    mine,
    png,
    protected,
    recognizer,
    started_job,
    tilted,
)
from msgspec import UNSET
from records import faces_of
from torch import Tensor

from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.processing import recompress
from onlymymodel.evaluate.verify import verify_folder
from onlymymodel.protect.attack.attack import protect_rows
from onlymymodel.protect.attack.deployed_margins import DeployedMargins
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.faces import find_same_faces, predict_faces
from onlymymodel.protect.folder import Job, protect_folder
from onlymymodel.protect.photo import rows_to_restore
from onlymymodel.protect.photo_outcome import face_deployment_margins
from onlymymodel.protect.photo_record import MANIFEST
from onlymymodel.protect.predictions import predict_photo
from onlymymodel.surrogates.answers import margin
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.face_detector import find_faces
from onlymymodel.surrogates.gallery import GalleryHead
from onlymymodel.surrogates.load import load_model

KEPT = ("jpeg-50", "half-and-back")


def landmarks(pixels: Tensor) -> list[Tensor]:
    found = find_same_faces(pixels, [face.box for face in find_faces(TWO)])
    return [points for points in found if points is not None]


def barely() -> Classifier:
    """Reads ann clearly and bob by little: as written after a change, but no longer through JPEG 50."""
    network = embedder(1)
    sure = embeddings(network, TWO)
    card = replace(mine().card, uri="barely", sha256="barely")
    return Classifier(GalleryHead(network, torch.stack([sure[0], tilted(sure, 0.97, 0)[1]]), 0.93), card)


def test_faces_that_are_measured_together_have_their_own_margins() -> None:
    pixels, deployed = to_tensor(TWO), DeployedMargins(mine(), ("mirror", *KEPT, "shift-right"))
    faces = list(enumerate(landmarks(pixels)))
    together = deployed.measure_faces(pixels, faces)
    assert together == [
        pytest.approx(deployed.measure(pixels, label, landmarks=points), abs=1e-4) for label, points in faces
    ]
    assert together[0] != together[1]
    assert deployed.measure_faces(pixels, []) == []


def test_the_record_has_the_margins_of_every_other_face_on_the_written_file() -> None:
    after, record = protected(png(TWO), recipe=replace(RECIPE, keep_through=KEPT))
    first, second = faces_of(record)
    assert (first.deployments, second.area) == (UNSET, "changed")
    assert second.promised.keys() == set(KEPT)
    received = to_tensor(recompress(after, codec="JPEG", quality=50))[None].float() / 255
    points = landmarks(to_tensor(after))[1]
    with torch.no_grad():
        expected = margin(mine().at(received, points[None]), torch.tensor([1]))
    assert second.promised["jpeg-50"].after == pytest.approx(float(expected), abs=1e-3)
    assert min(margins.after for margins in second.promised.values()) > 0


def test_a_face_that_a_deployment_would_lose_is_put_back() -> None:
    """The second face is changed so that it is lost after JPEG 50, but read as written and at half the size."""
    models = {"authorized": barely(), "surrogates": (recognizer(2, threshold=0.95),)}
    lost = to_tensor(protected(png(TWO), **models, recipe=replace(RECIPE, kappa=0.0, repair_steps=0))[0])
    recipe = replace(RECIPE, kappa=0.0, keep_through=("jpeg-50", "half"))
    chosen = context(**models, recipe=recipe)
    job = started_job(TWO, **models, recipe=recipe)
    for row in (0, 1):
        job.apply_row(row, lost)
    after = predict_photo(lost, job.label, chosen, job.original, job.objects)
    faces_after = predict_faces(lost, landmarks(lost), job.original, job.faces, after, chosen)
    of_faces = face_deployment_margins(job, lost, landmarks(lost), chosen)
    assert of_faces[1]["half"].after > 0 >= of_faces[1]["jpeg-50"].after
    assert rows_to_restore(job, lost, after, faces_after, {}, of_faces, chosen) == {1}
    del of_faces[1]["jpeg-50"]
    assert rows_to_restore(job, lost, after, faces_after, {}, of_faces, chosen) == set()


def test_every_row_is_repaired_through_the_deployments_that_read_its_own_face() -> None:
    chosen = context(recipe=replace(RECIPE, keep_through=("mirror", *KEPT)))
    job = started_job(TWO, recipe=chosen.recipe)
    assert job.clean_margins[1] == DeployedMargins(mine(), ("mirror", *KEPT)).measure(
        job.original, 1, landmarks=job.faces[1].landmarks
    )
    assert [job.attack_row(row, chosen).deployments for row in (0, 1)] == [KEPT, KEPT]  # none is read in a mirror


@pytest.mark.slow
def test_verify_names_a_face_that_is_lost_through_a_recorded_deployment(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "two.png").write_bytes(png(TWO))
    uris = {"authorized": "python:face_scenes:mine", "surrogates": ["python:face_scenes:theirs"]}
    authorized, surrogate = (load_model(f"python:face_scenes:{name}", allow_python=True) for name in ("mine", "theirs"))
    models = {"authorized": authorized, "surrogates": (surrogate,)}
    chosen, out = context(**models, recipe=replace(RECIPE, keep_through=("jpeg-50",))), tmp_path / "out"
    assert protect_folder(Job(tmp_path / "photos", out, chosen, uris), progress=False).all_protected
    assert verify_folder(out, allow_python=True, progress=False).faults == ()
    line = json.loads((out / MANIFEST).read_text())
    # this model reads no mirrored face
    line["faces"][1]["deployments"]["mirror"] = {"before": 1.0, "after": 1.0}
    (out / MANIFEST).write_text(json.dumps(line) + "\n")
    (fault,) = verify_folder(out, allow_python=True, progress=False).faults
    assert fault.reason.startswith("the authorized model misreads the face of bob through mirror (margin -")


@pytest.mark.parametrize("number", [0, 1])
def test_a_face_is_repaired_where_models_find_it_on_the_changed_photo(number: int) -> None:
    settings = context()
    row = started_job(TWO).attack_row(number, settings)
    ((quantized, *_),) = protect_rows(
        [row], (TWO.shape[0], TWO.shape[1]), authorized=settings.authorized, surrogates=settings.surrogates,
        recipe=settings.recipe,
    )  # fmt: skip
    before, after = landmarks(row.original)[number], landmarks(quantized.pixels)[number]
    assert not torch.equal(before, after)
    logits = settings.authorized.at(to_float(quantized.pixels[None]), after[None])
    assert quantized.margin == pytest.approx(float(margin(logits, torch.tensor([row.label]))), abs=1e-4)


def test_a_face_that_is_lost_by_a_change_gets_a_smaller_one() -> None:
    settings = context()
    row = started_job(TWO).attack_row(1, settings)

    def largest_change(pixels: Tensor) -> int:
        return int((pixels.int() - row.original.int()).abs().max())

    found = landmarks(row.original)[1]
    easily_lost = replace(row, locate=lambda pixels: None if largest_change(pixels) > 8 else found)
    ((quantized, *_),) = protect_rows(
        [easily_lost], (TWO.shape[0], TWO.shape[1]), authorized=settings.authorized, surrogates=settings.surrogates,
        recipe=settings.recipe,
    )  # fmt: skip
    assert quantized.admissible
    assert largest_change(quantized.pixels) == 8  # half of the budget
