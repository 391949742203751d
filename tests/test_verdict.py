"""What a photo's answers make of it: the one status and its reason."""

from typing import Any

import pytest
from toys import mine, others, theirs

from onlymymodel.protect.budget import Budget
from onlymymodel.protect.context import Context
from onlymymodel.protect.recipe import make_recipe
from onlymymodel.protect.record import verdict

CONTEXT = Context(mine(), (theirs(), others()), Budget(), make_recipe("default", kappa=2.0))
LABEL = 1


def figures(*answers: tuple[int, int], margin: float = 2.0, linf: int = 8, answer: int = LABEL) -> dict[str, Any]:
    """Of surrogates that are pushed from the label and answered (before, after)."""
    return {
        "authorized": {"answer_after": answer, "margin_after": margin},
        "linf": linf,
        "surrogates": [
            {"answer_before": before, "answer_after": after, "pushed_from": LABEL, "pushed_toward": None}
            for before, after in answers
        ],
    }


@pytest.mark.parametrize(
    ("found", "status", "reason"),
    [
        (figures((1, 0), (1, 2)), "protected", "2 of 2 surrogates misread it"),
        (figures((1, 0), (1, 1)), "protected", "1 of 2 surrogates misread it"),
        (figures((1, 0), (0, 2)), "protected", "2 of 2 surrogates misread it"),
        (figures((2, 0), (0, 0)), "protected", "2 of 2 surrogates misread it, and did so before"),
        (figures((1, 1), (1, 1)), "unchanged", "no surrogate could be misled inside the budget"),
        (figures((1, 1), (0, 0)), "unchanged", "no surrogate could be misled inside the budget"),
        # the change taught them
        (figures((0, 1), (0, 0)), "unchanged", "the change would let 1 of 2 surrogates read it, where 0 do now"),
        (figures((0, 1), (2, 1)), "unchanged", "the change would let 2 of 2 surrogates read it, where 0 do now"),
        (figures((1, 0), (0, 1)), "protected", "1 of 2 surrogates misread it"),
        (figures((1, 0), linf=0), "unchanged", "the budget leaves no room for a change"),
        (figures((1, 0), margin=1.9), "unchanged", "the authorized model cannot be kept right"),
        (figures((1, 0), answer=0), "unchanged", "the authorized model cannot be kept right"),
    ],
)
def test_the_status_follows_from_the_answers(found: dict[str, Any], status: str, reason: str) -> None:
    said = verdict(LABEL, found, CONTEXT)
    assert said[0] == status
    assert said[1] == reason or said[1].startswith(reason + " inside the budget")
