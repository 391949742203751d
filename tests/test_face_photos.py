"""Photos of several people: every face has an area of its own, is protected there, and still read by one model."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut
from torch import Tensor, nn
from toys import PLAIN, classifier

from onlymymodel.cli import build_parser, main
from onlymymodel.data.image_io import decode
from onlymymodel.data.manifest import Manifest, sha256
from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.people import MOST, found_again, nearest_box
from onlymymodel.protect.photo import Context, Source, protect_photos, to_tensor
from onlymymodel.protect.recipe import make_recipe
from onlymymodel.protect.region import Area, Region
from onlymymodel.protect.work import Work, begin
from onlymymodel.surrogates.alignment import main_faces
from onlymymodel.surrogates.classifier import Classifier, ModelCard, Preprocess
from onlymymodel.surrogates.faces import find_faces
from onlymymodel.surrogates.gallery import GalleryHead

Pixels = NDArray[np.uint8]
ALIGN = Preprocess(height=112, width=96, fit="align", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
RECIPE = make_recipe("default", steps=4, step_share=0.5, views=("center",), kappa=0.5)
PEOPLE = ("ann", "bob", "cem")


def scene(*people: tuple[int, int, int, int], size: tuple[int, int] = (260, 420)) -> Pixels:
    """Faces, each (person, left, top, side), on a plain ground; what lies outside is cut off.

    Person 3 is an astronaut, the others are rendered.
    """
    picture = np.full((*size, 3), (70, 90, 60), np.uint8)
    for person, left, top, side in people:
        portrait = render(person, 0, person, side) if person != 3 else head(side)
        x, y = max(-left, 0), max(-top, 0)
        seen = portrait[y : size[0] - top, x : size[1] - left]
        picture[top + y : top + y + seen.shape[0], left + x : left + x + seen.shape[1]] = seen
    return picture


def head(side: int) -> Pixels:
    """(side,side,3) the face of skimage's astronaut."""
    face = Image.fromarray(astronaut()[:240, 110:350])
    return np.asarray(face.resize((side, side), Image.Resampling.BICUBIC))


TWO = scene((3, 10, 20, 210), (5, 240, 60, 150))  # ann is larger than bob
ALONE = scene((3, 10, 20, 210))


