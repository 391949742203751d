"""Photos of several people: every face has an area of its own, is protected there, and still read by one model."""

import json
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
    begun,
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
    tilted,
)
from PIL import Image
from torch import Tensor, nn
from toys import PLAIN, classifier

from onlymymodel.arguments import photo_settings_of
from onlymymodel.cli import build_parser, main
from onlymymodel.data.image_io import decode
from onlymymodel.data.manifest import Manifest, sha256
from onlymymodel.errors import UserError
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.people import nearest_box
from onlymymodel.protect.photo import Source, protect_photos, to_tensor
from onlymymodel.protect.recipe import make_recipe
from onlymymodel.protect.region import Area, Region
from onlymymodel.run_file import RunFile
from onlymymodel.surrogates.alignment import main_faces
from onlymymodel.surrogates.classifier import Classifier, ModelCard
from onlymymodel.surrogates.faces import find_faces
from onlymymodel.surrogates.gallery import GalleryHead


def test_every_face_is_protected_and_still_read_by_one_model() -> None:
    after, record = protected(png(TWO))
    assert [face["label_name"] for face in record["faces"]] == ["ann", "bob"]
    for label, face in enumerate(record["faces"]):
        assert face["area"] == "changed"
        assert face["label"] == face["authorized"]["answer_before"] == face["authorized"]["answer_after"] == label
        assert read(mine(), after, face["box"]) == label
        for said, model in zip(face["surrogates"], context().surrogates, strict=True):
            assert said["answer_before"] == said["pushed_from"] == label
            assert said["answer_after"] == read(model, after, face["box"]) == 2  # nobody
    assert np.abs(after.astype(int) - TWO).max() == record["linf"] == 16


def test_the_largest_alone_leaves_the_others_readable_and_has_no_list() -> None:
    after, record = protected(png(TWO), region=Region(faces="largest"))
    assert record["faces"] is None
    first, second = (face.box for face in find_faces(TWO))
    for model in context().surrogates:
        assert (read(model, after, first), read(model, after, second)) == (2, 1)


@pytest.mark.parametrize("kind", ["image", "face"])
def test_a_photo_of_one_person_gives_the_same_bytes_either_way(kind: Any) -> None:
    results = [
        protect_photos([Source(png(ALONE))], context(region=Region(kind, faces=faces)))[0]
        for faces in ("all", "largest")
    ]
    (first, record), (second, other) = results
    assert first == second
    assert first is not None
    assert {**record, "seconds": 0} == {**other, "seconds": 0}
    assert record["faces"] is None


def test_areas_go_to_the_nearest_box_and_a_box_inside_another_has_its_own() -> None:
    boxes = [(2.0, 3.0, 30.0, 24.0), (33.0, 8.0, 39.0, 15.0), (10.0, 10.0, 14.0, 14.0)]
    owner = nearest_box(boxes, 26, 40)
    for y in range(26):
        for x in range(40):
            distances = [
                max(left - x - 0.5, 0, x + 0.5 - right) ** 2 + max(top - y - 0.5, 0, y + 0.5 - bottom) ** 2
                for left, top, right, bottom in boxes
            ]
            assert distances[owner[y, x]] == min(distances)
    assert (owner[10:14, 10:14] == 2).all()
    assert (owner[3:10, 2:30] == 0).all()


def test_rows_share_no_pixel_and_leave_none_but_the_regions_out() -> None:
    work = begun(TWO)
    assert torch.equal(work.mask(0) + work.mask(1), torch.ones(1, 260, 420))
    mask = np.zeros(TWO.shape[:2], np.uint8)
    mask[100:200, 150:350] = 1
    work.area = Area(mask)
    assert torch.equal(work.mask(0) + work.mask(1), torch.from_numpy(mask)[None].float())


def test_a_mask_holds_for_every_face() -> None:
    mask = np.zeros((*TWO.shape[:2], 1), np.uint8)
    mask[70:190, 40:380] = 255
    source = Source(png(TWO), mask=png(mask))
    ((data, record),) = protect_photos([source], context(region=Region("mask")))
    assert record["status"] == "protected", record["reason"]
    assert data is not None
    changed = (decode(data).pixels != TWO).any(axis=2)
    assert not changed[mask[..., 0] == 0].any()
    assert [face["area"] for face in record["faces"]] == ["changed", "changed"]
    assert changed[:, :200].any()
    assert changed[:, 250:].any()


