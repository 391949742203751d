"""`omm tune --per-image` into a folder of an earlier tuning."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from toys import PLAIN, linear
from tuning import TOYS, content_of, omm

from onlymymodel.errors import UserError
from onlymymodel.evaluate import harness
from onlymymodel.evaluate.harness import Pair, evaluate_models
from onlymymodel.evaluate.judges import Judge
from onlymymodel.evaluate.results import Results
from onlymymodel.evaluate.tune.per_photo import CANDIDATE, CleanAnswers
from onlymymodel.evaluate.verify import verify_folder
from onlymymodel.protect import batches as batches_module
from onlymymodel.protect.budget.distortion import Distortion
from onlymymodel.protect.budget.measure import measure
from onlymymodel.surrogates.black_box import CallableBlackBox, ClassifierBlackBox
from onlymymodel.surrogates.classifier import ModelCard

COLORS = ModelCard("colors", "colors", 3, PLAIN, threshold=0.9)


@pytest.mark.slow
def test_per_photo_tuning_resumes_with_another_highest_level(two_portraits: Path, tmp_path: Path) -> None:
    words = [str(two_portraits), *TOYS, "--per-image", "--target-heldout", "0", "--highest"]
    out, linf = tmp_path / "out", []
    for highest in ("2", "3", "2"):
        omm("tune", *words, highest, "--out", str(out))
        omm("tune", *words, highest, "--out", str(tmp_path / f"fresh-{highest}"))
        fresh = tmp_path / f"fresh-{highest}"
        assert content_of(out)["highest"] == int(highest)
        assert content_of(out)["per_photo"] == content_of(fresh)["per_photo"]
        assert {path.name: path.read_bytes() for path in (out / "protected").glob("*.png")} == {
            path.name: path.read_bytes() for path in (fresh / "protected").glob("*.png")
        }
        run, other = (json.loads((folder / "protected" / "run.json").read_text()) for folder in (out, fresh))
        assert run == other
        linf.append(round(run["settings"]["budget"]["linf"]))
        assert verify_folder(out / "protected", allow_python=True, progress=False).faults == ()
    assert linf == [2, 3, 2]


@pytest.mark.slow
def test_other_settings_are_refused_before_anything_is_computed(
    two_portraits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At levels that were not requested before, nothing else would prevent it."""
    words = [str(two_portraits), *TOYS, "--per-image", "--out", str(tmp_path / "out"), "--highest"]
    omm("tune", *words, "1")
    monkeypatch.setattr(batches_module, "protect_photos", lambda *_: pytest.fail("computed"))
    with pytest.raises(UserError, match=r"protected was made with other settings \(steps 2 there, 3 here\)"):
        omm("tune", *words, "32", "--steps", "3")


def test_a_judge_that_compares_with_the_originals_reads_a_photo_also_when_others_are_finished() -> None:
    """Such a judge numbers the originals anew in every round: the third photo may be the first of a later round."""
    photos = {name: np.full((16, 16, 3), 40, np.uint8) for name in ("a", "b", "c")}
    for channel, pixels in enumerate(photos.values()):
        pixels[..., channel] = 200
    embedder = CallableBlackBox(lambda image: image[0, 0] / np.linalg.norm(image[0, 0]), COLORS)
    judges = [Judge("authorized", ClassifierBlackBox(linear(0))), Judge("held-out", embedder)]

    def evaluate(names: str, candidate: NDArray[np.uint8] | None = None) -> Results:
        versions = {name: photos[name] if candidate is None else candidate for name in names}
        pairs = (Pair(name, photos[name], {CANDIDATE: versions[name]}, 0) for name in names)
        return evaluate_models(judges, pairs, progress=False)

    clean = CleanAnswers({"c": [1]})
    assert clean.reading("c", evaluate("abc"), CANDIDATE, 2) == 1
    assert clean.reading("c", evaluate("c"), CANDIDATE, 0) == 1
    assert clean.reading("c", evaluate("c", photos["a"]), CANDIDATE, 0) == 0


@pytest.mark.slow
def test_a_photo_that_every_level_loses_through_a_deployment_has_no_least_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authorized model reads the files as written, by a pattern that JPEG removes."""
    measured: list[Distortion] = []

    def noted(protected: Tensor, original: Tensor) -> Distortion:
        measured.append(measure(protected, original))
        return measured[-1]

    monkeypatch.setattr(harness, "measure", noted)
    photo = np.full((16, 16, 3), 120, np.uint8)
    photo[:, :8] = 124
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo).save(tmp_path / "photos" / "0\x1b[2J.png")
    words = ["tune", str(tmp_path / "photos"), "--authorized", "python:toys:fragile", "--allow-python", "--quiet"]
    words += ["--surrogate", "python:toys:left_is_brighter", "--heldout", "python:toys:left_is_much_brighter"]
    words += ["--recipe", "exact", "--steps", "10", "--views", "center", "--kappa", "0.1", "--shape", "even"]
    words += ["--per-image", "--target-heldout", "0", "--highest", "4", "--device", "cpu"]
    for through, state, code in ((["--through", "jpeg-75"], "not enough", 1), ([], "least", 0)):
        out = tmp_path / state
        assert omm(*words, "--out", str(out), *through) == code
        content = content_of(out)
        assert [photo["state"] for photo in content["per_photo"]] == [state]
        assert len(measured) == len(content["asked"]) + 1  # the written files: each level of the sample, and the result
        measured.clear()
        described = "Not enough (no level suffices; it has the largest one that could be written): 1 of 1, 0?[2J.png."
        printed = capsys.readouterr().out
        assert (described in printed) is (state == "not enough")
        assert "\x1b" not in printed  # it would clear the terminal
