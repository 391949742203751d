"""The inputs of a tuning."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onlymymodel.data.source import Source
from onlymymodel.evaluate.judges import Judge
from onlymymodel.evaluate.tune.knob import EPSILON, HIGHEST, Knob
from onlymymodel.evaluate.tune.search import Target
from onlymymodel.protect.context import Context
from onlymymodel.protect.limits import UNLIMITED, Limits
from onlymymodel.surrogates.answer_cache import EXPORT, open_answer_cache
from onlymymodel.surrogates.cached_black_box import CachedBlackBox
from onlymymodel.surrogates.detector import Detects


@dataclass(frozen=True)
class Tuning:
    """Inputs of a tuning.

    Attributes:
        source: a folder of photos, one photo, or rows of Parquet files.
        out: a folder, new or of an earlier tuning with the same models and settings.
        context: settings of the protection; the search replaces the knob's bound of its budget.
        uris_from: returns the models' URIs for `run.json` in a folder, see `RunSettings.uris_from`.
        judges: exactly one authorized model, and held-out models, at least one of them independent.
        target: what the budget must reach.
        knob: the bound that is searched.
        highest: largest level to try, see `highest_level`.
        sample, seed: number of photos to draw, and the seed of the draw.
        labels, masks, batch_size, limits: see `Job`.
        command: the user's command line, for the records.
    """

    source: Source
    out: Path
    context: Context
    uris_from: Callable[[Path], dict[str, Any]]
    judges: tuple[Judge, ...]
    target: Target = field(default_factory=Target)
    knob: Knob = EPSILON
    highest: int = HIGHEST
    sample: int = 16
    seed: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)
    masks: Path | None = None
    batch_size: int = 8
    limits: Limits = UNLIMITED
    command: str = ""

    def context_at(self, level: int) -> Context:
        """Return the context with the budget of a level."""
        return replace(self.context, budget=self.knob.budget(self.context.budget, level))

    def cached_judges(self) -> tuple[Judge, ...]:
        """Return the judges with one answer cache for all levels: none of them is queried twice about one image.

        Detectors are asked again, since their boxes are not cached.
        """
        cache = open_answer_cache(self.out)
        return tuple(
            judge if isinstance(judge.model, Detects) else Judge(judge.role, CachedBlackBox(judge.model, cache))
            for judge in self.judges
        )

    def export_answers(self) -> None:
        """Write the cached answers as JSON lines, which `recorded:` reads."""
        open_answer_cache(self.out).export(self.out / EXPORT)
