"""An engineer checks a model of their own, protects labelled photos for it, and asks a judge through channels."""

import json
from pathlib import Path

import pytest
from journeys import JUDGE, QUICK, STAND_INS, omm, write_portraits

from onlymymodel.data.portraits import IDENTITY_NAMES
from onlymymodel.surrogates import zoo

# a network that the package knows nothing about but what the URI says
FACTORY = """
from onlymymodel.surrogates import zoo

def load():
    return zoo.read("identity-residual")[0]
"""


def own_model(folder: Path) -> str:
    (folder / "mine.py").write_text(FACTORY)
    (folder / "people.txt").write_text("\n".join(IDENTITY_NAMES) + "\n")
    card = zoo.read("identity-residual")[1]
    mean, std = (",".join(map(str, card[key])) for key in ("mean", "std"))
    return f"python:mine:load?size={card['size']}&fit=squash&mean={mean}&std={std}&labels=people.txt&task=identity"


@pytest.mark.slow
def test_a_model_of_ones_own_is_checked_protected_for_and_evaluated(tmp_path: Path) -> None:
    people = write_portraits(tmp_path / "photos", 2)
    (tmp_path / "labels.csv").write_text("file,label\n" + "".join(f"{file},{name}\n" for file, name in people.items()))
    uri = own_model(tmp_path)

    refused = omm("models", uri, cwd=tmp_path, code=2)
    assert "--allow-python" in refused.stderr
    checked = omm("models", uri, "--allow-python", cwd=tmp_path)
    assert "16 classes" in checked.stdout

    models = ["--authorized", uri, "--surrogate", *STAND_INS, "--allow-python"]
    labels = ["--labels", "labels.csv"]
    protected = omm("protect", "photos", "--out", "protected", *models, *labels, *QUICK, "--json", cwd=tmp_path)
    assert json.loads(protected.stdout)["counts"] == {"protected": 2}

    folders = ["--original", "photos", "--protected", "protected", "--out", "evaluation"]
    channels = ["--heldout", JUDGE, "--channels", "png", "jpeg75", "--allow-python"]
    omm("evaluate", *folders, *channels, *labels, cwd=tmp_path)
    rows = json.loads((tmp_path / "evaluation" / "results.json").read_text())["rows"]
    assert [row["role"] for row in rows] == ["authorized", "surrogate", "surrogate", "held-out"]
    assert (tmp_path / "evaluation" / "report.html").exists()
