"""Networks by their names in timm and torchvision, with the weights that these libraries point to."""

from typing import Any

import timm
import torchvision
from huggingface_hub.errors import HFValidationError
from timm.data.config import resolve_data_config
from torch import nn

from onlymymodel.errors import UserError
from onlymymodel.surrogates.classifier import Preprocess
from onlymymodel.surrogates.family import family_of
from onlymymodel.surrogates.hub import downloads
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.uri import ModelUri, did_you_mean

FROM_A_FILE = "put the weights in a file and write checkpoint:FILE?arch={arch}, or use a bundled zoo: model"


def load_timm(uri: ModelUri) -> Loaded:
    """`timm:architecture.tag`."""
    tags = _timm_tags(uri, uri.rest)
    if uri.rest not in tags:
        some = ", ".join(f"timm:{tag}" for tag in tags[:5]) + (", ..." if len(tags) > 5 else "")
        raise UserError(
            f"model {uri.text!r}: " + (f"say which weights: {some}" if tags else "timm has no weights for it")
        )
    with downloads(uri.text, FROM_A_FILE.format(arch=f"timm:{uri.rest}")):
        net = timm.create_model(uri.rest, pretrained=True)
    return _from_timm(uri, net)


def load_hf_hub(uri: ModelUri) -> Loaded:
    """`hf-hub:org/repo@revision`, a repository in timm's layout."""
    try:
        with downloads(uri.text, FROM_A_FILE.format(arch="timm:NAME")):
            net = timm.create_model(f"hf-hub:{uri.rest}", pretrained=True)
    except HFValidationError as error:
        raise UserError(f"model {uri.text!r}: write hf-hub:org/repo@revision ({error})") from error
    except (KeyError, RuntimeError, ValueError) as error:
        raise UserError(f"model {uri.text!r}: the repository holds no timm model ({error})") from error
    return _from_timm(uri, net)


def load_torchvision(uri: ModelUri) -> Loaded:
    """`torchvision:name@WEIGHTS`."""
    name, _, tag = uri.rest.partition("@")
    weights = _torchvision_weights(uri, name)
    if tag not in weights.__members__:
        raise UserError(f"model {uri.text!r}: write {name}@ and one of {', '.join(weights.__members__)}")
    with downloads(uri.text, FROM_A_FILE.format(arch=f"torchvision:{name}")):
        net = torchvision.models.get_model(name, weights=weights[tag])
    labels = tuple(weights[tag].meta["categories"])
    return Loaded(net, _torchvision_preprocess(weights[tag]), {"labels": labels, "family": family_of(name)})


def untrained(uri: ModelUri, classes: int) -> Loaded:
    """The network of `?arch=timm:NAME` or `?arch=torchvision:NAME`, to be filled from a file.

    The preprocessing is that of timm's weights of that name (`NAME` or `NAME.tag`) or torchvision's default ones.
    """
    library, _, name = uri.options.get("arch", "").partition(":")
    if library == "timm" and name:
        _timm_tags(uri, name)
        net = timm.create_model(name, pretrained=False, num_classes=classes)
        return Loaded(net, _timm_preprocess(uri, net), {"family": family_of(name)})
    if library == "torchvision" and name:
        preprocess = _torchvision_preprocess(_torchvision_weights(uri, name)["DEFAULT"])
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        net = torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
        return Loaded(net, preprocess, {"family": family_of(name)})
    raise UserError(
        f"model {uri.text!r}: say which network the file is for, as ?arch=timm:NAME or ?arch=torchvision:NAME"
    )


def _timm_tags(uri: ModelUri, name: str) -> list[str]:
    """Names with tags of the weights that timm knows for the architecture of `name`, which may bear a tag."""
    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        raise UserError(f"model {uri.text!r}: timm has no {architecture!r}{did_you_mean(architecture, known)}")
    tags: list[str] = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tags:
        raise UserError(
            f"model {uri.text!r}: timm has no such weights" + (did_you_mean(name, tags) if tags else " for it")
        )
    return tags


def _torchvision_weights(uri: ModelUri, name: str) -> Any:
    """The enumeration of the weights that torchvision knows for an image classifier."""
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UserError(f"model {uri.text!r}: torchvision has no {name!r}{did_you_mean(name, known)}")
    return torchvision.models.get_model_weights(name)


def _from_timm(uri: ModelUri, net: nn.Module) -> Loaded:
    if getattr(net, "num_classes", None) == 0:
        raise UserError(f"model {uri.text!r} gives features, not the logits of a classifier")
    config: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]
    labels = tuple(config.get("label_names") or ())
    record = {
        "labels": labels if len(labels) == config.get("num_classes") else (),
        "family": family_of(str(config.get("architecture", ""))),
        "parent": str(config.get("hf_hub_id") or ""),
        "licence": str(config.get("license") or ""),
    }
    return Loaded(net, _timm_preprocess(uri, net), record)


def _timm_preprocess(uri: ModelUri, net: nn.Module) -> Preprocess:
    config = resolve_data_config({}, model=net)
    fits = {"center": "crop", "squash": "squash-crop"}
    for key, known in (("crop_mode", tuple(fits)), ("interpolation", ("bicubic", "bilinear", "nearest"))):
        if config[key] not in known:
            raise UserError(f"model {uri.text!r}: its {key} is {config[key]!r}; only {', '.join(known)} are offered")
    return Preprocess(
        height=config["input_size"][1],
        width=config["input_size"][2],
        crop_pct=config["crop_pct"],
        fit=fits[config["crop_mode"]],  # type: ignore[arg-type]
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def _torchvision_preprocess(weights: Any) -> Preprocess:
    preset = weights.transforms()
    crop, resize = preset.crop_size[0], preset.resize_size[0]
    return Preprocess(
        height=crop,
        width=crop,
        crop_pct=crop / resize,
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
