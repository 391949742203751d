"""facenet: classifies the people it was trained on; with a gallery it embeds, and embedders need a gallery."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import facenet_pytorch
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tiny_onnx import CLASSES, write_onnx
from torch import Tensor, nn

from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.surrogates import facenet
from onlymymodel.surrogates.gallery import SCALE
from onlymymodel.surrogates.load import load_black_box, load_model

FILES = {"vggface2": "20180402-114759-vggface2.pt", "casia-webface": "20180408-102900-casia-webface.pt"}
THRESHOLD = 0.3


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rendered photos of each of two people."""
    folder = tmp_path_factory.mktemp("gallery")
    for identity, person in enumerate(("ann", "bob")):
        (folder / person).mkdir()
        for seed in range(2):
            Image.fromarray(render(identity, 0, seed, 96)).save(folder / person / f"{seed}.png")
    return folder


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], nn.Module]:
    """Put random weights into the download folder of facenet-pytorch, and return an embedder with them."""

    def put(weights: str) -> nn.Module:
        torch.manual_seed(0)
        net: Any = facenet_pytorch.InceptionResnetV1(classify=True, num_classes=facenet.PEOPLE[weights]).eval()
        (tmp_path / "checkpoints").mkdir()
        torch.save(net.state_dict(), tmp_path / "checkpoints" / FILES[weights])
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        net.classify = False
        embedder: nn.Module = net
        return embedder

    return put


@pytest.mark.slow
@pytest.mark.parametrize("weights", FILES)
def test_with_a_gallery_people_are_compared_by_512_numbers(
    weights: str, gallery: Path, cached: Callable[[str], nn.Module]
) -> None:
    embedder = cached(weights)
    model = load_model(f"facenet:{weights}?gallery={gallery}&threshold={THRESHOLD}")

    def embedding(path: Path) -> Tensor:
        whole = F.interpolate(_photo(path), (160, 160), mode="bilinear", antialias=True).clamp(0, 1)
        embeddings: Tensor = embedder(whole * 2 - 1)
        return embeddings

    with torch.no_grad():
        photos = {
            person: [embedding(path) for path in sorted((gallery / person).iterdir())] for person in ("ann", "bob")
        }
        means = F.normalize(torch.cat([torch.stack(embeddings).mean(0) for embeddings in photos.values()]), dim=1)
        expected = SCALE * torch.cat([photos["bob"][0] @ means.T, torch.tensor([[THRESHOLD]])], dim=1)
        torch.testing.assert_close(model(_photo(gallery / "bob" / "0.png")), expected, rtol=1e-4, atol=1e-3)
    assert means.shape == (2, 512)
    assert model.card.labels == ("ann", "bob", "stranger")
    assert (model.card.task, model.card.parent) == ("identity", f"facenet-pytorch-{weights}")


def test_without_weights_and_a_network_one_sentence_says_where_they_belong(
    gallery: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"could not be downloaded .* run omm models fetch facenet:vggface2 --to DIR"):
        load_model(f"facenet:vggface2?gallery={gallery}")


def test_an_embedder_without_a_gallery_is_refused(gallery: Path, tmp_path: Path) -> None:
    uri = f"onnx:{write_onnx(tmp_path / 'embedder.onnx')}?task=identity"
    with pytest.raises(UserError, match="is to recognize people: add gallery=FOLDER"):
        load_model(uri)
    with pytest.raises(UserError, match="is to recognize people"):
        load_black_box(uri)
    assert load_model(f"{uri}&gallery={gallery}").card.labels == ("ann", "bob", "stranger")
    # a classifier of its own people says how many they are
    assert load_model(f"{uri}&classes={CLASSES}").card.classes == CLASSES
    assert load_model(uri.replace("identity", "emotion")).card.classes == CLASSES


def _photo(path: Path) -> Tensor:
    """(1,3,H,W) in [0,1]."""
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None] / 255
