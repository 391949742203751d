"""Call functions of the user's own code that are named as `python:module:factory`, and load the models they return."""

import importlib
from collections.abc import Callable

from torch import nn

from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import BlackBox
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.model_card import ModelCard, Preprocess
from onlymymodel.surrogates.schemes import PREPROCESS_OPTIONS
from onlymymodel.surrogates.uri import ModelUri


def load_network(uri: ModelUri) -> Loaded:
    """Call the factory of `python:module:factory` and return its network or Classifier. This runs the user's code.

    Raises:
        UserError: no such factory, or it returns something else.
    """
    return _as_loaded(uri, _call(uri))


def load_judge(uri: ModelUri) -> BlackBox | Loaded:
    """Call the factory of `python:module:factory`, which may also return a black box. This runs the user's code.

    Raises:
        UserError: no such factory, it returns something else, or options for a black box, which has its own card.
    """
    made = _call(uri)
    if not isinstance(made, BlackBox):
        return _as_loaded(uri, made)
    if uri.options:
        raise UserError(f"model {uri.text!r}: its factory returns a black box with its own card: remove the options")
    if not isinstance(made.card, ModelCard):
        raise UserError(f"model {uri.text!r}: the card of its black box is not a ModelCard")
    return made


def find_factory(owner: str, reference: str) -> Callable[[], object]:
    """Import a factory. This runs the user's code.

    Args:
        owner: what it makes, for errors.
        reference: `module:factory`.

    Raises:
        UserError: no such factory.
    """
    module, _, name = reference.partition(":")
    if not module or not name:
        raise UserError(f"{owner}: write python:module:factory")
    try:
        factory: Callable[[], object] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name in (module, module.partition(".")[0])
        hint = "; your own modules are found in the folders of PYTHONPATH (PYTHONPATH=. is the current one)"
        raise UserError(f"{owner}: {error}{hint if missing else ''}") from error
    if not callable(factory):
        raise UserError(f"{owner}: {name} is not a function")
    return factory


def _call(uri: ModelUri) -> object:
    return find_factory(f"model {uri.text!r}", uri.rest)()


def _as_loaded(uri: ModelUri, made: object) -> Loaded:
    if isinstance(made, Classifier):
        card = {
            key: getattr(made.card, key) for key in ("task", "labels", "words", "keep", "family", "parent", "licence")
        }
        return Loaded(made.net, made.card.preprocess, card, features=made.card.embeds, assumed=made.assumed)
    if not isinstance(made, nn.Module):
        raise UserError(f"model {uri.text!r}: the factory must return a torch.nn.Module or a Classifier")
    return Loaded(made, Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), assumed=PREPROCESS_OPTIONS)