def test_whom_no_surrogate_recognizes_is_left_as_is() -> None:
    after, record = protected(png(TWO), surrogates=(recognizer(2, known=(0,), threshold=0.95),))
    first, second = record["faces"]
    assert (first["area"], second["area"]) == ("changed", "untouched")
    assert second["surrogates"][0]["pushed_from"] is None
    owner = nearest_box([face.box for face in find_faces(TWO)], *TWO.shape[:2])
    assert np.array_equal(after[owner == 1], TWO[owner == 1])


def test_a_face_that_the_authorized_model_would_lose_is_put_back() -> None:
    """The surrogate has the authorized model's own eyes; ann is known well, bob by a hair, and nobody guards."""
    network = embedder(1)
    sure, unsure = embeddings(network, TWO), tilted(embeddings(network, TWO), 0.9, 0)
    card = replace(mine().card, uri="hardly", sha256="hardly")
    authorized = Classifier(GalleryHead(network, torch.stack([sure[0], unsure[1]]), 0.898), card)
    surrogate = Classifier(GalleryHead(network, unsure, 0.898), card)
    recipe = replace(RECIPE, guard=False, repair_steps=0, kappa=0.0)
    models = {"authorized": authorized, "surrogates": (surrogate,)}
    after, record = protected(png(TWO), **models, recipe=recipe, budget=Budget(4 / 255))
    first, second = record["faces"]
    assert (first["area"], second["area"]) == ("changed", "put back")
    assert second["authorized"]["answer_after"] == second["label"] == 1
    assert second["surrogates"][0]["answer_after"] == 1  # as readable as it was
    owner = nearest_box([face.box for face in find_faces(TWO)], *TWO.shape[:2])
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


def test_a_model_that_reads_the_whole_photo_judges_all_faces_together() -> None:
    """Darkening either face keeps the photo bright, darkening both does not: the largest alone is changed."""
    picture = scene((3, 10, 20, 210), (3, 240, 60, 150))
    limit = float((2 * crops(picture) - 1).mean((1, 2, 3)).min()) - 0.02
    surrogate = Classifier(Brightness(limit), ModelCard("bright", "bright", 2, ALIGN, "light", ("bright", "dark")))
    recipe = replace(RECIPE, guard=False, repair_steps=0, kappa=0.0)

    def darkened(limit: float) -> tuple[Pixels, dict[str, Any]]:
        authorized = classifier(Brightness(limit), 2, "whole")
        return protected(png(picture), authorized=authorized, surrogates=(surrogate,), recipe=recipe)

    def mean(version: Pixels) -> float:
        return float(PLAIN.canvas(to_tensor(version)[None].float() / 255).mean())

    both, record = darkened(0.0)
    assert [face["area"] for face in record["faces"]] == ["changed", "changed"]
    owner = nearest_box([face.box for face in find_faces(picture)], *picture.shape[:2])
    first = np.where(owner[..., None] == 0, both, picture)
    after, record = darkened((mean(first) + mean(both)) / 2)
    assert [face["area"] for face in record["faces"]] == ["changed", "put back"]
    assert [face["authorized"] for face in record["faces"]] == [None, None]
    assert np.array_equal(after, first)


def test_chunks_and_neighbors_change_no_byte() -> None:
    """The second surrogate knows ann alone: in a chunk it is shown some rows and not the others."""
    gray = np.asarray(Image.fromarray(TWO).convert("L"))[..., None]
    team = context(surrogates=(recognizer(2, threshold=0.95), recognizer(3, known=(0,), threshold=0.95)))
    for pictures in ((TWO, ALONE), (gray, gray[:, ::-1])):
        sources = [Source(png(picture)) for picture in pictures]
        together, by_one = protect_photos(sources, team), protect_photos(sources, team, None, 1)
        assert [data for data, _ in together] == [data for data, _ in by_one]
        assert [data for data, _ in together] == [protect_photos([source], team)[0][0] for source in sources]
        assert [{**record, "seconds": 0} for _, record in together] == [
            {**record, "seconds": 0} for _, record in by_one
        ]
    pushed = [sign.tolist() for sign in begun(TWO, surrogates=team.surrogates).aims.signs]
    assert pushed == [[1, 1], [1, 0]]


