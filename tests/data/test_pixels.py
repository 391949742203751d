import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import onlymymodel
import onlymymodel.data
from onlymymodel.data.pixels import to_array, to_tensor

LIGHT = """
import importlib, sys, types
package = types.ModuleType("onlymymodel")  # without what the package itself imports
package.__path__ = [sys.argv[1]]
sys.modules["onlymymodel"] = package
for name in sys.argv[2:]:
    importlib.import_module("onlymymodel.data." + name)
assert "torch" not in sys.modules
"""


@pytest.mark.slow
def test_data_imports_without_torch() -> None:
    names = [module.name for module in pkgutil.iter_modules(onlymymodel.data.__path__)]
    assert "pixels" in names
    subprocess.run([sys.executable, "-c", LIGHT, str(Path(onlymymodel.__file__).parent), *names], check=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_conversions_are_inverse(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    pixels = to_tensor(image)
    assert pixels.shape == (channels, 5, 7)
    assert pixels.dtype == torch.uint8
    assert pixels.is_contiguous()
    assert int(pixels[channels - 1, 4, 6]) == image[4, 6, channels - 1]
    back = to_array(pixels)
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, image)


def test_tensor_has_its_own_pixels() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image.flags.writeable = False
    pixels = to_tensor(image[:, ::-1])
    pixels += 1
    assert image.max() == 0
