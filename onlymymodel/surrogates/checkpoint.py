"""Weight files: safetensors, or torch files of plain tensors. Pickled code is refused, never run."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from onlymymodel.data.manifest import sha256_file
from onlymymodel.errors import UserError
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.pretrained import untrained
from onlymymodel.surrogates.uri import ModelUri, number

UNREADABLE = (
    SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError,
    TypeError, AssertionError, OSError,
)  # fmt: skip # what readers raise on bytes that are no checkpoint


def load_checkpoint(uri: ModelUri) -> Loaded:
    """`checkpoint:file?arch=library:name&classes=N`."""
    path = uri.file()
    classes = int(number(uri, "classes", uri.options.get("classes", "1000"), int))
    if classes < 2:
        raise UserError(f"model {uri.text!r}: a classifier has at least 2 classes")
    loaded = untrained(uri, classes)
    _fill(uri, loaded.net, _read_state(uri, path))
    return Loaded(loaded.net, loaded.preprocess, loaded.record, sha256_file(path))


def _read_state(uri: ModelUri, path: Path) -> dict[str, Tensor]:
    content: Any
    try:
        if path.suffix.lower() == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            with warnings.catch_warnings():  # its remarks on odd files; those are refused here anyway
                warnings.simplefilter("ignore", UserWarning)
                content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise UserError(f"model {uri.text!r}: {path.name} may not be read") from error
    except UNREADABLE as error:
        raise UserError(
            f"model {uri.text!r}: {path.name} is not a safetensors file nor a torch file of plain tensors "
            "(files that hold pickled code are never run; save the state dict as safetensors)"
        ) from error
    for key in ("state_dict", "model", "model_state_dict"):
        content = content[key] if isinstance(content, dict) and isinstance(content.get(key), dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"model {uri.text!r}: {path.name} holds no state dict")
    return {key.removeprefix("module."): value for key, value in content.items()}


def _fill(uri: ModelUri, net: nn.Module, state: dict[str, Tensor]) -> None:
    """Load strictly; a mismatch names the first keys and, for the last layer, the class count."""
    wanted = net.state_dict()
    counters = {key: value for key, value in wanted.items() if key.endswith(".num_batches_tracked")}
    state = {**counters, **state}  # converted files often lack them, and eval mode never reads them
    missing, unknown = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or unknown:
        raise UserError(
            f"model {uri.text!r}: the file does not fit {uri.options['arch']}: "
            f"{len(missing)} tensors missing {missing[:3]}, {len(unknown)} unknown {unknown[:3]}"
        )
    for key, tensor in state.items():
        there, here = tuple(tensor.shape), tuple(wanted[key].shape)
        if there != here:
            last = f"; if this is the last layer, add &classes={there[0]}" if there and there[1:] == here[1:] else ""
            raise UserError(
                f"model {uri.text!r}: {key} has shape {there} in the file and {here} in {uri.options['arch']}{last}"
            )
    net.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in state.items()})
