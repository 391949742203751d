"""Networks that give features: embedders, never classifiers; with a gallery they name people."""

from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from tiny_onnx import CLASSES, write_onnx
from tiny_timm import fill_cache, save

from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import ClassifierBlackBox, query
from onlymymodel.surrogates.checks import require_classes
from onlymymodel.surrogates.load import load_black_box, load_model
from onlymymodel.surrogates.model_card import ModelCard, Preprocess
from onlymymodel.surrogates.options import override_card
from onlymymodel.surrogates.pretrained import CLASS_COUNTS, gives_features
from onlymymodel.surrogates.uri import parse_uri

REFUSED = "gives features, not the logits of a classifier, and cannot be the authorized model: add gallery=FOLDER"


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for person in ("ann", "bob"):
        (tmp_path / "gallery" / person).mkdir(parents=True)
        for index in range(2):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "gallery" / person / f"{index}.png")
    return tmp_path / "gallery"


@pytest.mark.parametrize(
    ("name", "outputs", "features"),
    [
        ("vit_base_patch32_clip_224", 512, True),
        ("vit_base_patch32_clip_224.openai", 512, True),
        ("resnet50_clip.openai", 1024, True),
        ("convnext_base.clip_laion2b", 640, True),
        ("fastvit_mci0.apple_mclip", 512, True),
        ("vit_pe_core_base_patch16_224.fb", 1024, True),
        ("vit_base_patch32_clip_224.openai_ft_in1k", 1000, False),
        ("convnext_base.clip_laion2b_augreg_ft_in12k", 11821, False),
        ("resnet50", 512, False),  # somebody's own classes
        ("resnet50", 0, True),
    ],
)
def test_the_projection_of_a_tower_is_known_by_its_width(name: str, outputs: int, features: bool) -> None:
    assert gives_features(name, outputs) == features


def test_every_pretrained_network_of_timm_is_a_classifier_of_a_known_set_or_a_tower() -> None:
    """A new set of timm's would make its classifiers look like towers."""
    for name in timm.list_pretrained():
        config: Any = timm.get_pretrained_cfg(name)
        tower = any(word in name for word in ("clip", "apple_mclip", "pe_core"))
        assert config.num_classes in {0, *CLASS_COUNTS} or tower, name


@pytest.fixture
def tower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository on the hub with the record of a CLIP tower, but small; returns its URI."""
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    torch.manual_seed(0)
    small: dict[str, Any] = {"depth": 1, "embed_dim": 24, "num_heads": 2}
    net = timm.create_model("vit_base_patch32_clip_224", num_classes=512, **small)
    record = (
        b'{"architecture": "vit_base_patch32_clip_224", "num_classes": 512, "pretrained_cfg": {"num_classes": 512},'
        b' "model_args": {"depth": 1, "embed_dim": 24, "num_heads": 2}}'
    )
    fill_cache(tmp_path / "hub", model__safetensors=safetensors.torch.save(net.state_dict()), config__json=record)
    return "hf-hub:timm/test_vit.r160_in1k@main"


def test_a_tower_on_the_hub_is_an_embedder_without_a_gallery(tower: str, gallery: Path, tmp_path: Path) -> None:
    for load in (load_model, load_black_box):
        with pytest.raises(UserError, match=REFUSED):
            require_classes(load(tower).card)
    assert load_model(f"{tower}?gallery={gallery}").card.labels == ("ann", "bob", "stranger")
    (tmp_path / "names.txt").write_text("\n".join(map(str, range(512))))
    assert load_model(f"{tower}?labels={tmp_path / 'names.txt'}").card.classes == 512


def test_a_file_without_a_last_layer_is_an_embedder(gallery: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save(timm.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "net.pt")
    uri = f"checkpoint:{tmp_path / 'net.pt'}?arch=timm:test_vit&classes=0"
    with pytest.raises(UserError, match="at least 2 classes"):
        load_model(uri)
    model = load_model(f"{uri}&gallery={gallery}")
    assert model.card.labels == ("ann", "bob", "stranger")
    assert model(torch.rand(2, 3, 50, 40)).shape == (2, 3)
    assert load_model(f"{uri}&task=embedding").card.kind == "embedder"


def test_a_classifier_is_an_embedder_without_its_last_layer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net: Any = timm.create_model("test_vit", num_classes=7).eval()
    save(net.state_dict(), tmp_path / "net.pt")
    uri = f"checkpoint:{tmp_path / 'net.pt'}?arch=timm:test_vit&classes=7"
    classifier, embedder = load_model(uri), load_model(f"{uri}&task=embedding&threshold=0.7")
    assert (embedder.card.kind, embedder.card.threshold, embedder.card.classes) == ("embedder", 0.7, net.num_features)
    assert classifier.card.same_weights(embedder.card)
    crop = torch.rand(2, 3, 160, 160)
    features = net.forward_head(net.forward_features((crop - embedder.mean) / embedder.std), pre_logits=True)
    torch.testing.assert_close(embedder.logits(crop), F.normalize(features, dim=1).detach())


def test_a_model_on_a_server_is_no_embedder() -> None:
    with pytest.raises(UserError, match="cannot be read as one of embedding"):
        override_card(ModelCard("http://h", "s", 3, Preprocess()), parse_uri("http://h/v2/models/m?task=embedding"))


def test_a_files_number_of_outputs_is_not_that_of_its_gallery(gallery: Path, tmp_path: Path) -> None:
    save(timm.create_model("test_vit", num_classes=7).state_dict(), tmp_path / "net.pt")
    uri = f"checkpoint:{tmp_path / 'net.pt'}?arch=timm:test_vit&classes=7&gallery={gallery}"
    assert load_model(uri).card.classes == 3


@pytest.mark.parametrize("output", ["embedding", "image_embeds", "Features"])
def test_an_onnx_output_that_is_named_as_features_is_an_embedding(output: str, gallery: Path, tmp_path: Path) -> None:
    uri = f"onnx:{write_onnx(tmp_path / 'net.onnx', output=output)}"
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\ne\n")
    for load in (load_model, load_black_box):
        with pytest.raises(UserError, match=REFUSED):
            require_classes(load(uri).card)
        assert load(f"{uri}?gallery={gallery}").card.classes == 3
        assert load(f"{uri}?labels={tmp_path / 'names.txt'}").card.classes == CLASSES


def test_both_runtimes_give_the_same_embedding_of_length_1(tmp_path: Path) -> None:
    uri = f"onnx:{write_onnx(tmp_path / 'net.onnx')}?task=embedding&threshold=0.2"
    image = np.random.default_rng(3).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    judge, model = load_black_box(uri), load_model(uri)
    assert judge.card.threshold == model.card.threshold == 0.2
    assert query(judge, image) == pytest.approx(query(ClassifierBlackBox(model), image), abs=1e-5)
    assert np.linalg.norm(query(judge, image)) == pytest.approx(1, abs=1e-5)