def png(pixels: Pixels, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def crops(picture: Pixels) -> Tensor:
    """(faces,3,112,96) in [0,1], the largest face first."""
    pixels = to_tensor(picture)[None].float() / 255
    places = [torch.tensor(face.landmarks)[None] for face in find_faces(picture)]
    return torch.cat([ALIGN.canvas(pixels, place) for place in places])


def embedder(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(3 * 14 * 12, 32, bias=False))


def tilted(direction: Tensor, cosine: float, seed: int) -> Tensor:
    """(N,D) of length 1 at a cosine to each of (N,D) of length 1: a mean is never quite one photo's own embedding."""
    aside = torch.randn(direction.shape, generator=torch.Generator().manual_seed(seed))
    aside = F.normalize(aside - (aside * direction).sum(1, keepdim=True) * direction, dim=1)
    found: Tensor = cosine * direction + (1 - cosine**2) ** 0.5 * aside
    return found


def embeddings(network: nn.Module, picture: Pixels) -> Tensor:
    """(faces,32) of length 1."""
    with torch.no_grad():
        return F.normalize(network((crops(picture) - 0.5) / 0.5), dim=1)


def recognizer(seed: int, known: Sequence[int] = (0, 1), threshold: float = 0.8, picture: Pixels = TWO) -> Classifier:
    """A face network that knows some people of a picture, by their places in it: ann, bob, ... and a stranger."""
    network = embedder(seed)
    means = tilted(embeddings(network, picture)[list(known)], 0.97, seed)
    labels = (*(PEOPLE[place % 3] for place in known), "stranger")
    card = ModelCard(f"face-{seed}", f"sha-{seed}", len(labels), ALIGN, "identity", labels, gallery=f"{known}")
    return Classifier(GalleryHead(network, means, threshold), card)


@cache
def mine() -> Classifier:
    """The authorized model of the command line's test, as `python:test_face_photos:mine`."""
    return recognizer(1)


def context(**changes: Any) -> Context:
    settings: dict[str, Any] = {
        "authorized": mine(),
        "surrogates": (recognizer(2, threshold=0.95), recognizer(3, threshold=0.95)),
    }
    return Context(**{**settings, "budget": Budget(16 / 255), "recipe": RECIPE, **changes})


def protected(data: bytes, **changes: Any) -> tuple[Pixels, dict[str, Any]]:
    ((written, record),) = protect_photos([Source(data)], context(**changes))
    assert record["status"] == "protected", record["reason"]
    assert written is not None
    return decode(written).pixels, record


def begun(picture: Pixels, **changes: Any) -> Work:
    data, chosen = png(picture), context(**changes)
    return begin(Source(data), decode(data), Area(), to_tensor(picture), chosen)


def read(model: Classifier, picture: Pixels, box: Sequence[float]) -> int:
    """What a model says of the face of the written picture that lies at a box: searched and aligned anew."""
    (place,) = found_again(to_tensor(picture), [tuple(box)])  # type: ignore[list-item]
    assert place is not None
    return int(model.at(to_tensor(picture)[None].float() / 255, place[None]).argmax())


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


def tiles(count: int) -> Pixels:
    """The same astronaut in other tints, every other one turned; the first a little larger."""
    random = np.random.default_rng(0)
    picture = np.full((4 * 110, -(-count // 4) * 100, 3), 90, np.uint8)
    for number in range(count):
        side, (row, column) = (108 if number == 0 else 100), divmod(number, picture.shape[1] // 100)
        tile = head(side)[:, : side * 11 // 12] * random.uniform(0.7, 1, 3)
        tile = tile[:, ::-1] if number % 2 else tile
        picture[row * 110 : row * 110 + side, column * 100 : column * 100 + tile.shape[1]] = tile
    return picture


def test_twenty_faces_and_no_more_are_worked_on() -> None:
    picture = tiles(24)
    found = len(find_faces(picture))
    assert found > MOST
    known = recognizer(1, (0, 7), threshold=0.9, picture=picture)
    theirs = recognizer(2, (0, 7), threshold=0.9, picture=picture)
    recipe = replace(RECIPE, steps=2, step_share=1.0, kappa=0.0)
    models = {"authorized": known, "surrogates": (theirs,)}
    ((_, record),) = protect_photos([Source(png(picture))], context(**models, recipe=recipe))
    assert len(record["faces"]) == MOST
    assert record["notes"] == [f"{found} faces were found; the {MOST} largest were worked on"]
    assert record["status"] == "protected", record["reason"]
    assert record["linf"] <= 16
    sizes = [(face["box"][2] - face["box"][0]) * (face["box"][3] - face["box"][1]) for face in record["faces"]]
    assert all(later <= sooner * 1.01 for sooner, later in pairwise(sizes))
    assert all(face["authorized"]["answer_after"] == face["label"] for face in record["faces"])
    pushed = [face["surrogates"][0] for face in record["faces"] if face["area"] == "changed"]
    assert len(pushed) > 8
    assert all(said["answer_after"] != said["pushed_from"] for said in pushed)


def turned() -> bytes:
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: rotate by 90 degrees to see it
    return png(np.rot90(TWO).copy(), exif=exif)


def test_a_turned_phone_photo_is_as_the_upright_one() -> None:
    after, record = protected(turned())
    upright, plain = protected(png(TWO))
    assert after.shape == upright.shape
    assert [face["box"] for face in record["faces"]] == [face["box"] for face in plain["faces"]]
    assert [face["area"] for face in record["faces"]] == ["changed", "changed"]


def test_a_gray_photo_of_two_stays_gray() -> None:
    gray = np.asarray(Image.fromarray(tiles(2)).convert("L"))[..., None].copy()
    authorized, surrogate = recognizer(1, picture=gray), recognizer(2, threshold=0.95, picture=gray)
    after, record = protected(png(gray), authorized=authorized, surrogates=(surrogate,))
    assert after.shape == gray.shape
    assert [face["area"] for face in record["faces"]] == ["changed", "changed"]


def test_a_transparent_photo_keeps_its_alpha() -> None:
    alpha = np.tile(np.linspace(0, 255, TWO.shape[1]).astype(np.uint8), (TWO.shape[0], 1))
    ((data, record),) = protect_photos([Source(png(np.dstack([TWO, alpha])))], context())
    assert record["status"] == "protected", record["reason"]
    assert data is not None
    assert np.array_equal(decode(data).alpha, alpha)  # type: ignore[arg-type]
    assert len(record["faces"]) == 2


def test_a_face_at_the_border_has_its_area_inside_the_photo() -> None:
    picture = scene((3, 10, 20, 210), (5, 305, 60, 150))
    faces = find_faces(picture)
    assert len(faces) == 2
    authorized, surrogate = recognizer(1, picture=picture), recognizer(2, threshold=0.95, picture=picture)
    after, record = protected(png(picture), authorized=authorized, surrogates=(surrogate,))
    left, top, right, bottom = record["faces"][1]["box"]
    assert 0 <= left < right <= 420
    assert 0 <= top < bottom <= 260
    assert (after != picture)[:, 310:].any()


def test_without_a_face_it_is_skipped_or_taken_whole_by_choice() -> None:
    plain = np.random.default_rng(3).integers(60, 200, (90, 120, 3), dtype=np.uint8)
    ((nothing, record),) = protect_photos([Source(png(plain))], context())
    assert (nothing, record["status"], record["reason"]) == (None, "skipped", "no face was found")
    ((_, record),) = protect_photos([Source(png(plain))], context(region=Region(no_face="image")))
    assert record["status"] in ("protected", "unchanged")
    assert (record["faces"], record["authorized"] is None) == (None, False)


def test_other_words_are_refused_and_all_is_the_default() -> None:
    with pytest.raises(UserError, match="all, largest"):
        Region(faces="some")  # type: ignore[arg-type]
    assert build_parser().parse_args(["protect", "a", "--out", "b"]).faces == Region().faces == "all"


def test_the_order_of_the_faces_is_the_models_own() -> None:
    places = main_faces(to_tensor(TWO)[None].float() / 255)
    assert torch.equal(begun(TWO).people[0].landmarks, places[0])


def test_verify_asks_about_everybody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    source.mkdir()
    (source / "two.png").write_bytes(png(TWO))
    words = ["protect", str(source), "--out", str(out), "--authorized", "python:test_face_photos:mine"]
    words += ["--surrogate", "python:test_face_photos:theirs", "--allow-python", "--quiet", "--device", "cpu"]
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


@cache
def theirs() -> Classifier:
    """The surrogate of the command line's test, as `python:test_face_photos:theirs`."""
    return recognizer(2)


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
