"""Fixtures for real parts: pretrained models (tests with them are marked `real` and `slow`), a server, a browser (tests
with it are marked `slow`); where one is absent, its tests skip and say so."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oip_server import OipServer, serving
from paths import ASSETS, CASES
from patience import PATIENCE
from PIL import Image
from toys import small_cnn

from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.load import load_model

if TYPE_CHECKING:
    from app_tab import Visit
    from playwright.sync_api import Browser

# the tests' tensors are small: a second thread makes them no faster, and far slower where other programs run
torch.set_num_threads(int(os.environ.setdefault("OMP_NUM_THREADS", "1")))
# servers of tests are on this machine, also where a proxy leads to the network
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

PHOTOS = 16
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MARKERS = {"assets": ("real", "slow"), "cases": ("real",), "browser": ("slow",)}  # of every test with such a fixture


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test by its fixtures."""
    for item in items:
        for fixture in MARKERS.keys() & set(getattr(item, "fixturenames", ())):
            for marker in MARKERS[fixture]:
                item.add_marker(marker)


@pytest.fixture(scope="session")
def assets() -> Path:
    if not (ASSETS / "models.json").is_file():
        pytest.skip("REAL MODELS ABSENT: ../shared/assets is not beside this checkout, nothing real was tested")
    return ASSETS


@pytest.fixture
def two_portraits(tmp_path: Path) -> Path:
    """A folder of two rendered portraits."""
    from tuning import write_portraits  # imports the command line

    return write_portraits(tmp_path / "portraits", 2)


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of small odd files."""
    if not CASES.is_dir():
        pytest.skip("ODD FILES ABSENT: ../shared/cases is not beside this checkout, none of them was tested")
    return CASES


@pytest.fixture(scope="session")
def real_records(assets: Path) -> dict[str, dict[str, Any]]:
    """models.json by id."""
    return {record["id"]: record for record in json.loads((assets / "models.json").read_text(encoding="utf-8"))}


@pytest.fixture(scope="session")
def real_uri(assets: Path, real_records: dict[str, dict[str, Any]]) -> Callable[[str], str]:
    """The URI of a real model by its id, with the preprocessing, task, family and parent that models.json states."""
    import onnx

    def uri(name: str) -> str:
        record = real_records[name]
        options = {"task": record["task"], "family": record["family"], "parent": record["parent"]}
        if record["task"] == "imagenet":
            how = record["input"]
            options |= {key: ",".join(map(str, how[key])) for key in ("mean", "std")}
            options |= {"crop_pct": str(how["crop_pct"]), "interpolation": how["interpolation"]}
        else:
            options |= {"fit": "squash"}
        if record["output"] == "embedding":  # compared number by number, without a gallery
            shape = onnx.load(assets / record["file"]).graph.output[0].type.tensor_type.shape
            options["classes"] = str(shape.dim[1].dim_value)
        if record["arch"]:
            options["arch"] = record["arch"]
        scheme = "onnx" if record["format"] == "onnx" else "checkpoint"
        query = "&".join(f"{key}={quote(value, safe=':,')}" for key, value in options.items())
        return f"{scheme}:{assets / record['file']}?{query}"

    return uri


@pytest.fixture(scope="session")
def real_model(real_uri: Callable[[str], str]) -> Callable[[str], Classifier]:
    """A real model by its id, loaded once."""
    return cache(lambda name: load_model(real_uri(name)))


@pytest.fixture(scope="session")
def real_photos(assets: Path) -> tuple[list[NDArray[np.uint8]], list[int]]:
    """The first NIPS-2017 photos, 299 x 299 x 3, and their labels."""
    folder = assets / "imagenet" / "nips2017"
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:PHOTOS]
    images = [np.asarray(Image.open(folder / row["file"]).convert("RGB")) for row in rows]
    return images, [int(row["label"]) for row in rows]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OipServer]:
    """A toy model behind the Open Inference Protocol."""
    monkeypatch.delenv("OMM_HTTP_TOKEN", raising=False)
    with serving(small_cnn(seed=1)) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A real Chromium, where one is installed."""
    from playwright.sync_api import expect, sync_playwright

    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("NO BROWSER: none of " + ", ".join(BROWSERS) + " is installed, the page was not tried in one")
    expect.set_options(timeout=1000 * PATIENCE)
    with sync_playwright() as playwright:
        # root in a container may not use Chromium's sandbox; the only page opened is ours
        browser = playwright.chromium.launch(
            executable_path=executable,
            args=["--no-sandbox", "--disable-dev-shm-usage"],
            timeout=1000 * PATIENCE,
        )
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a running page of `omm app`."""
    from app_client import page

    with page(allow_python=False) as url:
        yield url


@pytest.fixture
def visit(browser: "Browser", url: str) -> Iterator["Visit"]:
    """A tab of that page."""
    from app_tab import Visit

    visit = Visit(browser, url)
    yield visit
    visit.context.close()


@pytest.fixture
def memory_store() -> Iterator[None]:
    """Empty the store `memory://` after the test."""
    from fsspec.implementations.memory import MemoryFileSystem

    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
