"""Photos of several people: each face is protected in its own area and is still read by the authorized model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from face_scenes import (
    ALIGN,
    ALONE,
    RECIPE,
    TWO,
    Pixels,
    context,
    crops,
    embedder,
    embeddings,
    mine,
    png,
    protected,
    read,
    recognizer,
    scene,
    started_job,
    tilted,
)
from PIL import Image
from records import answers_of, faces_of, without_seconds
from torch import Tensor, nn
from toys import PLAIN, classifier

from onlymymodel.cli.given import settings_given
from onlymymodel.cli.main import build_parser, main
from onlymymodel.data.image_io import decode
from onlymymodel.data.manifest import sha256
from onlymymodel.data.pixels import to_tensor
from onlymymodel.errors import UserError
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.faces import nearest_face
from onlymymodel.protect.photo import PhotoSource, protect_photos
from onlymymodel.protect.photo_job import PhotoJob
from onlymymodel.protect.photo_record import PhotoManifest, PhotoRecord
from onlymymodel.protect.region import Area, Region
from onlymymodel.settings import RunSettings
from onlymymodel.surrogates.alignment import main_faces
from onlymymodel.surrogates.classifier import Classifier, ModelCard
from onlymymodel.surrogates.deployments import DEPLOYMENTS
from onlymymodel.surrogates.face_detector import find_faces
from onlymymodel.surrogates.gallery import GalleryHead


def test_every_face_is_protected_and_still_read_by_one_model() -> None:
    after, record = protected(png(TWO))
    assert [face.label_name for face in faces_of(record)] == ["ann", "bob"]
    for label, face in enumerate(faces_of(record)):
        assert face.area == "changed"
        assert face.label == answers_of(face).answer_before == answers_of(face).answer_after == label
        assert read(mine(), after, face.box) == label
        for answers, model in zip(face.surrogates, context().surrogates, strict=True):
            assert answers.answer_before == answers.pushed_from == label
            assert answers.answer_after == read(model, after, face.box) == 2  # stranger
    assert np.abs(after.astype(int) - TWO).max() == record.linf == 16


def test_the_largest_alone_leaves_the_others_readable_and_has_no_list() -> None:
    after, record = protected(png(TWO), region=Region(faces="largest"))
    assert record.faces is None
    first, second = (face.box for face in find_faces(TWO))
    for model in context().surrogates:
        assert (read(model, after, first), read(model, after, second)) == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "face"])
def test_a_photo_of_one_person_gives_the_same_bytes_either_way(kind: Any) -> None:
    results = [
        protect_photos([PhotoSource(png(ALONE))], context(region=Region(kind, faces=faces)))[0]
        for faces in ("all", "largest")
    ]
    (first, record), (second, other) = results
    assert first == second
    assert first is not None
    assert without_seconds(record) == without_seconds(other)
    assert record.faces is None


def test_areas_go_to_the_nearest_box_and_a_box_inside_another_has_its_own() -> None:
    boxes = [(2.0, 3.0, 30.0, 24.0), (33.0, 8.0, 39.0, 15.0), (10.0, 10.0, 14.0, 14.0)]
    owner = nearest_face(boxes, 26, 40)
    for y in range(26):
        for x in range(40):
            distances = [
                max(left - x - 0.5, 0, x + 0.5 - right) ** 2 + max(top - y - 0.5, 0, y + 0.5 - bottom) ** 2
                for left, top, right, bottom in boxes
            ]
            assert distances[owner[y, x]] == min(distances)
    assert (owner[10:14, 10:14] == 2).all()
    assert (owner[3:10, 2:30] == 0).all()


def mask_of(job: PhotoJob, row: int) -> Tensor:
    mask = job.mask(row)
    assert mask is not None
    return mask


def test_rows_share_no_pixel_and_cover_the_region() -> None:
    job = started_job(TWO)
    assert torch.equal(mask_of(job, 0) + mask_of(job, 1), torch.ones(1, 260, 420))
    mask = np.zeros(TWO.shape[:2], np.uint8)
    mask[100:200, 150:350] = 1
    job.area = Area(mask)
    assert torch.equal(mask_of(job, 0) + mask_of(job, 1), torch.from_numpy(mask)[None].float())


@pytest.mark.slow
def test_a_mask_holds_for_every_face() -> None:
    mask = np.zeros((*TWO.shape[:2], 1), np.uint8)
    mask[70:190, 40:380] = 255
    source = PhotoSource(png(TWO), mask=png(mask))
    ((data, record),) = protect_photos([source], context(region=Region("mask")))
    assert record.status == "protected", record.reason
    assert data is not None
    changed = (decode(data).pixels != TWO).any(axis=2)
    assert not changed[mask[..., 0] == 0].any()
    assert [face.area for face in faces_of(record)] == ["changed", "changed"]
    assert changed[:, :200].any()
    assert changed[:, 250:].any()


def test_whom_no_surrogate_recognizes_is_left_as_is() -> None:
    after, record = protected(png(TWO), surrogates=(recognizer(2, known=(0,), threshold=0.95),))
    first, second = faces_of(record)
    assert (first.area, second.area) == ("changed", "untouched")
    assert second.surrogates[0].pushed_from is None
    owner = nearest_face([face.box for face in find_faces(TWO)], *TWO.shape[:2])
    assert np.array_equal(after[owner == 1], TWO[owner == 1])


@pytest.mark.slow
def test_a_face_that_the_authorized_model_would_misread_is_restored() -> None:
    """The surrogate has the authorized model's weights; ann is recognized clearly, bob barely; there is no guard."""
    network = embedder(1)
    sure, unsure = embeddings(network, TWO), tilted(embeddings(network, TWO), 0.9, 0)
    card = replace(mine().card, uri="hardly", sha256="hardly")
    authorized = Classifier(GalleryHead(network, torch.stack([sure[0], unsure[1]]), 0.898), card)
    surrogate = Classifier(GalleryHead(network, unsure, 0.898), card)
    recipe = replace(RECIPE, guard=False, repair_steps=0, kappa=0.0)
    models = {"authorized": authorized, "surrogates": (surrogate,)}
    after, record = protected(png(TWO), **models, recipe=recipe, budget=Budget(4 / 255))
    first, second = faces_of(record)
    assert (first.area, second.area) == ("changed", "put back")
    assert answers_of(second).answer_after == second.label == 1
    assert second.surrogates[0].answer_after == 1  # as readable as it was
    owner = nearest_face([face.box for face in find_faces(TWO)], *TWO.shape[:2])
    assert np.array_equal(after[owner == 1], TWO[owner == 1])
    assert (after != TWO)[owner == 0].any()


