"""A trained representation defense as files: encoder for the sender, head for the receiver, and a card."""

import copy
import json
import warnings
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.manifest import sha256
from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.options import RepresentationSettings
from onlymymodel.evaluate.audits.representation.defense import Representation
from onlymymodel.evaluate.audits.representation.networks import Encoder, task_head
from onlymymodel.evaluate.audits.representation.task import Task

CARD = "representation.json"
ENCODER, HEAD, ONNX = "encoder.safetensors", "head.safetensors", "encoder.onnx"
OPSET = 17  # the first with layer normalization
MAX_DIFFERENCE = 1e-4  # between ONNX Runtime and torch, in a representation of variance 1
NEEDS_EXTRA = "the ONNX export needs an extra: pip install 'onlymymodel[onnx]'"


def save(representation: Representation, folder: Path) -> Path:
    """Write encoder.safetensors, head.safetensors, encoder.onnx and, last, the card with their hashes.

    The ONNX file maps `pixels` (n,channels,size,size) in [0,1] to `representation` (n,dimension), without the noise,
    which the sender adds; its standard deviation is in the card.

    Returns:
        the path of the card.

    Raises:
        UserError: the extra `onnx` is not installed, or the results of ONNX Runtime and torch differ.
        OSError: a file cannot be written.
    """
    contents = {
        ENCODER: _weights(representation.encoder),
        HEAD: _weights(representation.head),
        ONNX: _onnx(representation),
    }
    card = {
        "kind": "representation",
        "channels": representation.channels,
        "size": representation.size,
        "classes": representation.task.outputs,
        "attributes": representation.task.attributes,
        "cap": representation.cap,
        "adversary_loss": representation.adversary_loss,
        "settings": representation.settings.to_json(),
        "sha256": {name: sha256(content) for name, content in contents.items()},
    }
    for name, content in contents.items():
        write_atomic(folder / name, content)
    text = json.dumps(card, indent=2, allow_nan=False) + "\n"
    write_atomic(folder / CARD, text.encode())
    return folder / CARD


def load(folder: Path) -> Representation:
    """Load the defense that `save` wrote; the ONNX file is not needed.

    Raises:
        UserError: a file is missing, or does not match the card.
    """
    card = _card(folder)
    try:
        names = {entry.name for entry in fields(RepresentationSettings)}
        settings = RepresentationSettings(**{name: card["settings"][name] for name in names})
        channels, size = int(card["channels"]), int(card["size"])
        task = Task(int(card["classes"]), tuple(map(str, card["attributes"])))
        cap, adversary_loss = float(card["cap"]), card["adversary_loss"]
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and overwritten
            encoder, head = Encoder(channels, size, settings.dimension), task_head(settings.dimension, task.outputs)
        for net, name in ((encoder, ENCODER), (head, HEAD)):
            net.load_state_dict(load_tensors(_content(folder, name, card["sha256"][name])))
            net.eval().requires_grad_(False)
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder / CARD} and its weights do not match: export them again ({error})") from error
    return Representation(encoder, head, settings, channels, size, task, cap, adversary_loss)


def _card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{folder / CARD} cannot be read: give a folder with an exported representation") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder / CARD} is not valid JSON: export the representation again") from error
    if not isinstance(card, dict) or card.get("kind") != "representation":
        raise UserError(f"{folder / CARD} is not the card of a representation")
    return card


def _content(folder: Path, name: str, expected: str) -> bytes:
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise UserError(f"{folder / name} cannot be read: export the representation again") from error
    if sha256(content) != expected:
        raise UserError(f"{folder / name} does not have the hash that {CARD} states: export the representation again")
    return content


def _weights(net: nn.Module) -> bytes:
    return save_tensors({name: value.contiguous() for name, value in net.state_dict().items()})


def _onnx(representation: Representation) -> bytes:
    """Return the encoder as an ONNX file, checked against torch."""
    try:
        import onnx  # noqa: F401 - torch's exporter needs it
        import onnxruntime
    except ImportError as error:
        raise UserError(NEEDS_EXTRA) from error
    encoder = copy.deepcopy(representation.encoder).cpu()
    shape = (representation.channels, representation.size, representation.size)
    pixels = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    with TemporaryDirectory() as scratch, warnings.catch_warnings():
        path = Path(scratch, ONNX)
        warnings.simplefilter("ignore")  # torch's own, which recommends another exporter
        torch.onnx.export(
            encoder,
            (pixels[:2],),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=["representation"],
            dynamic_axes={"pixels": {0: "n"}, "representation": {0: "n"}},
        )
        content = path.read_bytes()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    outputs = torch.from_numpy(session.run(None, {"pixels": pixels.numpy()})[0])
    difference = (outputs - encoder(pixels)).abs().max().item()
    if not difference <= MAX_DIFFERENCE:
        raise UserError(f"the representation of ONNX Runtime differs from torch's by {difference:g}: use {ENCODER}")
    return content