def test_known_bystanders_are_led_to_the_chosen_class_and_the_chosen_one_is_pushed_away() -> None:
    picture = scene((3, 0, 10, 210), (5, 210, 10, 150), (8, 270, 165, 95), size=(260, 400))
    authorized, surrogate = (
        recognizer(1, (0, 1, 2), picture=picture),
        recognizer(2, (1, 0), picture=picture),  # bob first, and cem is nobody
    )
    recipe = replace(RECIPE, toward="bob")
    work = begun(picture, authorized=authorized, surrogates=(surrogate,), recipe=recipe)
    assert [person.label for person in work.people] == [0, 1, 2]
    assert work.aims.classes[0].tolist()[:2] == [0, 0]  # ann toward bob, bob away from bob
    assert work.aims.signs[0].tolist() == [-1, 1, 0]
    assert work.rows(context(authorized=authorized, surrogates=(surrogate,), recipe=recipe)) == [0, 1]


def test_models_that_read_the_whole_photo_belong_to_the_first_row() -> None:
    whole = classifier(Brightness(0.5), 2, "whole")
    work = begun(TWO, surrogates=(recognizer(2), whole))
    assert [sign.tolist() for sign in work.aims.signs] == [[1, 1], [1, 0]]
    assert begun(TWO, surrogates=(whole,)).people == []  # nobody to push reads faces
    fmd = replace(make_recipe("fmd", steps=2), kappa=0.0)
    work = begun(TWO, surrogates=(), recipe=fmd)
    assert work.rows(context(surrogates=(), recipe=fmd)) == [0, 1]


@pytest.mark.parametrize("recipe", ["tap", "nrdm", "fmd", "svre"])
def test_every_recipe_reads_each_face_at_its_own_place(recipe: str) -> None:
    """The clean features are those of the row's own face: with them a change of nothing is at distance zero."""
    chosen = make_recipe(recipe, steps=3, guard=True, kappa=0.0, layer="embedder.0", depth=0.5)
    ((_, record),) = protect_photos([Source(png(TWO))], context(recipe=chosen))
    assert [face["area"] for face in record["faces"]] == ["changed", "changed"]
    assert all(face["authorized"]["answer_after"] == face["label"] for face in record["faces"])


def test_other_words_are_refused_and_all_is_the_default() -> None:
    with pytest.raises(UserError, match="all, largest"):
        Region(faces="some")  # type: ignore[arg-type]
    arguments = build_parser().parse_args(["protect", "a", "--out", "b"])
    assert photo_settings_of(arguments, RunFile()).faces == Region().faces == "all"


def test_the_order_of_the_faces_is_the_models_own() -> None:
    places = main_faces(to_tensor(TWO)[None].float() / 255)
    assert torch.equal(begun(TWO).people[0].landmarks, places[0])


def test_verify_asks_about_everybody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    source.mkdir()
    (source / "two.png").write_bytes(png(TWO))
    words = ["protect", str(source), "--out", str(out), "--authorized", "python:face_scenes:mine"]
    words += ["--surrogate", "python:face_scenes:theirs", "--allow-python", "--quiet", "--device", "cpu"]
    words += ["--steps", "4", "--views", "center", "--kappa", "0.5", "--epsilon", "16"]
    assert main(words) == 0
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 0
    (record,) = Manifest(out / "manifest.jsonl").load()
    assert [face["label_name"] for face in record["faces"]] == ["ann", "bob"]
    spoiled = decode((out / "two.png").read_bytes()).pixels.copy()
    left, top, right, bottom = (round(edge) for edge in record["faces"][1]["box"])
    spoiled[top - 20 : bottom + 20, left - 20 : right + 20] = 90
    (out / "two.png").write_bytes(png(spoiled))
    record["output_sha256"] = sha256(png(spoiled))
    (out / "manifest.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 1
    assert "the face of bob is not found any more" in capsys.readouterr().err


@pytest.mark.parametrize(
    "budget",
    [Budget(16 / 255, psnr=42.0), Budget(16 / 255, l2=4.0), Budget(16 / 255, ssim=0.97, shape="texture")],
)
def test_several_faces_share_the_budget_of_one_photo(budget: Budget) -> None:
    written, record = protected(png(TWO), budget=budget)
    assert [face["area"] for face in record["faces"]] == ["changed", "changed"]
    assert budget.excess(to_tensor(written), to_tensor(TWO)) == []
    work = begun(TWO, budget=budget)
    own = [work.budget(row, context(budget=budget)) for row in (0, 1)]
    for row, part in enumerate(own):
        changed = torch.where(work.mask(row) > 0, to_tensor(written), work.original)
        assert not torch.equal(changed, work.original)
        assert part.excess(changed, work.original) == []