class Brightness(nn.Module):
    """Two classes: bright where the mean of the whole input is above a limit, else dark."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, pixels: Tensor) -> Tensor:
        bright = 100 * (pixels.mean((1, 2, 3)) - self.limit)
        return torch.stack([bright, -bright], dim=1)


@pytest.mark.slow
def test_a_model_that_reads_the_whole_photo_judges_all_faces_together() -> None:
    """Darkening either face keeps the photo bright, darkening both does not: the largest alone is changed."""
    picture = scene((3, 10, 20, 210), (3, 240, 60, 150))
    limit = float((2 * crops(picture) - 1).mean((1, 2, 3)).min()) - 0.02
    surrogate = Classifier(Brightness(limit), ModelCard("bright", "bright", 2, ALIGN, "light", ("bright", "dark")))
    recipe = replace(RECIPE, guard=False, repair_steps=0, kappa=0.0)

    def darkened(limit: float) -> tuple[Pixels, PhotoRecord]:
        authorized = classifier(Brightness(limit), 2, "whole")
        return protected(png(picture), authorized=authorized, surrogates=(surrogate,), recipe=recipe)

    def mean(version: Pixels) -> float:
        return float(PLAIN.canvas(to_tensor(version)[None].float() / 255).mean())

    both, record = darkened(0.0)
    assert [face.area for face in faces_of(record)] == ["changed", "changed"]
    owner = nearest_face([face.box for face in find_faces(picture)], *picture.shape[:2])
    first = np.where(owner[..., None] == 0, both, picture)
    after, record = darkened((mean(first) + mean(both)) / 2)
    assert [face.area for face in faces_of(record)] == ["changed", "put back"]
    assert [face.authorized for face in faces_of(record)] == [None, None]
    assert np.array_equal(after, first)


@pytest.mark.slow
def test_other_faces_are_restored_where_a_deployment_would_lose_the_photo() -> None:
    """As above, but it is after gamma 1.1 that darkening both faces leaves the photo dark."""
    picture = scene((3, 10, 20, 210), (3, 240, 60, 150))
    limit = float((2 * crops(picture) - 1).mean((1, 2, 3)).min()) - 0.02
    surrogate = Classifier(Brightness(limit), ModelCard("bright", "bright", 2, ALIGN, "light", ("bright", "dark")))
    recipe = replace(RECIPE, guard=False, repair_steps=0, kappa=0.0, keep_through=("gamma-1.1",))

    def darkened(limit: float) -> tuple[Pixels, PhotoRecord]:
        authorized = classifier(Brightness(limit), 2, "whole")
        return protected(png(picture), authorized=authorized, surrogates=(surrogate,), recipe=recipe)

    def mean(version: Pixels) -> float:
        sent = DEPLOYMENTS["gamma-1.1"].apply(version)
        return float(PLAIN.canvas(to_tensor(sent)[None].float() / 255).mean())

    both, record = darkened(0.0)
    assert [face.area for face in faces_of(record)] == ["changed", "changed"]
    owner = nearest_face([face.box for face in find_faces(picture)], *picture.shape[:2])
    first = np.where(owner[..., None] == 0, both, picture)
    after, record = darkened((mean(first) + mean(both)) / 2)
    assert record.status == "protected"
    assert [face.area for face in faces_of(record)] == ["changed", "put back"]
    assert np.array_equal(after, first)
    assert record.promised["gamma-1.1"].after > 0


@pytest.mark.slow
def test_chunks_and_neighbors_change_no_byte() -> None:
    """The second surrogate knows ann alone: in a chunk it is shown some rows and not the others."""
    gray = np.asarray(Image.fromarray(TWO).convert("L"))[..., None]
    team = context(surrogates=(recognizer(2, threshold=0.95), recognizer(3, known=(0,), threshold=0.95)))
    for pictures in ((TWO, ALONE), (gray, gray[:, ::-1])):
        sources = [PhotoSource(png(picture)) for picture in pictures]
        together, by_one = protect_photos(sources, team), protect_photos(sources, team, None, 1)
        assert [data for data, _ in together] == [data for data, _ in by_one]
        assert [data for data, _ in together] == [protect_photos([source], team)[0][0] for source in sources]
        assert [without_seconds(record) for _, record in together] == [without_seconds(record) for _, record in by_one]
    pushed = [sign.tolist() for sign in started_job(TWO, surrogates=team.surrogates).targets.signs]
    assert pushed == [[1, 1], [1, 0]]


def test_other_faces_move_toward_the_target_class_and_the_target_person_away() -> None:
    picture = scene((3, 0, 10, 210), (5, 210, 10, 150), (8, 270, 165, 95), size=(260, 400))
    authorized, surrogate = (
        recognizer(1, (0, 1, 2), picture=picture),
        recognizer(2, (1, 0), picture=picture),  # bob first, and cem is a stranger
    )
    recipe = replace(RECIPE, toward="bob")
    job = started_job(picture, authorized=authorized, surrogates=(surrogate,), recipe=recipe)
    assert [person.label for person in job.faces] == [0, 1, 2]
    assert job.targets.classes[0].tolist()[:2] == [0, 0]  # ann toward bob, bob away from bob
    assert job.targets.signs[0].tolist() == [-1, 1, 0]
    assert job.rows(context(authorized=authorized, surrogates=(surrogate,), recipe=recipe)) == [0, 1]


def test_models_that_read_the_whole_photo_belong_to_the_first_row() -> None:
    whole = classifier(Brightness(0.5), 2, "whole")
    job = started_job(TWO, surrogates=(recognizer(2), whole))
    assert [sign.tolist() for sign in job.targets.signs] == [[1, 1], [1, 0]]
    assert started_job(TWO, surrogates=(whole,)).faces == []  # no attacked model aligns faces
    fmd = replace(make_recipe("fmd", steps=2), kappa=0.0)
    job = started_job(TWO, surrogates=(), recipe=fmd)
    assert job.rows(context(surrogates=(), recipe=fmd)) == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["tap", "nrdm", "fmd", "svre"])
def test_every_recipe_reads_each_face_at_its_own_place(recipe: str) -> None:
    """The clean features are those of the row's own face: with them a change of nothing is at distance zero."""
    chosen = make_recipe(recipe, steps=3, guard=True, kappa=0.0, layer="embedder.0", depth=0.5)
    ((_, record),) = protect_photos([PhotoSource(png(TWO))], context(recipe=chosen))
    assert [face.area for face in faces_of(record)] == ["changed", "changed"]
    assert all(answers_of(face).answer_after == face.label for face in faces_of(record))


