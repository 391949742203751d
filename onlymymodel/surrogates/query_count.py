"""Count the queries to a served model, and refuse those beyond its budget."""

from collections.abc import Callable

from onlymymodel.surrogates.black_box import QueryBudgetExhausted
from onlymymodel.surrogates.model_card import ModelCard
from onlymymodel.surrogates.options import numeric_option
from onlymymodel.surrogates.uri import ModelUri


class QueryCount:
    """Base of black boxes that count their queries, see `CountsQueries`.

    Args:
        uri: its option `budget` is the number of queries that are allowed, retries among them; any number without it.

    Attributes:
        sent: number of queries so far.
    """

    card: ModelCard

    def __init__(self, uri: ModelUri) -> None:
        self.budget = int(numeric_option(uri, "budget", 0, int, 0, 2**53)) if "budget" in uri.options else None
        self.sent = 0
        self.on_query: Callable[[], None] = lambda: None

    def count_query(self) -> None:
        """Count a query that is about to be sent.

        Raises:
            QueryBudgetExhausted: no further query may be sent.
        """
        if self.budget is not None and self.sent >= self.budget:
            raise QueryBudgetExhausted(f"the budget of {self.budget} queries to {self.card.uri} is spent")
        self.on_query()
        self.sent += 1
