"""A bundled model is told from its own answers that it does not know the pictures that it is to read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from onlymymodel.data.portraits import render
from onlymymodel.surrogates import zoo
from onlymymodel.surrogates.known_pictures import LEAST_AGREEMENT, unknown_pictures

URI = "zoo:identity-residual"


def unknown(folder: Path, uri: str = URI) -> str:
    return unknown_pictures(uri, sorted(folder.iterdir()), max_pixels=10**6)


def save_portraits(folder: Path, count: int, size: int, suffix: str) -> None:
    for index in range(count):
        image = Image.fromarray(render(index % 16, index % 7, 5_100_000 + index, size))
        image.save(folder / f"{index:02}{suffix}")


@pytest.mark.parametrize(("count", "size", "suffix"), [(1, 192, ".png"), (6, 192, ".jpg"), (6, 40, ".png")])
def test_rendered_portraits_are_known(tmp_path: Path, count: int, size: int, suffix: str) -> None:
    save_portraits(tmp_path, count, size, suffix)
    assert unknown(tmp_path) == ""


def test_other_pictures_are_not_known_and_the_sentence_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(20):
        noise = Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8))
        noise.filter(ImageFilter.GaussianBlur(2)).save(tmp_path / f"{index:02}.png")
    sentence = unknown(tmp_path)
    assert sentence.startswith(f"{URI} does not know these pictures: {zoo.LIMIT} (asked about 10 of these, ")
    assert sentence.endswith(f"about rendered portraits at least {LEAST_AGREEMENT:.0%} do)")
    assert unknown(tmp_path, f"{URI}?task=who") != ""


def test_other_models_are_not_asked_and_broken_files_do_not_count(tmp_path: Path) -> None:
    save_portraits(tmp_path, 2, 192, ".png")
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert unknown(tmp_path) == ""
    (tmp_path / "00.png").unlink()
    (tmp_path / "01.png").unlink()
    assert unknown(tmp_path) == ""
    assert unknown(tmp_path / "..", "timm:resnet18.a1_in1k") == ""
    assert unknown_pictures(URI, [], max_pixels=10**6) == ""


@pytest.mark.parametrize("folder", ["imagenet/nips2017", "faces/lfw_identity"])
def test_real_photos_are_not_known(assets: Path, folder: str) -> None:
    photos = [path for path in sorted((assets / folder).rglob("*")) if path.suffix in (".png", ".jpg")]
    for task in zoo.TASKS:
        assert zoo.LIMIT in unknown_pictures(f"zoo:{task}-vit", photos[:64], max_pixels=10**8)
