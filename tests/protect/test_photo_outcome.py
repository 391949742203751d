"""The status of a photo and its reason follow from the models' answers."""

from dataclasses import replace

import pytest
from toys import mine, others, theirs

from onlymymodel.protect.answer_records import DeploymentMargins, ModelAnswers, SurrogateAnswers
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.context import Context
from onlymymodel.protect.photo_outcome import verdict
from onlymymodel.protect.photo_record import FaceRecord

CONTEXT = Context(mine(), (theirs(), others()), Budget(), make_recipe("default", kappa=2.0))
LABEL = 1
Deployments = dict[str, DeploymentMargins]
Outcome = tuple[ModelAnswers, Deployments, list[SurrogateAnswers], int]


def outcome(
    *answers: tuple[int, int],
    margin: float = 2.0,
    linf: int = 8,
    answer: int = LABEL,
    deployments: dict[str, tuple[float, float]] | None = None,
) -> Outcome:
    """Surrogates that are pushed from the label and answered (before, after); margins (before, after) by deployment."""
    margins = {
        name: DeploymentMargins(before=before, after=after) for name, (before, after) in (deployments or {}).items()
    }
    surrogates = [
        SurrogateAnswers(model="m", pushed_from=LABEL, answer_before=before, answer_after=after)
        for before, after in answers
    ]
    own = ModelAnswers(answer_before=LABEL, margin_before=2.0, answer_after=answer, margin_after=margin)
    return own, margins, surrogates, linf


@pytest.mark.parametrize(
    ("given", "status", "reason"),
    [
        (outcome((1, 0), (1, 2)), "protected", "2 of 2 stand-ins misread it"),
        (outcome((1, 0), (1, 1)), "protected", "1 of 2 stand-ins misread it"),
        (outcome((1, 0), (0, 2)), "protected", "2 of 2 stand-ins misread it"),
        # nothing shows that the change misleads anyone
        (outcome((2, 0), (0, 0)), "already-misread", "2 of 2 stand-ins misread it, and did so before"),
        (outcome((2, 2)), "already-misread", "1 of 1 stand-ins misread it, and did so before"),
        (outcome((2, 0), linf=0), "unchanged", "the budget leaves no room for a change"),
        (outcome((2, 0), margin=1.9), "unchanged", "the authorized model cannot be kept right"),
        # the recipe fmd needs no surrogate
        (outcome(), "protected", "no stand-in took part, so that no other model was asked"),
        (outcome((1, 1), (1, 1)), "unchanged", "no stand-in could be misled inside the budget"),
        (outcome((1, 1), (0, 0)), "unchanged", "no stand-in could be misled inside the budget"),
        # the change taught them
        (outcome((0, 1), (0, 0)), "unchanged", "the change would let 1 of 2 stand-ins read it, where 0 do now"),
        (outcome((0, 1), (2, 1)), "unchanged", "the change would let 2 of 2 stand-ins read it, where 0 do now"),
        (outcome((1, 0), (0, 1)), "protected", "1 of 2 stand-ins misread it"),
        (outcome((1, 0), linf=0), "unchanged", "the budget leaves no room for a change"),
        (outcome((1, 0), margin=1.9), "unchanged", "the authorized model cannot be kept right"),
        (outcome((1, 0), answer=0), "unchanged", "the authorized model cannot be kept right"),
        (outcome((1, 0), deployments={"mirror": (1.0, 0.01)}), "protected", "1 of 1 stand-ins misread it"),
        # what it did not read before is not promised
        (outcome((1, 0), deployments={"mirror": (-0.1, -2.0)}), "protected", "1 of 1 stand-ins misread it"),
        (
            outcome((1, 0), deployments={"mirror": (1.0, -0.5)}),
            "unchanged",
            "the authorized model cannot be kept right through mirror inside the budget (margin -0.5)",
        ),
        (
            outcome((1, 0), deployments={"mirror": (1.0, -0.5), "jpeg-75": (1.0, -2.0), "blur-1": (1.0, 1.0)}),
            "unchanged",
            "the authorized model cannot be kept right through jpeg-75 inside the budget (margin -2, and 1 more)",
        ),
    ],
)
def test_the_status_follows_from_the_answers(given: Outcome, status: str, reason: str) -> None:
    answers, deployments, surrogates, linf = given
    result = verdict(LABEL, answers, deployments, surrogates, (), linf, CONTEXT)
    assert result[0] == status
    assert result[1] == reason or result[1].startswith(reason + " inside the budget")


def test_a_photo_without_a_step_is_not_said_to_lack_room() -> None:
    answers, deployments, surrogates, linf = outcome((1, 1), linf=0)
    no_steps = replace(CONTEXT, recipe=replace(CONTEXT.recipe, steps=0))
    result = verdict(LABEL, answers, deployments, surrogates, (), linf, no_steps)
    assert result == ("unchanged", "no steps were taken (--steps 0)")


@pytest.mark.parametrize(("after", "status"), [(0, "protected"), (None, "protected"), (2, "already-misread")])
def test_a_surrogate_that_is_misled_on_another_face_counts(after: int | None, status: str) -> None:
    """No surrogate reads the first face; one reads a second face, as class 2, until the change."""
    answers, deployments, surrogates, linf = outcome((0, 0))
    other = SurrogateAnswers(model="m", pushed_from=2, answer_before=2, answer_after=after)
    face = FaceRecord(
        box=(0.0, 0.0, 9.0, 9.0), label=2, label_name="ann", authorized=None, surrogates=(other,), area="changed"
    )
    assert verdict(LABEL, answers, deployments, surrogates, (face,), linf, CONTEXT)[0] == status
