"""A tiny timm network, files of its weights, the hub's cache, and the loader's errors for invalid files."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from timm.data.config import resolve_data_config
from torch import Tensor, nn
from toys import photos

from onlymymodel.errors import UserError
from onlymymodel.surrogates.load import load_model

TINY = "test_vit.r160_in1k"  # timm's own networks for tests: a third of a million parameters


def tiny(classes: int = 7) -> nn.Module:
    torch.manual_seed(0)
    net: nn.Module = timm.create_model("test_vit", num_classes=classes)
    return net.eval()


def official_logits(net: nn.Module, crop: Tensor) -> Tensor:
    config: dict[str, Any] = resolve_data_config({}, model=net)
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    logits: Tensor = net((crop - mean) / std)
    return logits.detach()


def crop(side: int = 160) -> Tensor:
    return photos(2, size=side).float() / 255


def save(state: dict[str, Any], path: Path) -> Path:
    if path.suffix.lower() == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return path


def error_of(uri: str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_model(uri, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fill_cache(folder: Path, **files: bytes) -> None:
    """A repository in the hub's cache, as the hub's client leaves it."""
    repository = folder / f"models--timm--{TINY}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    for name, content in files.items():
        (snapshot / name.replace("__", ".")).write_bytes(content)
