"""onlymymodel: change a photo so that one authorized model still reads it and unseen models do not.

The public API::

    from onlymymodel import Protector

    protector = Protector(preset="photos")
    protector.protect("photo.jpg").save("protected.png")

Functions that optimize call `configure`, which sets the process-wide switches that make optimizing fast and repeatable.

A name is imported when it is first used, so that `import onlymymodel` does not take the seconds that torch needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from onlymymodel.errors import UserError
from onlymymodel.version import __version__

if TYPE_CHECKING:
    from onlymymodel.evaluate.harness import Pair, evaluate_models
    from onlymymodel.evaluate.judges import Judge
    from onlymymodel.evaluate.results import Results, Row
    from onlymymodel.evaluate.results_file import read_results
    from onlymymodel.evaluate.verify import verify_folder
    from onlymymodel.protect.attack.attack import protect_batch
    from onlymymodel.protect.attack.external import Attack, AttackInputs
    from onlymymodel.protect.attack.external_load import LoadedAttack, load_attack
    from onlymymodel.protect.attack.recipe import RECIPES, Recipe, make_recipe
    from onlymymodel.protect.budget.budget import Budget
    from onlymymodel.protect.context import Context
    from onlymymodel.protect.folder import Job, protect_folder
    from onlymymodel.protect.photo import protect_bytes, protect_photos
    from onlymymodel.protect.photo_record import PhotoRecord
    from onlymymodel.protect.protected_photo import ProtectedPhoto, ProtectedTensors
    from onlymymodel.protector import Protector
    from onlymymodel.runtime import configure
    from onlymymodel.settings import RunSettings
    from onlymymodel.settings_file import read_run_file
    from onlymymodel.surrogates.black_box import BlackBox
    from onlymymodel.surrogates.checks import check_model, check_models
    from onlymymodel.surrogates.classifier import Classifier, ModelCard, Preprocess
    from onlymymodel.surrogates.load import load_black_box, load_model
    from onlymymodel.surrogates.wrap import wrap_network

__all__ = [
    "RECIPES",
    "Attack",
    "AttackInputs",
    "BlackBox",
    "Budget",
    "Classifier",
    "Context",
    "Job",
    "Judge",
    "LoadedAttack",
    "ModelCard",
    "Pair",
    "PhotoRecord",
    "Preprocess",
    "ProtectedPhoto",
    "ProtectedTensors",
    "Protector",
    "Recipe",
    "Results",
    "Row",
    "RunSettings",
    "UserError",
    "__version__",
    "check_model",
    "check_models",
    "configure",
    "evaluate_models",
    "load_attack",
    "load_black_box",
    "load_model",
    "make_recipe",
    "protect_batch",
    "protect_bytes",
    "protect_folder",
    "protect_photos",
    "read_results",
    "read_run_file",
    "verify_folder",
    "wrap_network",
]

# where each name of `__all__` is defined, but for those imported above
_MODULES = {
    "RECIPES": "onlymymodel.protect.attack.recipe",
    "Attack": "onlymymodel.protect.attack.external",
    "AttackInputs": "onlymymodel.protect.attack.external",
    "BlackBox": "onlymymodel.surrogates.black_box",
    "Budget": "onlymymodel.protect.budget.budget",
    "Classifier": "onlymymodel.surrogates.classifier",
    "Context": "onlymymodel.protect.context",
    "Job": "onlymymodel.protect.folder",
    "Judge": "onlymymodel.evaluate.judges",
    "LoadedAttack": "onlymymodel.protect.attack.external_load",
    "ModelCard": "onlymymodel.surrogates.classifier",
    "Pair": "onlymymodel.evaluate.harness",
    "PhotoRecord": "onlymymodel.protect.photo_record",
    "Preprocess": "onlymymodel.surrogates.classifier",
    "ProtectedPhoto": "onlymymodel.protect.protected_photo",
    "ProtectedTensors": "onlymymodel.protect.protected_photo",
    "Protector": "onlymymodel.protector",
    "Recipe": "onlymymodel.protect.attack.recipe",
    "Results": "onlymymodel.evaluate.results",
    "Row": "onlymymodel.evaluate.results",
    "RunSettings": "onlymymodel.settings",
    "check_model": "onlymymodel.surrogates.checks",
    "check_models": "onlymymodel.surrogates.checks",
    "configure": "onlymymodel.runtime",
    "evaluate_models": "onlymymodel.evaluate.harness",
    "load_attack": "onlymymodel.protect.attack.external_load",
    "load_black_box": "onlymymodel.surrogates.load",
    "load_model": "onlymymodel.surrogates.load",
    "make_recipe": "onlymymodel.protect.attack.recipe",
    "protect_batch": "onlymymodel.protect.attack.attack",
    "protect_bytes": "onlymymodel.protect.photo",
    "protect_folder": "onlymymodel.protect.folder",
    "protect_photos": "onlymymodel.protect.photo",
    "read_results": "onlymymodel.evaluate.results_file",
    "read_run_file": "onlymymodel.settings_file",
    "verify_folder": "onlymymodel.evaluate.verify",
    "wrap_network": "onlymymodel.surrogates.wrap",
}


if not TYPE_CHECKING:  # a type checker would take any name for a public one

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used (PEP 562)."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
