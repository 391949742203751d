"""The choice of device, the process-wide switches, and the record of the environment."""

import json
import platform

import pytest
import torch

from onlymymodel.errors import UserError
from onlymymodel.runtime import configure, environment, pick_device
from onlymymodel.version import __version__


def test_a_named_device_is_taken() -> None:
    assert pick_device("cpu") == torch.device("cpu")


def test_auto_chooses_an_accelerator_if_one_is_available() -> None:
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert pick_device() == pick_device("auto") == torch.device(expected)


@pytest.mark.parametrize(
    "name", ["", "gpu", "CPU", "cuda:99", "cpu:-2", "mps:7", "xpu", "hpu", "meta", "tpu", "cuda:x"]
)
def test_an_unavailable_device_is_named(name: str) -> None:
    with pytest.raises(UserError) as caught:
        pick_device(name)
    assert str(caught.value).startswith(f"device {name!r} cannot be used here: ")
    assert "\n" not in str(caught.value)


def test_tiny_numbers_are_flushed_to_zero() -> None:
    configure()
    try:
        assert (torch.tensor(1e-38) * 1e-3).item() == 0.0
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.set_flush_denormal(False)


def test_the_environment_is_json_with_the_versions() -> None:
    record = environment()
    assert json.loads(json.dumps(record)) == record
    assert record["onlymymodel"] == __version__
    assert record["torch"] == torch.__version__
    assert record["python"] == platform.python_version()
    assert record["threads"] == torch.get_num_threads()
    assert record["device"] == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_cuda_device_goes_into_the_record_by_its_name() -> None:
    assert environment(torch.device("cuda"))["device"] == torch.cuda.get_device_name()
