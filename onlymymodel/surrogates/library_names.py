"""Names of weights in timm and torchvision; errors suggest near ones."""

from typing import Any

import timm
import torchvision

from onlymymodel.errors import UserError, did_you_mean
from onlymymodel.surrogates.uri import ModelUri


def timm_tags(uri: ModelUri, name: str) -> list[str]:
    """Return timm's names, with tags, of the weights for the architecture of `name`, which may have a tag itself.

    Raises:
        UserError: timm has no such architecture, or no such weights.
    """
    architecture, _, tag = name.partition(".")
    architectures = timm.list_models()
    if architecture not in architectures:
        raise UserError(f"model {uri.text!r}: timm has no {architecture!r}{did_you_mean(architecture, architectures)}")
    tags: list[str] = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tags:
        raise UserError(
            f"model {uri.text!r}: timm has no such weights" + (did_you_mean(name, tags) if tags else " for it")
        )
    return tags


def timm_record(uri: ModelUri) -> Any:
    """Return timm's own record of the weights that `timm:architecture.tag` names.

    Raises:
        UserError: an unknown name, or a name without a tag.
    """
    tags = timm_tags(uri, uri.rest)
    if uri.rest not in tags:
        examples = ", ".join(f"timm:{tag}" for tag in tags[:5]) + (", ..." if len(tags) > 5 else "")
        raise UserError(
            f"model {uri.text!r}: " + (f"say which weights: {examples}" if tags else "timm has no weights for it")
        )
    return timm.get_pretrained_cfg(uri.rest)


def torchvision_tags(uri: ModelUri, name: str) -> Any:
    """Return the enumeration of torchvision's weights for an image classifier or a detector.

    Raises:
        UserError: torchvision has no such model.
    """
    classifiers = torchvision.models.list_models(module=torchvision.models)
    classifiers += torchvision.models.list_models(module=torchvision.models.detection)
    if name not in classifiers:
        raise UserError(f"model {uri.text!r}: torchvision has no {name!r}{did_you_mean(name, classifiers)}")
    return torchvision.models.get_model_weights(name)


def check_architecture(uri: ModelUri) -> None:
    """Check the network that a file of weights is for, `?arch=LIBRARY:NAME`, where timm or torchvision knows it.

    Raises:
        UserError: the library has no such network.
    """
    library, _, name = uri.options.get("arch", "").partition(":")
    if library == "timm":
        timm_tags(uri, name)
    if library == "torchvision":
        torchvision_tags(uri, name)


def torchvision_record(uri: ModelUri) -> Any:
    """Return torchvision's own record of the weights that `torchvision:name@WEIGHTS` names.

    Raises:
        UserError: an unknown name, or unknown weights.
    """
    name, _, tag = uri.rest.partition("@")
    weights = torchvision_tags(uri, name)
    if tag not in weights.__members__:
        raise UserError(f"model {uri.text!r}: write {name}@ and one of {', '.join(weights.__members__)}")
    return weights[tag]


def clip_record(uri: ModelUri) -> Any:
    """Return open_clip's own record of the weights that `clip:NAME@TAG` names.

    Raises:
        UserError: open_clip is not installed, or has no such tower or no such weights on the hub.
    """
    open_clip = import_open_clip()
    name, _, tag = uri.rest.partition("@")
    if name not in open_clip.list_models():
        raise UserError(f"model {uri.text!r}: open_clip has no {name!r}{did_you_mean(name, open_clip.list_models())}")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        which = f"write {name}@ and one of {', '.join(tags)}" if tags else "open_clip has no weights for it"
        raise UserError(f"model {uri.text!r}: {which}")
    record = open_clip.get_pretrained_cfg(name, tag)
    if record["hf_hub"].count("/") < 2:
        raise UserError(f"model {uri.text!r}: these weights are not on the hub")
    return record


def import_open_clip() -> Any:
    """Import open_clip.

    Raises:
        UserError: it is not installed.
    """
    try:
        import open_clip
    except ImportError as error:
        raise UserError("models of image and text need an extra: pip install 'onlymymodel[clip]'") from error
    return open_clip
