"""Models of attributes as judges: Matthews correlation with their own clean answers and with labels."""

import json
from pathlib import Path

import numpy as np
import pytest
from attribute_models import NAMES, attribute_model, write_table
from evaluating import QUICK, write_photos
from sklearn.metrics import matthews_corrcoef
from toys import linear, photos

from onlymymodel.cli.main import main
from onlymymodel.data.attributes import AttributeLabels, decode, encode
from onlymymodel.evaluate import attribute_tables
from onlymymodel.evaluate.attribute_scores import Correlation, correlate, matthews
from onlymymodel.evaluate.csv_table import to_csv
from onlymymodel.evaluate.harness import Pair, evaluate_models
from onlymymodel.evaluate.judges import Judge
from onlymymodel.evaluate.markdown_tables import to_markdown
from onlymymodel.evaluate.report import render_report
from onlymymodel.evaluate.results import CLEAN, Results
from onlymymodel.evaluate.results_file import read_results, results_to_json
from onlymymodel.evaluate.terminal_table import to_text
from onlymymodel.surrogates.answers import answer_of
from onlymymodel.surrogates.black_box import ClassifierBlackBox, query


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 1])
@pytest.mark.parametrize("seed", range(5))
def test_the_coefficient_is_that_of_scikit_learn(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    reference, answers = rng.random(30) < 0.3, rng.random(30) < share
    found = matthews(reference, answers)
    assert found is not None
    assert found == pytest.approx(matthews_corrcoef(reference, answers))


def test_an_erased_attribute_counts_as_chance() -> None:
    """The first attribute is kept; of the second all answers, or half of those that say yes, become no."""
    reference = [0b11, 0b10, 0b11, 0b10, 0b01, 0b00, 0b01, 0b00]
    erased = [code & 0b01 for code in reference]
    gone, fewer = (correlate(reference, answers, 2) for answers in (erased, erased[:2] + reference[2:]))
    assert gone.mean == pytest.approx(0.5)
    assert (gone.attributes, gone.undefined, gone.photos) == (2, 0, 8)
    assert fewer.mean is not None
    assert 0.5 < fewer.mean < 1


def test_an_attribute_whose_reference_is_constant_is_left_out_and_counted() -> None:
    reference = [0b001, 0b011, 0b001, 0b010]
    answers = [0b101, 0b111, 0b100, 0b010]  # of the third the answers vary, the first two agree but once
    found = correlate(reference, answers, 3)
    tables = [np.array([decode(code, 3) for code in codes]) for codes in (reference, answers)]
    expected = [matthews_corrcoef(tables[0][:, column], tables[1][:, column]) for column in range(2)]
    assert found.mean == pytest.approx(np.mean(expected))
    assert (found.attributes, found.undefined, found.photos) == (2, 1, 4)
    assert correlate([1, 1], [0, 1], 1) == Correlation(None, attributes=0, undefined=1, photos=2)
    assert correlate([], [], 2) == Correlation(None, attributes=0, undefined=2, photos=0)


def test_a_missing_answer_counts_as_the_reference() -> None:
    assert correlate([0b1, 0b0, 0b1], [None, 0b0, 0b1], 1).mean == pytest.approx(1)
    without = correlate([0b1, None, 0b0], [0b1, 0b1, 0b0], 1)
    assert without.mean == pytest.approx(1)
    assert without.photos == 2


def judged(count: int = 12) -> tuple[Results, AttributeLabels, list[Pair]]:
    """An authorized classifier, and one judge of attributes whose labels lack `Young`."""
    clean = [photo.permute(1, 2, 0).numpy() for photo in photos(count)]
    other = [photo.permute(1, 2, 0).numpy() for photo in photos(count, seed=9)]
    pairs = [
        Pair(f"{index}.png", before, {"run": after}, index % 2)
        for index, (before, after) in enumerate(zip(clean, other, strict=True))
    ]
    labels = AttributeLabels(
        ("Male", "Bald", "Smiling"), {pair.name: index * 5 % 8 for index, pair in enumerate(pairs)}
    )
    judges = [
        Judge("authorized", ClassifierBlackBox(linear(0))),
        Judge("held-out", ClassifierBlackBox(attribute_model(3))),
    ]
    return evaluate_models(judges, pairs, attributes=labels, progress=False), labels, pairs


def test_a_judge_has_both_coefficients() -> None:
    results, labels, pairs = judged()
    box, row = ClassifierBlackBox(attribute_model(3)), results.rows[1]
    clean = np.array([decode(answer_of(box.card, query(box, pair.original)), 3) for pair in pairs])
    after = np.array([decode(answer_of(box.card, query(box, pair.protected["run"])), 3) for pair in pairs])
    truth = np.array([decode(labels.codes[pair.name], 3) for pair in pairs])
    own, given = attribute_tables.correlations(row, "run")
    assert own is not None
    assert given is not None
    assert own.mean == pytest.approx(np.mean([matthews_corrcoef(clean[:, c], after[:, c]) for c in range(3)]))
    assert (own.attributes, own.undefined, own.photos) == (3, 0, 12)
    # Smiling and Male of the model are the third and first attribute of the labels
    expected = [matthews_corrcoef(truth[:, 2], after[:, 0]), matthews_corrcoef(truth[:, 0], after[:, 1])]
    assert given.mean == pytest.approx(np.mean(expected))
    assert (given.attributes, given.photos) == (2, 12)
    unprotected = attribute_tables.correlations(row, CLEAN)[0]
    assert unprotected is not None
    assert unprotected.mean == pytest.approx(1)


def test_it_is_in_no_mean_and_in_no_share() -> None:
    results, _, _ = judged()
    assert results.independent() == []
    assert results.heldout_mean("run") is None
    assert results.photo_rows == [results.rows[0]]


def test_every_table_has_its_figures(tmp_path: Path) -> None:
    results, _, pairs = judged()
    own, given = attribute_tables.correlations(results.rows[1], "run")
    assert own is not None
    assert own.mean is not None
    assert given is not None
    assert given.mean is not None
    text = to_text(results)
    assert "attributes: attributes-3" in text
    assert f"{own.mean:.3f}" in text
    assert f"{given.mean:.3f}" in text
    markdown = to_markdown(results)
    assert "## Attributes" in markdown
    assert f"{own.mean:.3f} (3 attributes) | {given.mean:.3f} (2 attributes)" in markdown
    assert attribute_tables.NOTE in markdown
    page = render_report(results, pairs, title="t", summary="s", amplify=8)
    assert 'aria-label="Attributes by model and version"' in page
    assert f"{own.mean:.3f} (3 attributes)" in page
    lines = to_csv(results).splitlines()
    line = dict(zip(lines[0].split(","), lines[-1].split(","), strict=True))
    assert line["kind"] == "attributes"
    assert float(line["mcc_own"]) == pytest.approx(own.mean)
    assert (line["mcc_labels_attributes"], line["mcc_labels_undefined"]) == ("2", "0")
    content = results_to_json(results)
    assert content["scores"][-1]["attributes"]["labels"]["mean"] == given.mean
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert read_results(tmp_path / "results.json").rows == results.rows


def test_undefined_coefficients_are_said() -> None:
    results, _, _ = judged(count=1)
    assert attribute_tables.cells(results.rows[1], "run") == ["none, 3 undefined", "none, 2 undefined"]
    assert "undefined for" in to_text(results)
    assert "3 of 3" in to_text(results)


MODELS = {name: f"python:attribute_models:of_{name}" for name in ("mine", "theirs", "others")}


def run(*words: str) -> None:
    assert main([*words, "--allow-python", "--quiet", "--device", "cpu"]) in (0, 1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def table(folder: Path) -> Path:
    """Write labels of the three photos."""
    rows = {"0.png": (1, -1, 1), "1.png": (-1, 1, 1), "sub/2.png": (-1, -1, -1)}
    return write_table(folder / "list_attr_celeba.txt", rows)


def test_attributes_are_protected_judged_and_verified(tmp_path: Path, source: Path) -> None:
    """`omm protect`, `omm verify` and `omm evaluate` with models of attributes in every role."""
    out = tmp_path / "out"
    models = ["--authorized", MODELS["mine"], "--surrogate", MODELS["theirs"]]
    budget = ["--epsilon", "16", *QUICK[:-3], "--steps", "10", "--keep-through", "jpeg-90", "mirror"]
    run("protect", str(source), "--out", str(out), *models, *budget)
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    written = [line for line in lines if line["status"] in ("protected", "already-misread")]
    assert written, [line["reason"] for line in lines]
    for line in written:
        assert line["authorized"]["answer_after"] == line["label"]
        assert line["authorized"]["margin_after"] >= 0.5
        assert all(margins["after"] > 0 for margins in line["deployments"].values() if margins["before"] > 0)
        assert line["surrogates"][0]["attributes"] == len(NAMES)
    run("verify", str(out))
    run(
        "evaluate", "--original", str(source), "--protected", str(out), "--out", str(tmp_path / "evaluation"),
        "--heldout", MODELS["others"], "--labels", f"celeba:{table(tmp_path)}", "--deployments", "jpeg-90",
    )  # fmt: skip
    results = read_results(tmp_path / "evaluation" / "results.json")
    truths = [encode(row) for row in ((True, False, True), (False, True, True), (False, False, False))]
    assert list(results.labels) == truths  # of the authorized model, by the table
    assert results.rows[-1].attributes is not None
    assert results.rows[-1].attributes.known == NAMES
    assert list(results.rows[-1].attributes.labels) == truths


def test_labels_of_attributes_judge_beside_an_authorized_classifier(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    models = ["--authorized", "python:toys:mine", "--surrogate", MODELS["theirs"], "--heldout", MODELS["others"]]
    run("protect", str(source), "--out", str(out), *models, *QUICK[:-3], "--labels", f"celeba:{table(tmp_path)}")
    results = read_results(out / "results.json")
    assert results.authorized.truth == "label"
    assert results.authorized.score(CLEAN).share == 1
    judge = results.rows[-1]
    assert judge.attributes is not None
    assert judge.attributes.known == NAMES


def test_other_labels_are_refused(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.csv").write_text("file,label\n0.png,1\n")
    words = ["protect", str(source), "--out", str(tmp_path / "out"), "--authorized", MODELS["mine"]]
    words += ["--surrogate", MODELS["theirs"], "--allow-python", "--labels", str(tmp_path / "labels.csv")]
    assert main(words) == 2
    assert "only a table of attributes has labels for it" in capsys.readouterr().err
