"""Weight files: matching ones are read exactly, others are refused by name, and code is never run."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from tiny_timm import crop, error_of, official_logits, save, tiny
from torch import Tensor

from onlymymodel.data.manifest import sha256_file
from onlymymodel.surrogates import checkpoint
from onlymymodel.surrogates.black_box import to_pixels
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.load import load_model


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "SAFETENSORS"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_saved_network_gives_the_same_logits(suffix: str, prefix: str, tmp_path: Path) -> None:
    net = tiny()
    state = {prefix + key: value for key, value in net.state_dict().items()}
    path = save(state, tmp_path / f"net.{suffix}")
    model = load_model(f"checkpoint:net.{suffix}?arch=timm:test_vit&classes=7", base=tmp_path)
    torch.testing.assert_close(model.logits(crop()), official_logits(net, crop()))
    assert model.card.classes == 7
    assert model.card.sha256 == sha256_file(path)
    assert model.card.family == "vit"


@pytest.mark.parametrize("wrap", ["state_dict", "model", "model_state_dict"])
def test_a_training_checkpoint_is_unwrapped(wrap: str, tmp_path: Path) -> None:
    net = tiny()
    save({wrap: net.state_dict(), "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "net.pt")
    model = load_model("checkpoint:net.pt?arch=timm:test_vit&classes=7", base=tmp_path)
    torch.testing.assert_close(model.logits(crop()), official_logits(net, crop()))


def test_half_precision_files_become_float32_networks(tmp_path: Path) -> None:
    net = tiny().half()
    save(net.state_dict(), tmp_path / "net.safetensors")
    model = load_model("checkpoint:net.safetensors?arch=timm:test_vit&classes=7", base=tmp_path)
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    assert torch.equal(model.logits(crop()), Classifier(net.float(), model.card).logits(crop()))


def test_a_torchvision_network_without_batch_counters(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torchvision.models.shufflenet_v2_x0_5(num_classes=4).eval()
    state = {key: value for key, value in net.state_dict().items() if "num_batches" not in key}
    save(state, tmp_path / "net.pt")
    model = load_model("checkpoint:net.pt?arch=torchvision:shufflenet_v2_x0_5&classes=4", base=tmp_path)
    assert torch.equal(model.logits(crop(224)), Classifier(net, model.card).logits(crop(224)))
    weights = torchvision.models.ShuffleNet_V2_X0_5_Weights.DEFAULT.transforms()
    how = model.card.preprocess
    assert (how.mean, how.std, how.interpolation) == (tuple(weights.mean), tuple(weights.std), "bilinear")
    assert (how.height, how.canvas_size(500, 500)) == (weights.crop_size[0], (weights.resize_size[0],) * 2)


@pytest.mark.slow
def test_the_tag_of_an_architecture_decides_the_preprocessing(tmp_path: Path) -> None:
    save(timm.create_model("resnet18").state_dict(), tmp_path / "net.pt")
    for tag in ("a1_in1k", "tv_in1k"):
        model = load_model(f"checkpoint:net.pt?arch=timm:resnet18.{tag}", base=tmp_path)
        config: Any = timm.get_pretrained_cfg(f"resnet18.{tag}")
        how = model.card.preprocess
        assert (how.crop_pct, how.interpolation, how.mean) == (config.crop_pct, config.interpolation, config.mean)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "say which network the file is for"),
        ("?arch=timm:", "say which network"),
        ("?arch=keras:resnet50", "say which network"),
        ("?arch=timm:test_vot&classes=7", "timm has no 'test_vot'; did you mean 'test_vit'"),
        ("?arch=timm:test_vit.in12k&classes=7", "timm has no such weights; did you mean 'test_vit.r160_in1k'?"),
        ("?arch=torchvision:resnet19&classes=7", "torchvision has no 'resnet19'; did you mean 'resnet18'"),
        ("?arch=timm:test_vit", "add &classes=7"),
        ("?arch=timm:test_vit&classes=8", "add &classes=7"),
        ("?arch=timm:test_vit&classes=1", "at least 2 classes"),
        ("?arch=timm:test_vit&classes=1000000001", "the limit is 1,000,000"),
        ("?arch=timm:test_vit&classes=seven", "classes must be a number, not 'seven'"),
        ("?arch=timm:test_resnet&classes=7", "does not fit timm:test_resnet"),
        ("?arch=timm:test_vit&classes=7&size=8", "fails on a 8x8 input"),
        ("?arch=timm:test_vit&classes=7&sise=96", "unknown option 'sise'; did you mean 'size'"),
        ("?arch=timm:test_vit&classes=7&crop_pct=2", "crop_pct must lie in (0, 1]"),
        ("?arch=timm:test_vit&classes=7&labels=two.txt", "has 7 classes but 2 class names"),
    ],
)
def test_mistakes_about_a_checkpoint_are_named(query: str, message: str, tmp_path: Path) -> None:
    save(tiny().state_dict(), tmp_path / "net.pt")
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    assert message in error_of(f"checkpoint:net.pt{query}", base=tmp_path)


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("bare", [True, False])
def test_pickled_code_is_refused_and_not_run(zipped: bool, bare: bool, tmp_path: Path) -> None:
    mark = tmp_path / "exploded"
    content = Bomb(mark) if bare else {"weight": torch.zeros(2), "more": Bomb(mark)}
    torch.save(content, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb(mark)))
    for name in ("net.pt", "plain.pt"):
        message = error_of(f"checkpoint:{name}?arch=timm:test_vit", base=tmp_path)
        assert "pickled code is never run" in message
        assert not mark.exists()
    if bare and zipped:
        pickle.loads((tmp_path / "plain.pt").read_bytes())  # noqa: S301 - the bomb is ours, and must be one
        assert mark.exists()


@pytest.mark.slow
def test_broken_files_are_refused(tmp_path: Path) -> None:
    save(tiny().state_dict(), tmp_path / "whole.pt")
    save(tiny().state_dict(), tmp_path / "whole.safetensors")
    rng = torch.Generator().manual_seed(0)
    for suffix in ("pt", "safetensors"):
        whole = (tmp_path / f"whole.{suffix}").read_bytes()
        noise = bytes(torch.randint(256, (5000,), generator=rng, dtype=torch.uint8).tolist())
        broken = [b"", b"not weights", whole[:100], whole[: len(whole) // 2], whole[:-1], noise, whole[:64] + noise]
        broken += [whole[:2] + noise[i : i + 40] for i in range(0, 1600, 40)]
        for content in broken:
            (tmp_path / f"net.{suffix}").write_bytes(content)
            message = error_of(f"checkpoint:net.{suffix}?arch=timm:test_vit&classes=7", base=tmp_path)
            assert f"net.{suffix} is not a safetensors file" in message or "holds no state dict" in message


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_file_larger_than_the_limit_is_not_read(suffix: str, tmp_path: Path) -> None:
    save(tiny().state_dict(), tmp_path / f"net.{suffix}")
    with (tmp_path / f"net.{suffix}").open("r+b") as file:
        file.truncate(1 << 40)  # sparse: a terabyte that takes no room
    message = error_of(f"checkpoint:net.{suffix}?arch=timm:test_vit&classes=7", base=tmp_path)
    assert f"net.{suffix} needs more than 8 GiB of memory" in message


def test_a_file_that_unpacks_to_more_than_the_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "MAX_WEIGHTS", 1 << 20)
    with zipfile.ZipFile(tmp_path / "net.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data/0", bytes(2 << 20))
    assert (tmp_path / "net.pt").stat().st_size < 1 << 14
    assert "net.pt needs more than" in error_of("checkpoint:net.pt?arch=timm:test_vit&classes=7", base=tmp_path)


def test_a_file_without_a_state_dict_is_refused(tmp_path: Path) -> None:
    save({"state_dict": [1, 2]}, tmp_path / "net.pt")
    assert "holds no state dict" in error_of("checkpoint:net.pt?arch=timm:test_vit", base=tmp_path)


def test_a_missing_file_is_named() -> None:
    assert "there is no file 'absent.pt'" in error_of("checkpoint:absent.pt?arch=timm:test_vit")


def real_crops(photos: list[NDArray[np.uint8]]) -> Tensor:
    """By Pillow: short side 256, center 224, as (n,3,224,224) in [0,1]."""
    small = [Image.fromarray(photo).resize((256, 256), Image.Resampling.BICUBIC) for photo in photos]
    return torch.cat([to_pixels(np.asarray(image.crop((16, 16, 240, 240)))) for image in small])


@pytest.mark.parametrize("name", ["vit_tiny", "resnet18", "resnet50", "squeezenet1_1"])
def test_real_networks_answer_as_when_loaded_by_hand(
    name: str,
    assets: Path,
    real_records: dict[str, Any],
    real_model: Callable[[str], Classifier],
    real_photos: tuple[list[NDArray[np.uint8]], list[int]],
) -> None:
    photos, labels = real_photos
    record, crops = real_records[name], real_crops(photos)
    library, _, architecture = record["arch"].partition(":")
    make: Any = timm.create_model if library == "timm" else torchvision.models.get_model
    net = make(architecture)
    net.load_state_dict(safetensors.torch.load_file(assets / record["file"]), strict=True)
    mean, std = (torch.tensor(record["input"][key]).view(3, 1, 1) for key in ("mean", "std"))
    model = real_model(name)
    with torch.inference_mode():
        official = net.eval()((crops - mean) / std)
        same = model.logits(crops)
        ours = torch.cat([model(to_pixels(photo)) for photo in photos])
    torch.testing.assert_close(same, official, rtol=1e-3, atol=1e-3)
    assert torch.equal(same.argmax(1), official.argmax(1))
    best = official.topk(2).values
    clear = best[:, 0] - best[:, 1] > 0.3  # Pillow rounds the crops to 8 bits, the model's own resize does not
    assert torch.equal(ours.argmax(1)[clear], official.argmax(1)[clear])
    assert clear.sum() >= 12
    assert (ours.argmax(1) == torch.tensor(labels)).float().mean() >= 0.5
    assert model.card.sha256 == record["sha256"]
    assert (model.card.parent, model.card.family) == (record["parent"], record["family"])
