"""Warnings about preprocessing that was neither given nor recorded."""

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onlymymodel.surrogates.black_box import BlackBox
    from onlymymodel.surrogates.classifier import Classifier

log = logging.getLogger(__name__)


def warn_assumed(models: "Iterable[Classifier | BlackBox]") -> None:
    """Warn in one line of each model whose preprocessing is partly assumed."""
    from onlymymodel.surrogates.assumed import assumed_by_uri, assumption

    for uri, options in assumed_by_uri(models).items():
        log.warning("%s: its preprocessing is partly %s", uri, assumption(options))
