"""Checks of model URIs that load no model and import no torch, so that mistakes are reported at once."""

import os
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from onlymymodel.errors import UserError
from onlymymodel.surrogates import zoo
from onlymymodel.surrogates.schemes import PATH_OPTIONS
from onlymymodel.surrogates.uri import ModelUri, parse_uri, redacted


def check_uris(
    authorized: str | None = None,
    surrogates: Sequence[str] = (),
    heldout: Sequence[str] = (),
    *,
    allow_python: bool = False,
    judges: bool = False,
) -> None:
    """Check the URIs of the models of a run, as far as that is possible before a model is loaded.

    Args:
        authorized: the authorized model; None where it is not named.
        surrogates: the surrogates.
        heldout: the held-out models.
        allow_python: whether `python:` models may run code.
        judges: whether all models only judge, so that none needs gradients.

    Raises:
        UserError: a malformed URI, an unknown scheme, option or bundled model, a file that does not exist, a model that
            may not run or cannot guide, an extra that is not installed, or, unless all judge, a model with two roles.
    """
    guides = [*([] if authorized is None else [authorized]), *surrogates]
    for text in guides:
        _check(parse_uri(text), allow_python, guides=not judges)
    for text in heldout:
        _check(parse_uri(text), allow_python, guides=False)
    if judges:
        return
    for index, text in enumerate(surrogates):
        if text == authorized:
            raise UserError(
                f"stand-in {redacted(text)} is the authorized model itself, which cannot be misled and kept right at "
                "once: name another"
            )
        if text in surrogates[:index]:
            raise UserError(f"stand-in {redacted(text)} is named twice: name it once")
    for index, text in enumerate(heldout):
        if text in guides:
            raise UserError(f"judge {redacted(text)} took part in the protection: name one that did not")
        if text in heldout[:index]:
            raise UserError(f"judge {redacted(text)} is named twice: name it once")


def check_compiler() -> None:
    """Refuse `--compile` where torch.compile would find no C++ compiler.

    Raises:
        UserError: there is none.
    """
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        raise UserError(f"--compile needs a C++ compiler, and there is no {name}: apt install g++, or name one in CXX")


def _check(uri: ModelUri, allow_python: bool, *, guides: bool) -> None:
    if uri.kind.runs_code and not allow_python:
        raise UserError(f"model {uri.text!r} runs code of your own: add --allow-python if you trust it")
    if guides and uri.kind.judges_only:
        raise UserError(f"model {uri.public!r} is a black box: it can judge, not guide (use it with --heldout)")
    if uri.kind.is_file:
        uri.file()
    for option in PATH_OPTIONS:
        if option in uri.options and not Path(uri.options[option]).expanduser().exists():
            raise UserError(f"model {uri.text!r}: {option}= names {uri.options[option]!r}, which does not exist")
    if uri.scheme == "zoo":
        zoo.path(uri.rest)
    for module in uri.kind.guide_modules if guides else uri.kind.judge_modules:
        if find_spec(module) is None:
            raise UserError(f"model {uri.text!r} needs an extra: pip install 'onlymymodel[{uri.scheme}]'")
