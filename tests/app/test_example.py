"""The example of the first screen: its pictures are those of its record, and it shows what the page promises."""

import numpy as np
from PIL import Image

from onlymymodel.app.model_answers import CHANNELS
from onlymymodel.app.uploaded_photo import AMPLIFY
from onlymymodel.app.visibility import limits_at, stop_of
from onlymymodel.data.pixels import to_tensor
from onlymymodel.evaluate.images import amplify_difference
from onlymymodel.example import FOLDER, VIEWS, example
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.measure import measure
from onlymymodel.protect.budget.strengths import DEFAULT, STRENGTHS


def test_the_pictures_are_those_of_the_record_and_inside_the_default_budget() -> None:
    pictures = {view: np.asarray(Image.open(FOLDER / f"{view}.webp").convert("RGB")) for view in VIEWS}
    record, before, after = example(), pictures["before"], pictures["after"]
    assert before.shape == (record["height"], record["width"], 3)
    np.testing.assert_array_equal(pictures["difference"], amplify_difference(before, after, AMPLIFY))
    distortion = measure(to_tensor(after), to_tensor(before))
    figures = record["figures"]
    assert (distortion.linf, round(distortion.ssim, 4)) == (figures["linf"], round(figures["ssim"], 4))
    budget = Budget.from_json(limits_at(stop_of(STRENGTHS[DEFAULT].ssim)))
    assert budget.violations(to_tensor(after), to_tensor(before), 1e-4) == []


def test_the_authorized_model_keeps_the_example_through_every_channel() -> None:
    record = example()
    assert record["status"] == "protected"
    assert [channel["title"] for channel in record["channels"]] == list(CHANNELS.values())
    for channel in record["channels"]:
        roles = [answer["role"] for answer in channel["answers"]]
        assert roles == ["authorized", *["surrogate"] * 4, *["held-out"] * 2]
        assert channel["answers"][0]["good"] is True
    assert record["least"]["margin"] > 0
