"""Towers of image and text: zero-shot classifiers and embedders, never classifiers of their embedding's numbers."""

import logging
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub
import numpy as np
import open_clip
import pytest
import tiny_clip
import torch
from open_clip import pretrained
from PIL import Image

from onlymymodel.data.pixels import to_tensor
from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import ClassifierBlackBox
from onlymymodel.surrogates.cache_key import cache_key
from onlymymodel.surrogates.checks import check_model, require_classes
from onlymymodel.surrogates.load import load_black_box, load_model

NAMES = ("tabby cat", "{odd} dog", "tench", "kit fox")
TEMPLATE = "a bad photo of a {}."


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_clip.make(tmp_path_factory.mktemp("configs"))


@pytest.fixture
def names(tmp_path: Path) -> Path:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    return tmp_path / "names.txt"


@pytest.fixture
def uri(tower: Any, tmp_path: Path) -> str:
    return f"checkpoint:{tiny_clip.save(tower, tmp_path / 'tower.safetensors')}?arch=clip:{tiny_clip.NAME}"


def zero_shot(tower: Any, photo: Image.Image) -> torch.Tensor:
    """The logits by open_clip's own functions, from the photo on."""
    tokenizer = open_clip.get_tokenizer(tiny_clip.NAME)
    texts = [lambda name: TEMPLATE.replace("{}", name)]
    with torch.no_grad():
        classifier = open_clip.build_zero_shot_classifier(tower, tokenizer, NAMES, texts)
        transform = open_clip.image_transform(32, is_train=False)
        features = tower.encode_image(transform(photo)[None], normalize=True)
        logits: torch.Tensor = tower.logit_scale.exp() * features @ classifier
    return logits


def photo(height: int = 70, width: int = 48) -> Image.Image:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (7, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def test_words_give_the_zero_shot_logits_of_open_clip(tower: Any, uri: str, names: Path) -> None:
    model = load_model(f"{uri}&labels={names}&template={TEMPLATE}")
    assert model.card.labels == NAMES
    assert model.card.kind == "words"
    ours = model(to_tensor(np.asarray(photo()))[None])
    # the photo is resized by Pillow there, with 8-bit steps between, and by torch here
    torch.testing.assert_close(ours, zero_shot(tower, photo()), atol=0.05, rtol=0.01)
    same_size = photo(32, 32)
    torch.testing.assert_close(
        model(to_tensor(np.asarray(same_size))[None]), zero_shot(tower, same_size), atol=1e-4, rtol=1e-5
    )
    assert all(result.passed for result in check_model(model))


def test_the_text_tower_is_dropped(uri: str, names: Path) -> None:
    model = load_model(f"{uri}&labels={names}")
    assert sum(values.numel() for values in model.net.state_dict().values()) < 49408
    assert not any("text" in name.partition(".")[0] for name, _ in model.net.named_parameters())


def test_other_words_are_other_answers(uri: str, names: Path) -> None:
    keys = set()
    for template in ("a photo of a {}.", "a drawing of a {}."):
        keys.add(cache_key(ClassifierBlackBox(load_model(f"{uri}&labels={names}&template={template}"))))
    assert len(keys) == 2


def test_a_tower_without_words_is_an_embedder(uri: str) -> None:
    for model in (load_model(uri), load_black_box(uri)):
        assert model.card.kind == "embedder"
        assert model.card.threshold == 0.5
        with pytest.raises(UserError, match="cannot be the authorized model: add gallery=FOLDER"):
            require_classes(model.card)


def test_weights_from_the_hub(
    tower: Any, names: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    record = {"url": "", "hf_hub": "somebody/tiny/", "mean": (0.5,) * 3, "std": (0.5,) * 3, "resize_mode": "squash"}
    record["interpolation"] = "bilinear"
    monkeypatch.setitem(pretrained._PRETRAINED, tiny_clip.NAME, {"mine": record})
    uri = f"clip:{tiny_clip.NAME}@mine?labels={names}"
    with pytest.raises(UserError, match="its weights are not in the cache and could not be downloaded"):
        load_model(uri)
    snapshot = tmp_path / "hub" / "models--somebody--tiny" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    tiny_clip.save(tower, snapshot / "open_clip_model.safetensors")
    handlers = list(logging.getLogger().handlers)
    model = load_model(uri)
    assert (model.card.preprocess.fit, model.card.preprocess.mean) == ("squash", (0.5,) * 3)
    assert model.card.parent == "somebody/tiny"
    assert logging.getLogger().handlers == handlers
    assert not [record for record in caplog.records if record.name == "root"]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("clip:ViT-B-23@openai", "did you mean 'ViT-B-32'"),
        ("clip:ViT-B-32", "write ViT-B-32@ and one of openai"),
        ("clip:ViT-B-32@nobody", "write ViT-B-32@ and one of openai"),
        ("clip:ViT-B-32@openai?lables=x", "did you mean 'labels'"),
    ],
)
def test_wrong_names(uri: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_model(uri)


def test_wrong_files_and_templates(tower: Any, uri: str, names: Path, tmp_path: Path) -> None:
    for options, words in (
        (f"labels={names}&template=a photo", "needs {} where the class name goes"),
        (f"labels={tmp_path / 'none.txt'}", "there is no label file"),
        ("template=a {}", "a template is for the labels=FILE"),
    ):
        with pytest.raises(UserError, match=words):
            load_model(f"{uri}&{options}")
    state = tower.state_dict()
    del state["visual.proj"]
    torch.save(state, tmp_path / "less.pt")
    with pytest.raises(UserError, match=r"1 tensors missing \['visual.proj'\]"):
        load_model(f"checkpoint:{tmp_path / 'less.pt'}?arch=clip:{tiny_clip.NAME}")
    (tmp_path / "one.txt").write_text("cat")
    with pytest.raises(UserError, match="at least 2 classes"):
        load_model(f"{uri}&labels={tmp_path / 'one.txt'}")


def test_a_missing_extra_is_named(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    for named in (uri, "clip:ViT-B-32@openai"):
        with pytest.raises(UserError, match=r"pip install 'onlymymodel\[clip\]'"):
            load_model(named)
