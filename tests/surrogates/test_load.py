"""From a URI to a Classifier: libraries, hubs with and without a network, Python factories, bundled models."""

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import facenet_pytorch
import huggingface_hub.constants as hub
import pytest
import safetensors.torch
import timm
import torch
from patience import PATIENCE
from tiny_timm import TINY, crop, error_of, fill_cache, official_logits, tiny
from torch import nn
from toys import small_cnn

from onlymymodel.surrogates import facenet, zoo
from onlymymodel.surrogates.assumed import assumed_options
from onlymymodel.surrogates.classifier import Classifier, ModelCard
from onlymymodel.surrogates.fingerprint import parameters_sha256
from onlymymodel.surrogates.load import load_model

NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("timm:resnet15", "timm has no 'resnet15'; did you mean 'resnet"),
        ("timm:resnet50", "say which weights: timm:resnet50."),
        ("timm:test_vit.in21k", "timm has no such weights; did you mean 'test_vit.r160_in1k'?"),
        ("timm:resnet10t_gn", "timm has no"),
        ("torchvision:resnet51@IMAGENET1K_V1", "torchvision has no 'resnet51'; did you mean 'resnet50"),
        ("torchvision:resnet50", "write resnet50@ and one of IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT"),
        ("torchvision:resnet50@V3", "write resnet50@ and one of IMAGENET1K_V1"),
        ("hf-hub:no spaces@main", "write hf-hub:org/repo@revision"),
        ("facenet:vggface", "did you mean 'vggface2'?"),
        ("zoo:identity-residul", "did you mean 'identity-residual'"),
        ("zoo:../../secret", "no bundled model"),
        ("python:toys:mine", "add --allow-python"),
    ],
)
def test_unknown_names_suggest_near_ones(uri: str, message: str) -> None:
    assert message in error_of(uri)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No hub, no other host, empty caches; returns the hub's cache folder."""
    monkeypatch.setattr(hub, "ENDPOINT", NOWHERE)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, NOWHERE)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "hub"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    "uri",
    [f"timm:{TINY}", f"hf-hub:timm/{TINY}@main", "torchvision:squeezenet1_1@IMAGENET1K_V1", "facenet:vggface2"],
)
def test_without_a_network_one_sentence_says_what_to_do(uri: str) -> None:
    started = time.monotonic()
    message = error_of(uri)
    assert time.monotonic() - started < PATIENCE  # no minutes of retries
    assert "not in the cache and could not be downloaded" in message
    assert "to continue offline, " in message
    assert zoo.LIMIT in message
    assert not hub.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE")


def test_cached_weights_load_without_a_network(offline: Path) -> None:
    net = tiny(1000)
    fill_cache(offline, model__safetensors=safetensors.torch.save(net.state_dict()))
    model = load_model(f"timm:{TINY}")
    torch.testing.assert_close(model.logits(crop()), official_logits(net, crop()))
    assert model.card.parent == f"timm/{TINY}"
    assert model.card.sha256 == parameters_sha256(net)
    config: Any = timm.get_pretrained_cfg(TINY)
    how = model.card.preprocess
    assert (how.height, how.crop_pct, how.mean, how.std) == (160, config.crop_pct, config.mean, config.std)
    assert assumed_options(model) == {}


def test_a_hub_repository_is_read_by_its_own_record(offline: Path) -> None:
    net = tiny(3)
    record = (
        b'{"architecture": "test_vit", "num_classes": 3, "label_names": ["a", "b", "c"], "license": "mit",'
        b' "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3], "input_size": [3, 160, 160],'
        b' "fixed_input_size": true,'
        b' "label_names": ["a", "b", "c"], "license": "mit"}}'
    )
    fill_cache(offline, model__safetensors=safetensors.torch.save(net.state_dict()), config__json=record)
    model = load_model(f"hf-hub:timm/{TINY}@main")
    assert (model.card.classes, model.card.labels, model.card.licence) == (3, ("a", "b", "c"), "mit")
    assert model.card.preprocess.mean == (0.1, 0.2, 0.3)
    assert set(assumed_options(model)) == {"crop_pct", "fit", "interpolation"}  # config.json does not have them
    assert torch.equal(model.logits(crop()), Classifier(net, model.card).logits(crop()))


def test_a_hub_repository_of_another_kind_is_refused(offline: Path) -> None:
    fill_cache(offline, config__json=b'{"model_type": "bert"}', model__safetensors=b"other weights")
    assert "holds no timm model" in error_of(f"hf-hub:timm/{TINY}")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b'{"architecture": "test_vit", "num_classes": 3}', "its files hold other weights"),
        (b'{"architecture": "test_vit", "num_classes": 3, "model_args": {"unknown": 1}}', "holds no timm model"),
        (b"[1]", "holds no timm model"),
    ],
)
def test_a_damaged_hub_repository_is_refused(offline: Path, record: bytes, message: str) -> None:
    fill_cache(offline, config__json=record, model__safetensors=b"damaged" * 100)
    assert message in error_of(f"hf-hub:timm/{TINY}")


