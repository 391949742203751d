"""Load `checkpoint:` models: safetensors, or torch files of plain tensors. Pickled code is refused, never run."""

import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from onlymymodel.data.manifest import sha256_file
from onlymymodel.errors import UserError
from onlymymodel.surrogates.clip import clip_loaded, untrained_clip
from onlymymodel.surrogates.detector_files import network_of
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.onnx_weights import MAX_WEIGHTS
from onlymymodel.surrogates.options import check_classes, number
from onlymymodel.surrogates.pretrained import untrained, without_last_layer
from onlymymodel.surrogates.schemes import READING_OPTIONS
from onlymymodel.surrogates.uri import ModelUri


def load_checkpoint(uri: ModelUri) -> Loaded:
    """Load `checkpoint:file?arch=library:name&classes=N`; N is 1000 by default, 0 for an embedder without last layer.

    `arch=clip:NAME` needs no number of classes.

    Raises:
        UserError: no such file, a file that is too large or holds no plain state dict, or one of another architecture.
    """
    path = uri.file()
    _check_size(uri, path)
    classes = int(number(uri, "classes", uri.options.get("classes", "1000"), int))
    if uri.options.get("arch", "").startswith("clip:"):
        return _load_clip(uri, path)
    if not (classes == 0 and ("gallery" in uri.options or uri.options.get("task") == "embedding")):
        check_classes(uri, classes)
    loaded = untrained(uri, classes)
    _fill(uri, network_of(loaded.net), _read_state(uri, path))
    return without_last_layer(uri, replace(loaded, sha256=sha256_file(path)))


def _load_clip(uri: ModelUri, path: Path) -> Loaded:
    name = uri.options["arch"].removeprefix("clip:")
    model = untrained_clip(uri, name)
    _fill(uri, model, _read_state(uri, path))
    return replace(clip_loaded(uri, model, name), sha256=sha256_file(path), assumed=READING_OPTIONS)


def _check_size(uri: ModelUri, path: Path) -> None:
    """Refuse a file that would take too much memory: a torch file is a ZIP archive, whose parts may be packed."""
    try:
        size = path.stat().st_size
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(part.file_size for part in archive.infolist()))
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return  # the readers say what is wrong with it
    if size > MAX_WEIGHTS:
        raise UserError(f"model {uri.text!r}: {path.name} needs more than {MAX_WEIGHTS >> 30} GiB of memory")


def _read_state(uri: ModelUri, path: Path) -> dict[str, Tensor]:
    content: Any
    try:
        if path.suffix.lower() == ".safetensors":
            path.open("rb").close()  # whose error says more than that of safetensors
            content = safetensors.torch.load_file(path)
        else:
            with warnings.catch_warnings():  # about unusual files, which are refused below
                warnings.simplefilter("ignore", UserWarning)
                content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise UserError(f"model {uri.text!r}: there is no permission to read {path.name}") from error
    except Exception as error:  # whatever the readers raise on a file that is no checkpoint
        raise UserError(
            f"model {uri.text!r}: {path.name} is not a safetensors file nor a torch file of plain tensors "
            "(pickled code is never run; save the state dict as safetensors)"
        ) from error
    for key in ("state_dict", "model", "model_state_dict"):
        content = content[key] if isinstance(content, dict) and isinstance(content.get(key), dict) else content
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and _is_plain(value) for key, value in content.items()
    ):
        raise UserError(f"model {uri.text!r}: {path.name} holds no state dict of plain tensors")
    return {key.removeprefix("module."): value for key, value in content.items()}


def _is_plain(value: object) -> bool:
    """Return whether a value is a tensor whose numbers are there: not sparse, not quantized, not on `meta`."""
    plain = isinstance(value, Tensor) and value.layout is torch.strided
    return plain and not value.is_quantized and not value.is_meta  # type: ignore[attr-defined]


def _fill(uri: ModelUri, net: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a state dict strictly; an error names the first wrong keys and, for the last layer, the class count."""
    expected = net.state_dict()
    counters = {key: value for key, value in expected.items() if key.endswith(".num_batches_tracked")}
    state = {**counters, **state}  # converted files often lack the counters, and eval mode never reads them
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        raise UserError(
            f"model {uri.text!r}: the file does not fit {uri.options['arch']}: "
            f"{len(missing)} tensors missing {missing[:3]}, {len(unknown)} unknown {unknown[:3]}"
        )
    for key, tensor in state.items():
        shape, needed = tuple(tensor.shape), tuple(expected[key].shape)
        if shape != needed:
            last = f"; if this is the last layer, add &classes={shape[0]}" if shape and shape[1:] == needed[1:] else ""
            raise UserError(
                f"model {uri.text!r}: {key} has shape {shape} in the file and {needed} in {uri.options['arch']}{last}"
            )
    net.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in state.items()})