def test_invalid_choices_are_refused_and_all_is_the_default() -> None:
    with pytest.raises(UserError, match="all, largest"):
        Region(faces="some")  # type: ignore[arg-type]
    arguments = build_parser().parse_args(["protect", "a", "--out", "b"])
    assert settings_given(arguments).faces is None
    assert RunSettings("zoo:a").faces == Region().faces == "all"


def test_the_order_of_the_faces_is_the_models_own() -> None:
    points = main_faces(to_tensor(TWO)[None].float() / 255)
    assert torch.equal(started_job(TWO).faces[0].landmarks, points[0])


@pytest.mark.slow
def test_verify_asks_about_everybody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    source.mkdir()
    (source / "two.png").write_bytes(png(TWO))
    words = ["protect", str(source), "--out", str(out), "--authorized", "python:face_scenes:mine"]
    words += ["--surrogate", "python:face_scenes:theirs", "--allow-python", "--quiet", "--device", "cpu"]
    words += ["--recipe", "exact", "--steps", "4", "--views", "center", "--kappa", "0.5", "--epsilon", "16"]
    words += ["--shape", "even"]
    assert main(words) == 0
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 0
    (record,) = PhotoManifest(out).load()
    assert [face.label_name for face in faces_of(record)] == ["ann", "bob"]
    spoiled = decode((out / "two.png").read_bytes()).pixels.copy()
    left, top, right, bottom = (round(edge) for edge in faces_of(record)[1].box)
    spoiled[top - 20 : bottom + 20, left - 20 : right + 20] = 90
    (out / "two.png").write_bytes(png(spoiled))
    PhotoManifest(out).append(replace(record, output_sha256=sha256(png(spoiled))))
    capsys.readouterr()
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 1
    assert "the face of bob is not found any more" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "budget",
    [Budget(16 / 255, psnr=42.0), Budget(16 / 255, l2=4.0), Budget(16 / 255, ssim=0.97, shape="texture")],
)
def test_several_faces_share_the_budget_of_one_photo(budget: Budget) -> None:
    written, record = protected(png(TWO), budget=budget)
    assert [face.area for face in faces_of(record)] == ["changed", "changed"]
    assert budget.violations(to_tensor(written), to_tensor(TWO)) == []
    job = started_job(TWO, budget=budget)
    own = [job.budget(row, context(budget=budget)) for row in (0, 1)]
    areas = [int(mask_of(job, row).sum()) for row in (0, 1)]
    assert own == [budget.for_fraction(area / sum(areas)) for area in areas]
    for row, part in enumerate(own):
        changed = torch.where(mask_of(job, row) > 0, to_tensor(written), job.original)
        assert not torch.equal(changed, job.original)
        assert part.violations(changed, job.original) == []
