"""A black box with an answer cache, which is queried once about each image and within its query budget."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.answer_lines import Scores
from onlymymodel.surrogates.answers import answer_of, scores_of
from onlymymodel.surrogates.black_box import BlackBox, CountsQueries, QueryBudgetExhausted, query
from onlymymodel.surrogates.cache_key import cache_key
from onlymymodel.surrogates.recorded_answers import RecordedBlackBox, image_key


class CachedBlackBox:
    """A black box whose answers are cached: a cached image is not sent again.

    A model whose card has no sha256 is queried every time, since its cached answers could be another model's.
    Recorded answers are looked up in their own file, which counts as no query.

    Args:
        box: the model; each query that it sends is counted, including retries (see `CountsQueries`).
        cache: shared by the models of a run.
        budget: total number of queries to this model, over all runs with this cache; None for the budget of `box`, if
            it has one. If both are given the smaller one applies.
    """

    def __init__(self, box: BlackBox, cache: AnswerCache, budget: int | None = None) -> None:
        self.box = box
        self.cache = cache
        self.card = box.card
        own = box.budget if isinstance(box, CountsQueries) else None
        self.budget = min((limit for limit in (budget, own) if limit is not None), default=None)
        self.view: str = box.view if isinstance(box, CachedBlackBox) else cache_key(box)
        self.is_recorded: bool = (
            box.is_recorded if isinstance(box, CachedBlackBox) else isinstance(box, RecordedBlackBox)
        )
        self.is_cached = bool(self.card.sha256) and not self.is_recorded

    def answer(self, image: NDArray[np.uint8]) -> int:
        """Return the answer to an HWC uint8 image, see `answers`.

        Raises:
            QueryBudgetExhausted: it is not cached, and no further query may be sent.
            BlackBoxError: see `query`.
            UserError: see the box and `AnswerCache`.
        """
        key = image_key(image)
        cached = self.cache.answer(self.card, self.view, key) if self.is_cached else None
        return answer_of(self.card, self._query_and_store(key, image)) if cached is None else cached

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `BlackBox.predict`: scores where the card needs them, else scores that mean the answer."""
        predict_one = self._scores if self.card.needs_scores else self._scores_of_answer
        rows = [predict_one(image) for image in images]
        return np.stack(rows) if rows else np.zeros((0, self.card.classes), np.float32)

    def _scores_of_answer(self, image: NDArray[np.uint8]) -> Scores:
        return scores_of(self.card, self.answer(image))

    def _scores(self, image: NDArray[np.uint8]) -> Scores:
        """Return cached scores; query the model if there are none, even if its answer is cached."""
        key = image_key(image)
        cached = self.cache.scores(self.card, self.view, key) if self.is_cached else None
        return self._query_and_store(key, image) if cached is None else cached

    def _query_and_store(self, key: str, image: NDArray[np.uint8]) -> Scores:
        """Return the scores that the box gives; they are stored if the card needs them, else the answer."""
        scores = self._query(key, image)
        if self.is_cached:
            answer = answer_of(self.card, scores)
            self.cache.add_answer(self.card, self.view, key, answer, scores if self.card.needs_scores else None)
        return scores

    def _query(self, key: str, image: NDArray[np.uint8]) -> Scores:
        if not isinstance(self.box, CountsQueries):
            if not self.is_recorded:
                self._count_query(key)
            return query(self.box, image)
        before, self.box.on_query = self.box.on_query, partial(self._count_query, key)
        try:
            return query(self.box, image)
        finally:
            self.box.on_query = before

    def _count_query(self, key: str) -> None:
        if not self.cache.count_query(self.card, self.view, key, self.budget):
            raise QueryBudgetExhausted(
                f"the budget of {self.budget} queries to {self.card.uri} is used up (see {self.cache.path}); allow more"
            )