@pytest.mark.slow
def test_face_weights_in_torchs_cache_are_read(offline: Path) -> None:
    torch.manual_seed(0)
    net = facenet_pytorch.InceptionResnetV1(classify=True, num_classes=facenet.PEOPLE["vggface2"]).eval()
    cache = offline.parent / "torch" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(net.state_dict(), cache / "20180402-114759-vggface2.pt")
    model = load_model("facenet:vggface2")
    assert (model.card.classes, model.card.task, model.card.preprocess.height) == (8631, "identity", 160)
    torch.testing.assert_close(model.logits(crop()), net(crop() * 2 - 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_a_bundled_model_sees_the_whole_photo_squeezed(name: str) -> None:
    model, (net, record) = load_model(f"zoo:{name}"), zoo.read(name)
    pixels = torch.rand(2, 3, 90, 120, generator=torch.Generator().manual_seed(0))
    squeezed = nn.functional.interpolate(pixels, (64, 64), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(record[key]).view(3, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close(model(pixels), net((squeezed - mean) / std), rtol=1e-4, atol=1e-4)
    assert model.card.labels == tuple(record["labels"])
    assert model.card.parent == record["parent"]


CORE = """
import sys
import onlymymodel, onlymymodel.cli.main, onlymymodel.runtime
from onlymymodel.surrogates import black_box, checks, load, uri
onlymymodel.runtime.environment()
load.load_model("zoo:{name}")
print(*sorted({{"onnx", "onnxruntime", "onnx2torch", "lpips", "facenet_pytorch"}} & set(sys.modules)))
"""


@pytest.mark.slow
def test_the_core_imports_no_optional_extra() -> None:
    script = CORE.format(name=zoo.NAMES[0])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_the_hash_of_parameters_covers_every_value_name_and_shape() -> None:
    net = tiny()
    before = parameters_sha256(net)
    assert parameters_sha256(tiny()) == before
    assert parameters_sha256(tiny().to(memory_format=torch.channels_last)) == before
    with torch.no_grad():
        next(net.parameters()).view(-1)[0] += 1e-6
    assert parameters_sha256(net) != before
    assert parameters_sha256(tiny().to(torch.bfloat16)) != before


def quantized(seed: int) -> nn.Module:
    """A network of eight bits, whose state dict has tuples of tensors."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about its own quantization
        quantize: Any = torch.ao.quantization.quantize_dynamic
        made: nn.Module = quantize(network, {nn.Linear}, dtype=torch.qint8)
    return made


def quantized_factory() -> nn.Module:
    return quantized(1)


def test_the_hash_of_parameters_covers_quantized_weights() -> None:
    assert parameters_sha256(quantized(0)) == parameters_sha256(quantized(0)) != parameters_sha256(quantized(1))


def failing_factory() -> nn.Module:
    network = plain_factory()
    network.register_forward_pre_hook(lambda _module, args: dict(enumerate(args))[1])
    return network


def factory() -> Classifier:
    """A Classifier with a full card, for `python:test_load:factory`."""
    made = small_cnn(seed=1)
    facts = {"task": "pets", "labels": ("a", "b", "c", "d"), "family": "cnn", "parent": "mine", "licence": "MIT"}
    return Classifier(made.net, ModelCard("x", "x", 4, made.card.preprocess, **facts))  # type: ignore[arg-type]


def plain_factory() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))


def features_factory() -> nn.Module:
    return nn.Conv2d(3, 4, 3)


def none_factory() -> None:
    return None


@pytest.mark.usefixtures("_this_module")
class TestPython:
    """`python:` models."""

    def test_a_factorys_classifier_keeps_its_card(self) -> None:
        model, made = load_model("python:test_load:factory", allow_python=True), factory()
        for key in ("task", "labels", "family", "parent", "licence", "classes", "preprocess"):
            assert getattr(model.card, key) == getattr(made.card, key)
        pixels = torch.rand(2, 3, 30, 20)
        assert torch.equal(model(pixels), made(pixels))

    def test_a_factorys_network_gets_plain_pixels(self) -> None:
        model = load_model("python:test_load:plain_factory?size=32", allow_python=True)
        pixels = crop(32)
        preprocess = model.card.preprocess
        assert (preprocess.mean, preprocess.std, preprocess.height) == ((0, 0, 0), (1, 1, 1), 32)
        torch.testing.assert_close(model.logits(pixels), model.net(pixels))

    def test_a_quantized_network_is_loaded(self) -> None:
        model = load_model("python:test_load:quantized_factory?size=32", allow_python=True)
        torch.testing.assert_close(model.logits(crop(32)), quantized(1)(crop(32)))

    @pytest.mark.parametrize(
        ("uri", "message"),
        [
            ("python:test_load", "write python:module:factory"),
            ("python:test_load:", "write python:module:factory"),
            ("python::factory", "write python:module:factory"),
            ("python:no_such_module:factory", "No module named 'no_such_module'"),
            ("python:test_load:no_such_factory", "no_such_factory"),
            ("python:test_load:TINY", "TINY is not a function"),
            ("python:test_load:none_factory", "must return a torch.nn.Module or a Classifier"),
            ("python:test_load:features_factory", "where (1, classes) logits are needed"),
            ("python:test_load:plain_factory?classes=3", "gives 2 classes, not 3"),
            ("python:test_load:failing_factory", "fails on a 224x224 input: KeyError: 1"),
        ],
    )
    def test_mistakes_are_named(self, uri: str, message: str) -> None:
        assert message in error_of(uri, allow_python=True)

    def test_nothing_is_imported_without_permission(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "omm_never_imported.py").write_text("raise SystemExit('imported')")
        monkeypatch.syspath_prepend(tmp_path)
        assert "--allow-python" in error_of("python:omm_never_imported:make")


@pytest.fixture
def _this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "test_load", sys.modules[__name__])
