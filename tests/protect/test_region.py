"""Only the region of a photo changes; all other pixels are identical."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET
from numpy.typing import NDArray
from PIL import Image
from records import boxes_of
from toys import mine, others, theirs

from onlymymodel.cli.main import main
from onlymymodel.data.image_io import decode
from onlymymodel.data.manifest import Manifest, sha256
from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.photo import Context, PhotoSource, protect_photos
from onlymymodel.protect.photo_record import WRITTEN, PhotoRecord
from onlymymodel.protect.region import MARGIN, Area, Region, RegionRecord, area_from_record, find_area
from onlymymodel.surrogates.face_detector import find_faces

Pixels = NDArray[np.uint8]
CONTEXT = Context(
    mine(),
    (theirs(), others()),
    Budget(16 / 255),
    make_recipe("default", steps=2, step_share=1.0, views=("center",), kappa=0.0, working_size=64),
)
BACKDROP = (70, 90, 60)


def png(pixels: Pixels, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def scene(*positions: tuple[int, int], size: tuple[int, int] = (240, 360), side: int = 120, people: int = 16) -> Pixels:
    """Portraits of so many people at (left, top) on a plain ground."""
    picture = np.full((*size, 3), BACKDROP, np.uint8)
    for number, (left, top) in enumerate(positions):
        portrait = render(number % people, 0, number % people, side)
        height, width = min(side, size[0] - top), min(side, size[1] - left)
        picture[max(top, 0) : top + height, max(left, 0) : left + width] = portrait[
            max(-top, 0) : height, max(-left, 0) : width
        ]
    return picture


def protected(data: bytes, region: Region, mask: bytes | None = None) -> tuple[Pixels | None, PhotoRecord]:
    ((written, record),) = protect_photos([PhotoSource(data, mask=mask)], replace(CONTEXT, region=region))
    return None if written is None else decode(written).pixels, record


def changed(before: Pixels, after: Pixels | None) -> NDArray[np.bool_]:
    assert after is not None
    large_face: NDArray[np.bool_] = (before != after).any(axis=2)
    return large_face


@pytest.mark.parametrize("channels", [1, 3])
def test_outside_a_mask_nothing_changes(channels: int) -> None:
    """The photo is larger than the working size, so that the change is scaled up: it must not leak either."""
    photo = np.random.default_rng(0).integers(0, 256, (150, 200, channels), dtype=np.uint8)
    mask = np.zeros((150, 200, 1), np.uint8)
    mask[31:90, 17:101] = 255
    mask[100, 150] = 128  # one pixel alone
    after, record = protected(png(photo), Region("mask"), png(mask))
    assert record.status in WRITTEN, record.reason
    moved = changed(photo, after)
    assert not moved[mask[..., 0] == 0].any()
    assert moved[31:90, 17:101].mean() > 0.5
    assert record.region == RegionRecord("mask", sha256=sha256(png(mask)))


def test_a_mask_may_have_as_many_pixels_as_a_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (decode, find_area):  # a usual limit below a small photo, which `--max-pixels` raises
        assert function.__kwdefaults__ is not None
        monkeypatch.setitem(function.__kwdefaults__, "max_pixels", 1000)
    photo = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    source = PhotoSource(png(photo), mask=png(np.full((40, 40, 1), 255, np.uint8)))
    ((_, record),) = protect_photos([source], replace(CONTEXT, region=Region("mask"), max_pixels=1600))
    assert record.status in WRITTEN, record.reason


def test_outside_faces_nothing_changes_and_every_face_does() -> None:
    photo = scene((20, 60), (220, 30))
    after, record = protected(png(photo), Region("face"))
    assert record.status in WRITTEN, record.reason
    boxes = boxes_of(record)
    assert len(boxes) == 2
    moved, open_to_change = changed(photo, after), np.zeros(photo.shape[:2], bool)
    for left, top, right, bottom in boxes:
        assert moved[top:bottom, left:right].mean() > 0.5
        open_to_change[top:bottom, left:right] = True
    assert not moved[~open_to_change].any()
    assert not open_to_change.all()


def test_a_box_holds_the_face_and_a_quarter_of_it_on_each_side() -> None:
    photo = scene((120, 60))
    (face,) = find_faces(photo)
    region = find_area(photo, None, Region("face")).record
    assert region is not None
    assert region.boxes is not UNSET
    ((left, top, right, bottom),) = region.boxes
    width, height = face.box[2] - face.box[0], face.box[3] - face.box[1]
    assert left == pytest.approx(face.box[0] - MARGIN * width, abs=1)
    assert right == pytest.approx(face.box[2] + MARGIN * width, abs=1)
    assert top == pytest.approx(face.box[1] - MARGIN * height, abs=1)
    assert bottom == pytest.approx(face.box[3] + MARGIN * height, abs=1)


def test_landmarks_lie_in_the_face_and_left_is_left() -> None:
    (face,) = find_faces(scene((120, 60)))
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]


@pytest.mark.slow
def test_a_large_photo_is_searched_reduced_and_reported_in_its_own_pixels() -> None:
    small = scene((120, 60))
    large = np.asarray(Image.fromarray(small).resize((360 * 8, 240 * 8), Image.Resampling.BICUBIC))
    (face,), (large_face,) = find_faces(small), find_faces(large)
    assert np.array(large_face.box) / 8 == pytest.approx(np.array(face.box), abs=6)


@pytest.mark.slow
def test_twenty_faces() -> None:
    positions = [(10 + 100 * column, 10 + 100 * row) for row in range(4) for column in range(5)]
    photo = scene(*positions, size=(420, 520), side=90, people=1)
    after, record = protected(png(photo), Region("face"))
    assert record.status in WRITTEN, record.reason
    assert len(boxes_of(record)) == 20
    assert changed(photo, after).any()


def test_a_face_at_the_border_stays_inside_the_photo() -> None:
    photo = scene((-30, 50), (250, 110))
    after, record = protected(png(photo), Region("face"))
    assert record.status in WRITTEN, record.reason
    for left, top, right, bottom in boxes_of(record):
        assert 0 <= left < right <= 360
        assert 0 <= top < bottom <= 240
    assert any(0 in box or box[2] == 360 or box[3] == 240 for box in boxes_of(record))
    assert changed(photo, after).any()


def test_a_turned_phone_photo_is_searched_upright() -> None:
    upright = scene((120, 60))
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: rotate by 90 degrees to see it
    data = png(np.rot90(upright).copy(), exif=exif)
    assert np.array_equal(decode(data).pixels, upright)
    after, record = protected(data, Region("face"))
    assert record.status in WRITTEN, record.reason
    assert boxes_of(record) == boxes_of(protected(png(upright), Region("face"))[1])
    assert changed(upright, after).any()


def test_gray_and_transparent_photos_have_faces_too() -> None:
    color = scene((120, 60))
    gray = np.asarray(Image.fromarray(color).convert("L"))[..., None]
    after, record = protected(png(gray), Region("face"))
    assert record.status in WRITTEN, record.reason
    assert after is not None
    assert after.shape == gray.shape
    alpha = np.dstack([color, np.full(color.shape[:2], 255, np.uint8)])
    alpha[:40] = 0
    _, record = protected(png(alpha), Region("face"))
    assert (record.status in WRITTEN, len(boxes_of(record))) == (True, 1)


def test_a_photo_without_a_face_is_skipped_or_taken_whole_by_choice() -> None:
    plain = np.random.default_rng(1).integers(60, 200, (90, 120, 3), dtype=np.uint8)
    nothing, record = protected(png(plain), Region("face"))
    assert (nothing, record.status, record.reason) == (None, "skipped", "no face was found")
    after, record = protected(png(plain), Region("face", no_face="image"))
    assert record.status in WRITTEN
    assert record.region == RegionRecord("image", reason="no face was found")
    assert changed(plain, after).mean() > 0.5


def test_the_smallest_photos_have_no_face_and_do_no_harm() -> None:
    for shape in ((16, 16, 3), (16, 16, 1), (19, 300, 3), (20, 20, 3)):
        assert find_faces(np.zeros(shape, np.uint8)) == []


@pytest.mark.parametrize(
    ("mask", "status", "words"),
    [
        (None, "failed", "it has no mask"),
        (b"hello", "failed", "its mask cannot be read"),
        (png(np.full((20, 21, 1), 255, np.uint8)), "failed", "its mask is 21x20 pixels, the photo 30x20"),
        (png(np.full((20, 30, 1), 127, np.uint8)), "skipped", "its mask leaves nothing open"),
    ],
)
def test_an_invalid_mask_is_reported_and_other_photos_are_protected(
    mask: bytes | None, status: str, words: str
) -> None:
    photo = np.full((20, 30, 3), 128, np.uint8)
    good = png(np.full((20, 30, 3), (0, 128, 0), np.uint8))
    sources = [PhotoSource(png(photo), mask=mask), PhotoSource(png(photo), mask=good)]
    (first, second) = protect_photos(sources, replace(CONTEXT, region=Region("mask")))
    assert (first[0], first[1].status) == (None, status)
    assert words in first[1].reason
    assert second[1].status in WRITTEN


def test_an_area_is_found_again_from_its_record() -> None:
    photo = scene((20, 60), (220, 30))
    area = find_area(photo, None, Region("face"))
    assert area.mask is not None
    again = area_from_record(photo, area.record)
    assert np.array_equal(area.mask, again.mask)  # type: ignore[arg-type]
    assert area_from_record(photo, None) == Area()


def test_invalid_choices_are_refused() -> None:
    with pytest.raises(UserError, match="region must be one of image, face, mask"):
        Region("hand")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="skip, image"):
        Region("face", no_face="cry")  # type: ignore[arg-type]


MODELS = ["--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs", "--allow-python", "--device", "cpu"]
QUICK = ["--steps", "2", "--step-share", "1", "--views", "center", "--kappa", "0", "--epsilon", "16", "--quiet"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    source = tmp_path / "photos"
    (source / "sub").mkdir(parents=True)
    (source / "one.png").write_bytes(png(scene((120, 60))))
    (source / "sub" / "two.png").write_bytes(png(scene((30, 60))))
    return source


def protect(source: Path, out: Path, *flags: str) -> int:
    return main(["protect", str(source), "--out", str(out), *MODELS, *QUICK, "--shape", "even", *flags])


def test_faces_from_the_command_line_and_verified(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert protect(photos, out, "--region", "face") in (0, 1)
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 0
    spoiled = decode((out / "one.png").read_bytes()).pixels.copy()
    spoiled[0, 0] += 1  # far from the face, well inside the budget
    (out / "one.png").write_bytes(png(spoiled))
    capsys.readouterr()
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 1
    assert "it differs from its original outside its region" in capsys.readouterr().err


def test_masks_from_a_folder_and_one_for_all(photos: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    (masks / "sub").mkdir(parents=True)
    left, right = np.zeros((2, 240, 360, 1), np.uint8)
    left[:, :180], right[:, 180:] = 255, 255
    (masks / "one.png").write_bytes(png(left))
    Image.fromarray(right[..., 0]).save(masks / "sub" / "two.bmp")
    assert protect(photos, tmp_path / "each", "--region", str(masks)) in (0, 1)
    for name, mask in (("one.png", left), ("sub/two.png", right)):
        before, after = (decode((folder / name).read_bytes()).pixels for folder in (photos, tmp_path / "each"))
        moved = changed(before, after)
        assert not moved[mask[..., 0] == 0].any()
        assert moved.any()
    assert protect(photos, tmp_path / "all", "--region", str(masks / "one.png")) in (0, 1)
    assert not changed(*(decode((f / "sub/two.png").read_bytes()).pixels for f in (photos, tmp_path / "all")))[
        :, 180:
    ].any()


def test_another_mask_is_another_photo_to_protect(photos: Path, tmp_path: Path) -> None:
    mask, out = tmp_path / "mask.png", tmp_path / "out"
    halves = np.zeros((240, 360, 1), np.uint8)
    halves[:120] = 255
    mask.write_bytes(png(halves))
    assert protect(photos, out, "--region", str(mask)) in (0, 1)
    first = (out / "one.png").read_bytes()
    assert protect(photos, out, "--region", str(mask)) in (0, 1)
    assert (out / "one.png").read_bytes() == first
    assert len(Manifest(out / "manifest.jsonl").load()) == 2  # nothing was made again
    mask.write_bytes(png(255 - halves))
    assert protect(photos, out, "--region", str(mask)) in (0, 1)
    before = decode((photos / "one.png").read_bytes()).pixels
    assert not changed(before, decode((out / "one.png").read_bytes()).pixels)[:120].any()


def test_a_missing_mask_is_refused_before_the_first_photo(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert protect(photos, tmp_path / "out", "--region", "fase") == 2
    assert "is image, face, or a picture or folder of masks; there is no fase" in capsys.readouterr().err
