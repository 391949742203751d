"""Load `clip:` models: towers of image and text that open_clip knows. The text tower embeds the words once."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from onlymymodel.errors import UserError, did_you_mean, first_line
from onlymymodel.surrogates.family import family_of
from onlymymodel.surrogates.library_names import clip_record, import_open_clip
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.model_card import Preprocess
from onlymymodel.surrogates.uri import ModelUri
from onlymymodel.surrogates.weights import readable, weight_paths

TEXTS_AT_ONCE = 64
FITS = {"shortest": "crop", "squash": "squash"}  # our names of open_clip's ways to resize


class ImageTower(nn.Module):
    """The image tower of a CLIP-like model: maps normalized (B,3,height,width) to (B,D) embeddings of any length."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, network_input: Tensor) -> Tensor:
        out = self.visual(network_input)
        embeddings: Tensor = out[0] if isinstance(out, tuple) else out  # CoCa's tower gives tokens, too
        return embeddings


def load_clip(uri: ModelUri) -> Loaded:
    """Load `clip:NAME@TAG`: an image tower, with the text tower for words.

    Raises:
        UserError: open_clip is not installed, an unknown name or tag, no network.
    """
    record, name = clip_record(uri), uri.rest.partition("@")[0]
    path, *_ = weight_paths(uri).values()
    model = untrained_clip(uri, name, quick_gelu=bool(record.get("quick_gelu")), preprocess=record)
    with readable(uri):
        import_open_clip().load_checkpoint(model, str(path), weights_only=True)
    parent = "/".join(str(record["hf_hub"]).split("/")[:2])
    return clip_loaded(uri, model, name, parent=parent)


def untrained_clip(
    uri: ModelUri, name: str, *, quick_gelu: bool = False, preprocess: dict[str, Any] | None = None
) -> nn.Module:
    """Return open_clip's untrained model of a name.

    Args:
        uri: of the model, for errors.
        name: such as `ViT-B-32`.
        quick_gelu: whether its weights were trained with the approximate GELU.
        preprocess: record of its weights; open_clip's defaults if None.

    Raises:
        UserError: open_clip is not installed, has no such model, or cannot make it without a network.
    """
    open_clip = import_open_clip()
    if name not in open_clip.list_models():
        raise UserError(f"model {uri.text!r}: open_clip has no {name!r}{did_you_mean(name, open_clip.list_models())}")
    try:
        with _quiet():
            model: nn.Module = open_clip.create_model(
                name,
                force_quick_gelu=quick_gelu,
                pretrained_image=False,
                pretrained_text=False,
                force_preprocess_cfg=preprocess,
            )
    except (OSError, ImportError, RuntimeError, ValueError) as error:
        raise UserError(f"model {uri.text!r}: open_clip cannot make {name}: {first_line(error)}") from error
    return model.eval()


def clip_loaded(uri: ModelUri, model: Any, name: str, parent: str = "") -> Loaded:
    """Return the image tower of an open_clip model, and its text tower as a function.

    Args:
        uri: of the model, for errors.
        model: of open_clip, with its weights.
        name: in open_clip.
        parent: see `ModelCard`.

    Raises:
        UserError: it resizes photos in a way that is not supported.
    """

    def embed_texts(texts: Sequence[str]) -> Tensor:
        try:
            with _quiet():
                tokens = import_open_clip().get_tokenizer(name)(list(texts))
        except (OSError, ImportError, RuntimeError, ValueError) as error:
            raise UserError(f"model {uri.text!r}: its tokenizer cannot be loaded: {first_line(error)}") from error
        return torch.cat([model.encode_text(part, normalize=True) for part in tokens.split(TEXTS_AT_ONCE)])

    record = {"family": family_of(name.replace("-", "_")), "parent": parent}
    return Loaded(
        ImageTower(model.visual),
        _preprocess(uri, model.visual.preprocess_cfg),
        record,
        features=True,
        embed_texts=embed_texts,
        text_scale=float(model.logit_scale.detach().exp()),
    )


def _preprocess(uri: ModelUri, config: dict[str, Any]) -> Preprocess:
    if config["resize_mode"] not in FITS or config["interpolation"] not in ("bicubic", "bilinear"):
        raise UserError(
            f"model {uri.text!r}: it resizes by {config['resize_mode']} and {config['interpolation']}, which is not "
            "supported"
        )
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    return Preprocess(
        height=height,
        width=width,
        crop_pct=1.0,
        fit=FITS[config["resize_mode"]],  # type: ignore[arg-type]
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip from logging through the root logger, to which it would also add a handler."""
    root, handler, level = logging.getLogger(), logging.NullHandler(), logging.root.manager.disable
    root.addHandler(handler)
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(level)
        root.removeHandler(handler)
