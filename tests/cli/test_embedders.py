"""An embedder as a surrogate and as a judge, from the command line on."""

import json
from pathlib import Path

import pytest
from PIL import Image
from toys import read_portrait

from onlymymodel.cli.main import main
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.protect import run_record

EMBEDDER = "python:toys:features?task=embedding&size=16&fit=squash&mean=0,0,0&std=1,1,1&interpolation=bicubic"
SETTINGS = ["--recipe", "exact", "--views", "center", "--kappa", "0.1", "--steps", "6", "--allow-python", "--quiet"]


@pytest.mark.slow
def test_a_folder_is_protected_verified_and_evaluated_with_an_embedder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for index in range(2):
        Image.fromarray(read_portrait(index)).save(tmp_path / "in" / f"{index}.png")
    out = tmp_path / "out"
    team = ["--surrogate", "python:toys:theirs", EMBEDDER]
    assert main(["protect", str(tmp_path / "in"), "--out", str(out), "--authorized", "python:toys:mine",
                 *team, *SETTINGS]) == 0  # fmt: skip
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        answers = line["surrogates"][1]
        assert (answers["pushed_from"], answers["answer_before"]) == (0, 0)
    card = run_record.read(out).surrogates[1]
    assert (card.task, card.threshold) == ("embedding", 0.5)

    assert main(["verify", str(out), "--allow-python"]) == 0
    assert "2 of 2 stand-ins" in capsys.readouterr().out
    assert main(["verify", str(out), "--allow-python", "--without-originals"]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 stand-ins" in said
    assert "it is asked beside the originals" in said

    evaluation = tmp_path / "evaluation"
    assert main(["evaluate", "--original", str(tmp_path / "in"), "--protected", str(out), "--allow-python",
                 "--out", str(evaluation), "--quiet"]) == 0  # fmt: skip
    row = read_results(evaluation / "results.json").rows[2]
    assert row.kind == "embedder"
    assert row.score("clean").share == 1
    assert "python:toys:features" in (evaluation / "report.html").read_text()


def test_an_embedder_cannot_be_the_authorized_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(read_portrait(0)).save(tmp_path / "in" / "0.png")
    assert main(["protect", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--authorized", EMBEDDER,
                 "--surrogate", "python:toys:theirs", *SETTINGS]) == 2  # fmt: skip
    assert "cannot be the authorized model: add gallery=FOLDER" in capsys.readouterr().err
