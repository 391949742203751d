"""The examples of docs/guide/python.md work as written, with toys for the models that would be downloaded."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from paths import ROOT
from PIL import Image
from toys import bare, mine, others, read_portrait, theirs

from onlymymodel import Protector
from onlymymodel.protect.attack.recipe import make_recipe

TEXT = (ROOT / "docs" / "guide" / "python.md").read_text(encoding="utf-8")
ONE_PHOTO, NETWORK, LOADER = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
EXACT = make_recipe("exact", steps=2, step_share=1.0, views=("center",), kappa=0.5)


def run(example: str, **names: Any) -> dict[str, Any]:
    exec(compile(example, "python.md", "exec"), names)
    return names


def test_one_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(read_portrait(0)).save("photo.jpg", quality=100, subsampling=0)
    for uri in ("timm:resnet50.a1_in1k", "timm:resnet18.a1_in1k", "timm:deit_tiny_patch16_224.fb_in1k"):
        assert uri in ONE_PHOTO

    def of_toys(*, authorized: str, surrogates: list[str], strength: str) -> Protector:
        assert authorized
        assert len(surrogates) == 2
        return Protector(authorized=mine(), surrogates=[theirs(), others()], strength=strength, recipe=EXACT)

    photo = run(ONE_PHOTO.replace("from onlymymodel import Protector", ""), Protector=of_toys)["photo"]
    assert photo.record.status == "protected"
    assert Path("protected.png").read_bytes() == photo.data


def test_a_network_of_your_own() -> None:
    names = run(NETWORK.replace("size=64", "size=16"), net=bare(), others=[theirs()])
    assert names["mine"].card.labels == ("cat", "dog", "owl")
    assert names["protector"].context.authorized is names["mine"]


def test_a_data_loader() -> None:
    array = np.stack([read_portrait(index) for index in range(3)])
    pixels = torch.from_numpy(array).permute(0, 3, 1, 2)
    dataset = torch.utils.data.TensorDataset(pixels, mine()(pixels).argmax(1))
    published: list[torch.Tensor] = []
    protector = Protector(authorized=mine(), surrogates=[theirs()], strength="high", recipe=EXACT)
    run(LOADER, protector=protector, dataset=dataset, publish=published.append)
    assert len(torch.cat(published)) == 3
