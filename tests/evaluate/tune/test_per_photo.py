"""`omm tune --per-image` into a folder of an earlier tuning."""

import json
from pathlib import Path

import pytest
from tuning import TOYS, content_of, omm

from onlymymodel.errors import UserError
from onlymymodel.evaluate.verify import verify_folder
from onlymymodel.protect import batches as batches_module


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
    with pytest.raises(UserError, match="protected was made with other models or settings"):
        omm("tune", *words, "32", "--steps", "3")
