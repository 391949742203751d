"""A tiny model of image and text that open_clip makes, with random weights."""

import json
from pathlib import Path
from typing import Any

import open_clip
import safetensors.torch
import torch

NAME = "tiny-test"
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def make(folder: Path) -> Any:
    """Make it known to open_clip, and return it."""
    (folder / f"{NAME}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    return open_clip.create_model(NAME, pretrained_text=False).eval()


def save(model: Any, path: Path) -> Path:
    """Write its weights as safetensors."""
    safetensors.torch.save_file(model.state_dict(), path)
    return path
