"""Load `timm:`, `hf-hub:` and `torchvision:` models: networks by their names in these libraries."""

import json
from dataclasses import replace
from typing import Any

import timm
import torchvision
from timm.data.config import resolve_data_config
from torch import nn

from onlymymodel.errors import UserError
from onlymymodel.surrogates.detector_files import is_torchvision_detector, torchvision_detector, untrained_detector
from onlymymodel.surrogates.family import family_of
from onlymymodel.surrogates.fingerprint import fingerprint
from onlymymodel.surrogates.library_names import timm_record, timm_tags, torchvision_record, torchvision_tags
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.model_card import Preprocess
from onlymymodel.surrogates.schemes import READING_OPTIONS
from onlymymodel.surrogates.uri import ModelUri
from onlymymodel.surrogates.weight_files import CONFIG, Caches, torch_reads_from
from onlymymodel.surrogates.weights import readable, weight_paths

TIMM_KEYS = {"fit": "crop_mode"}  # timm's names of our options, where they differ
OTHER_RECORD = (AttributeError, KeyError, TypeError)  # what timm raises on a config.json that is none of its own
# numbers of classes of the sets that timm's classifiers are trained on: ImageNet's subsets, and Bamboo
CLASS_COUNTS = {1000, 11221, 11821, 19168, 21841, 21842, 21843, 115217}


def load_timm(uri: ModelUri) -> Loaded:
    """Load `timm:architecture.tag`.

    Raises:
        UserError: an unknown name or tag, no network.
    """
    weights, *_ = weight_paths(uri).values()
    # the hub has timm's own format also where the first publisher's file has another
    own = {"file": str(weights), "custom_load": timm_record(uri).custom_load if weights.suffix == ".npz" else False}
    with readable(uri):
        return _from_timm(uri, timm.create_model(uri.rest, pretrained=True, pretrained_cfg_overlay=own))


def load_hf_hub(uri: ModelUri) -> Loaded:
    """Load `hf-hub:org/repo@revision`, a repository in timm's layout.

    Raises:
        UserError: no such repository, one without a timm model, no network.
    """
    paths = weight_paths(uri)
    try:
        recorded = json.loads(paths[CONFIG].read_bytes())
        with readable(uri, OTHER_RECORD):
            net = timm.create_model(f"local-dir:{paths[CONFIG].parent}", pretrained=True)
    except (*OTHER_RECORD, RuntimeError, ValueError) as error:
        raise UserError(f"model {uri.text!r}: the repository holds no timm model ({error})") from error
    # timm fills what config.json lacks with its defaults
    recorded = recorded.get("pretrained_cfg", recorded)
    assumed = tuple(name for name in READING_OPTIONS if recorded.get(TIMM_KEYS.get(name, name)) is None)
    loaded = _from_timm(uri, net)
    return replace(loaded, assumed=assumed, record={**loaded.record, "parent": uri.rest.partition("@")[0]})


def load_torchvision(uri: ModelUri) -> Loaded:
    """Load `torchvision:name@WEIGHTS`.

    Raises:
        UserError: an unknown name or unknown weights, no network.
    """
    weights, name = torchvision_record(uri), uri.rest.partition("@")[0]
    weight_paths(uri)
    with readable(uri), torch_reads_from(Caches.current()):
        net = torchvision.models.get_model(name, weights=weights)
    labels = tuple(weights.meta["categories"])
    if is_torchvision_detector(name):
        return torchvision_detector(uri, name, net, labels[1:], len(labels) - 1)
    return Loaded(net, _torchvision_preprocess(weights), {"labels": labels, "family": family_of(name)})


def untrained(uri: ModelUri, classes: int) -> Loaded:
    """Return the untrained network of `?arch=timm:NAME` or `?arch=torchvision:NAME`, to be filled from a file.

    The preprocessing is that of timm's weights of that name (`NAME` or `NAME.tag`) or torchvision's default weights;
    without a tag it is assumed.

    Raises:
        UserError: no architecture, or an unknown one.
    """
    library, _, name = uri.options.get("arch", "").partition(":")
    if library == "timm" and name:
        timm_tags(uri, name)
        net = timm.create_model(name, pretrained=False, num_classes=classes)
        assumed = () if "." in name else READING_OPTIONS
        features = gives_features(name, classes)
        return Loaded(net, _timm_preprocess(uri, net), {"family": family_of(name)}, features=features, assumed=assumed)
    if library == "torchvision" and is_torchvision_detector(name):
        return torchvision_detector(uri, name, untrained_detector(uri, name, classes), (), classes - 1)
    if library == "torchvision" and name:
        preprocess = _torchvision_preprocess(torchvision_tags(uri, name)["DEFAULT"])
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        net = torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
        return Loaded(net, preprocess, {"family": family_of(name)}, assumed=READING_OPTIONS)
    raise UserError(
        f"model {uri.text!r}: say which network the file is for, as ?arch=timm:NAME, ?arch=torchvision:NAME or "
        "?arch=clip:NAME"
    )


def _from_timm(uri: ModelUri, net: nn.Module) -> Loaded:
    config: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]
    outputs = int(getattr(net, "num_classes", config.get("num_classes", 0)))
    names = tuple(config.get("label_names") or ())
    architecture, labels = str(config.get("architecture", "")), names if len(names) == outputs else ()
    record = {
        "labels": labels,
        "family": family_of(architecture),
        "parent": str(config.get("hf_hub_id") or ""),
        "licence": str(config.get("license") or ""),
    }
    features = not labels and gives_features(architecture, outputs)
    return without_last_layer(uri, Loaded(net, _timm_preprocess(uri, net), record, features=features))


def without_last_layer(uri: ModelUri, loaded: Loaded) -> Loaded:
    """Return timm's classifier without its last layer, where the URI asks for its embedding (`task=embedding`)."""
    wanted = uri.options.get("task") == "embedding" and "gallery" not in uri.options
    if not wanted or loaded.features or not hasattr(loaded.net, "reset_classifier"):
        return loaded
    weights = fingerprint(loaded.net.state_dict().values())  # by which the classifier is known to be the same model
    loaded.net.reset_classifier(0)  # type: ignore[operator]
    return replace(loaded, weights=weights, features=True)


def gives_features(name: str, outputs: int) -> bool:
    """Return whether timm's network of that name, with so many outputs, gives features instead of logits.

    It does without a last layer, and where its outputs are as wide as the projection of a CLIP-like tower, which timm
    records as a number of classes.
    """
    architecture = name.partition(".")[0]
    tags = timm.list_pretrained(f"{architecture}.*")
    widths = {config.num_classes for config in map(timm.get_pretrained_cfg, tags) if config is not None}
    return outputs in {0, *widths} - CLASS_COUNTS


def _timm_preprocess(uri: ModelUri, net: nn.Module) -> Preprocess:
    config = resolve_data_config({}, model=net)
    fits = {"center": "crop", "squash": "squash-crop"}
    for key, supported in (("crop_mode", tuple(fits)), ("interpolation", ("bicubic", "bilinear", "nearest"))):
        if config[key] not in supported:
            names = ", ".join(supported)
            raise UserError(f"model {uri.text!r}: its {key} is {config[key]!r}; only {names} are supported")
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
