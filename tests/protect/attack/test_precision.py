"""The precision `auto` is decided once, by the device, before anything is hashed; TF32 is for the optimizer alone."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import CONTEXT, protect, save_photo
from toys import generators, mine, photos, small_cnn, theirs

from onlymymodel.errors import UserError
from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.differentiable_channels import compress
from onlymymodel.protect.attack.model_inputs import ModelInputs
from onlymymodel.protect.attack.precision import full_float32, networks_in, resolve_precision
from onlymymodel.protect.attack.recipe import Precision, make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.output_folder import check_same_settings
from onlymymodel.protect.portable import LIMITS
from onlymymodel.runtime import configure, native_bfloat16
from onlymymodel.settings import RunSettings

CPU, AUTO = torch.device("cpu"), make_recipe("default", steps=3, precision="auto")
CPU_FLAGS = Path("/proc/cpuinfo")
IN_BFLOAT16 = ("avx512_bf16", "amx_bf16")


def on_this_cpu() -> Precision:
    return "bfloat16" if native_bfloat16(CPU) else "float32"


def tf32() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(not CPU_FLAGS.exists(), reason="not Linux")
def test_native_bfloat16_is_what_the_kernel_says() -> None:
    flags = set(re.findall(r"\w+", CPU_FLAGS.read_text(encoding="ascii")))
    assert bool(native_bfloat16(CPU)) == any(name in flags for name in IN_BFLOAT16)


@pytest.mark.parametrize(("capability", "native"), [((7, 5), ""), ((8, 0), "compute capability 8.0")])
def test_cuda_computes_in_it_from_capability_8(
    capability: tuple[int, int], native: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert native_bfloat16(torch.device("cuda")) == native


def test_other_devices_are_left_in_float32() -> None:
    recipe, reason = resolve_precision(AUTO, torch.device("mps"))
    assert (recipe.precision, reason) == ("float32", "mps is not known to compute in bfloat16")


def test_a_precision_that_is_given_stays() -> None:
    for recipe in (make_recipe("default"), make_recipe("default", precision="bfloat16")):
        assert resolve_precision(recipe, CPU) == (recipe, "")


def test_portable_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LIMITS.items():
        monkeypatch.setenv(name, value)
    recipe, reason = resolve_precision(AUTO, CPU)
    assert recipe.precision == "float32"
    assert "--portable" in reason


def test_auto_writes_the_same_bytes_as_what_it_stands_for() -> None:
    named = replace(AUTO, precision=on_this_cpu())
    pixels, labels = photos(2), torch.tensor([0, 1])
    results = [
        protect_batch(
            pixels,
            labels,
            authorized=mine(),
            surrogates=[theirs()],
            budget=Budget(8 / 255),
            recipe=recipe,
            generators=generators(2),
        )
        for recipe in (AUTO, named)
    ]
    assert torch.equal(results[0].pixels, results[1].pixels)
    assert not torch.equal(results[0].pixels, pixels)


def test_the_run_records_the_decision_and_its_reason(tmp_path: Path) -> None:
    context = RunSettings("python:toys:mine", ("python:toys:theirs",), recipe=AUTO).context(mine(), [theirs()])
    assert context.recipe == replace(AUTO, precision=on_this_cpu())
    assert context.recipe.sha256() == replace(AUTO, precision=on_this_cpu()).sha256()
    save_photo(tmp_path / "photos" / "0.png", 0)
    protect(tmp_path / "photos", tmp_path / "out", context=context)
    content: dict[str, Any] = json.loads((tmp_path / "out" / "run.json").read_bytes())
    assert content["settings"]["recipe"]["precision"] == on_this_cpu()
    assert content["precision_reason"] == context.precision_reason != ""
    check_same_settings(tmp_path / "out", {"recipe": AUTO.to_json()})  # told when the device is known


def test_a_machine_that_decides_otherwise_does_not_go_on(tmp_path: Path) -> None:
    other: Precision = "float32" if on_this_cpu() == "bfloat16" else "bfloat16"
    save_photo(tmp_path / "photos" / "0.png", 0)
    there = replace(CONTEXT, recipe=replace(CONTEXT.recipe, precision=other))
    protect(tmp_path / "photos", tmp_path / "out", context=there)
    recipe, reason = resolve_precision(replace(there.recipe, precision="auto"), CPU)
    here = replace(CONTEXT, recipe=recipe, precision_reason=reason)
    message = rf"precision {other}, and auto is {recipe.precision} here, as .*: give --precision {other} to go on"
    with pytest.raises(UserError, match=message):
        protect(tmp_path / "photos", tmp_path / "out", context=here)


def test_tf32_is_allowed_while_networks_run_and_only_then() -> None:
    configure()
    cuda = torch.device("cuda")
    assert tf32() == (False, False)
    with networks_in("float32", cuda):
        assert tf32() == (True, True)
        with full_float32(cuda):
            assert tf32() == (False, False)
        assert tf32() == (True, True)
    assert tf32() == (False, False)
    with networks_in("float32", CPU):
        assert tf32() == (False, False)


def test_full_float32_holds_within_bfloat16() -> None:
    ones = torch.ones(2, 2)
    with networks_in("bfloat16", CPU):
        assert (ones @ ones).dtype == torch.bfloat16
        with full_float32(CPU):
            assert (ones @ ones).dtype == torch.float32


def test_inputs_that_an_objective_prepares_have_the_codec_in_full() -> None:
    """SVRE, OPS and MEF prepare inputs between their networks, which may run in bfloat16."""
    model, pixels = small_cnn(0), torch.rand(1, 3, 32, 32)
    inputs = ModelInputs(pixels, [model], partial(compress, quality=60.0))
    with networks_in("bfloat16", CPU):
        again = inputs.at(pixels)
    assert torch.equal(again.canvas(model), inputs.canvas(model))


def test_auto_has_to_be_decided_first() -> None:
    with pytest.raises(ValueError, match="not resolved"), networks_in("auto", CPU):
        pass
