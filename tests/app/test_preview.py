"""The preview before a run: it shows the budget that the run will have."""

import io
import json
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from app_client import Client, coded, page
from PIL import Image

from onlymymodel.app.preview import SIDE, bound_map, face_map, grain, limited_to, preview_image, visibility_table
from onlymymodel.app.samples import samples
from onlymymodel.app.visibility import STOPS, limits_at
from onlymymodel.data.image_io import decode
from onlymymodel.data.pixels import Pixels, to_tensor
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.strengths import CAP
from onlymymodel.protect.region import Region, find_area

PORTRAIT = decode(samples()[0][1]).pixels


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with page() as url:
        yield Client(url)


@pytest.mark.parametrize("pixels", [PORTRAIT, PORTRAIT[:100, :, :1]], ids=["color", "gray"])
def test_the_map_is_the_bound_of_the_budget(pixels: Pixels) -> None:
    most = Budget(CAP / 255, shape="texture").max_change(to_tensor(pixels)[None].float() / 255)[0, 0]
    np.testing.assert_allclose(np.asarray(bound_map(pixels)) / 255, most.numpy() * 255 / CAP, atol=0.5 / 255 + 1e-6)


def test_a_map_of_strips_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.asarray(bound_map(PORTRAIT))
    monkeypatch.setattr("onlymymodel.data.strips.STRIP_PIXELS", 10_000)
    # floats of strips may be summed in another order
    np.testing.assert_allclose(np.asarray(bound_map(PORTRAIT), dtype=int), whole, atol=1)


def test_noise_keeps_to_the_map_and_every_stop_admits_what_the_table_says() -> None:
    photo, bound = preview_image(PORTRAIT), bound_map(PORTRAIT)
    noise = grain(bound)
    signed = np.asarray(noise, dtype=int) - 128
    fraction = np.asarray(bound)[..., None] / 255
    np.testing.assert_allclose(np.abs(signed), np.broadcast_to(127 * fraction, signed.shape), atol=0.5)
    assert abs(np.sign(signed).mean()) < 0.05
    table = visibility_table(photo, noise)
    assert table[0] == (0, STOPS[0])
    original = to_tensor(np.asarray(photo))
    for (_, needs), (level, stop) in pairwise(table):
        assert needs <= stop
        changed = np.clip(np.round(np.asarray(photo) + level * signed / 127), 0, 255).astype(np.uint8)
        for at in (stop - 1, stop):
            if at in STOPS:
                bounds = Budget.from_json(limits_at(at)).bounds
                admitted = all(bound.admits(bound.distance(to_tensor(changed), original)) for bound in bounds)
                assert admitted == (at == stop)


def test_a_photo_has_its_preview_and_none_once_it_is_removed(client: Client) -> None:
    ramp = np.linspace(0, 255, 700, dtype=np.uint8)
    session = client.session(coded(np.broadcast_to(ramp, (200, 700))))
    answer = json.loads(client("GET", f"{session}/photos/1/preview"))
    assert (answer["width"], answer["height"]) == (SIDE, round(200 * SIDE / 700))
    for view in ("preview", "bound", "grain"):
        path = f"{client.root}{session}/photos/1/{view}.png"
        status, _, data = client.raw("GET", path)
        assert status == 200
        with Image.open(io.BytesIO(data)) as image:
            assert image.size == (answer["width"], answer["height"])
    assert answer["table"][0] == [0, 1]
    client("DELETE", f"{session}/photos/1")
    assert "no such photo" in client.refused("GET", f"{session}/photos/1/preview")


def test_the_preview_of_the_faces_is_that_of_the_region(client: Client) -> None:
    """A portrait at the left of a plain ground: the map is the region's mask, and the table that of noise inside it."""
    photo = np.full((256, 512, 3), 90, np.uint8)
    photo[:, :256] = np.asarray(Image.fromarray(PORTRAIT).resize((256, 256)))
    session = client.session(coded(photo))
    with Image.open(io.BytesIO(client.raw("GET", f"{client.root}{session}/photos/1/faces.png")[2])) as image:
        faces = np.asarray(image)
    mask = find_area(photo, None, Region("face")).mask
    assert mask is not None
    np.testing.assert_array_equal(faces, 255 * mask)
    assert 0 < mask.mean() < 0.6
    inside = limited_to(grain(bound_map(photo)), Image.fromarray(faces))
    assert (np.asarray(inside)[mask == 0] == 128).all()
    answer = json.loads(client("GET", f"{session}/photos/1/preview?region=face"))
    assert answer["table"] == [list(row) for row in visibility_table(preview_image(photo), inside)]
    assert answer["table"] != json.loads(client("GET", f"{session}/photos/1/preview"))["table"]


def test_a_photo_without_a_face_has_an_empty_map_of_faces() -> None:
    assert np.asarray(face_map(np.zeros((64, 64, 3), np.uint8))).max() == 0


def test_a_photo_that_is_too_small_for_a_bound_has_a_preview(client: Client) -> None:
    session = client.session(coded(np.zeros((16, 16, 3), np.uint8)))
    assert json.loads(client("GET", f"{session}/photos/1/preview"))["table"][0] == [0, 1]
