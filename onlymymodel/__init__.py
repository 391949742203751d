"""onlymymodel: one authorized model still reads the photo, unseen models do not, people see the same photo.

The public API::

    from onlymymodel import Budget, Context, load_model, make_recipe, protect_bytes

    context = Context(
        authorized=load_model("zoo:identity-residual"),
        surrogates=(load_model("zoo:identity-plain"), load_model("zoo:identity-vit")),
        budget=Budget(linf=8 / 255),
        recipe=make_recipe("default"),
    )
    protected, record = protect_bytes(photo_bytes, label=None, context=context)

Call `configure` once before: it sets the process-wide switches that make optimizing fast and repeatable.
"""

from onlymymodel.errors import UserError
from onlymymodel.evaluate.harness import Judge, Pair, evaluate_models
from onlymymodel.evaluate.results import Results, Row, read_results
from onlymymodel.evaluate.verify import verify_folder
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.folder import Job, protect_folder
from onlymymodel.protect.optimizer import protect_batch
from onlymymodel.protect.photo import Context, protect_bytes, protect_photos
from onlymymodel.protect.recipe import RECIPES, Recipe, make_recipe
from onlymymodel.runtime import configure
from onlymymodel.surrogates.black_box import BlackBox, load_black_box
from onlymymodel.surrogates.classifier import Classifier, ModelCard, Preprocess
from onlymymodel.surrogates.doctor import check_team, examine
from onlymymodel.surrogates.load import load_model
from onlymymodel.version import __version__

__all__ = [
    "RECIPES",
    "BlackBox",
    "Budget",
    "Classifier",
    "Context",
    "Job",
    "Judge",
    "ModelCard",
    "Pair",
    "Preprocess",
    "Recipe",
    "Results",
    "Row",
    "UserError",
    "__version__",
    "check_team",
    "configure",
    "evaluate_models",
    "examine",
    "load_black_box",
    "load_model",
    "make_recipe",
    "protect_batch",
    "protect_bytes",
    "protect_folder",
    "protect_photos",
    "read_results",
    "verify_folder",
]
