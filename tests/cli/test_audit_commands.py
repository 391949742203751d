"""omm audit, from the command line to the files they write."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from audit_commands import QUIET, reports, two, write_people
from PIL import Image
from toys import small_cnn

from onlymymodel.cli.audit import LAYOUTS as DESCRIPTIONS
from onlymymodel.cli.main import main
from onlymymodel.data.portraits import render
from onlymymodel.evaluate.audits.gradients.matching import Attack
from onlymymodel.evaluate.audits.gradients.reports import gradient_reports
from onlymymodel.evaluate.audits.networks import label_by_network
from onlymymodel.evaluate.audits.pictures import folder_pictures
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.load import load_model


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_people(tmp_path / "photos")


@pytest.mark.slow
def test_gradients_of_a_small_network_at_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--pictures", "digits", "--size", "16", "--limit", "2", "--attacks", "idlg", "--defenses", "none"]
    assert main(["audit", "gradients", "--out", str(tmp_path), *words, *QUIET]) == 0
    (report,) = reports(tmp_path)
    assert [row["name"] for row in report["rows"]] == ["digit 0", "digit 1"]
    assert report["summary"]["labels_found"] == 1
    (line,) = json.loads((tmp_path / "audit.json").read_text())["decision"]["table"]
    assert line["name"] == "defense none"
    assert 0 <= line["task accuracy"] <= 1
    printed = capsys.readouterr().out
    assert printed.index("Assumed:") < printed.index("mean_psnr")


@pytest.mark.slow
def test_photos_with_hostile_names_are_audited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names that are not UTF-8, control a terminal, or are HTML and end a cell of a table."""
    names = (b"x\xff0.png", b"\x1b[2J.png", b"x|<img src=q onerror=f>.png", b"plain.png")
    for number, name in enumerate(names):
        folder = tmp_path / "photos" / f"{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(render(number, 0, 0, 48)).save(folder / "photo.png")
        (folder / "photo.png").rename(folder / os.fsdecode(name))
    words = ["--size", "16", "--attacks", "idlg", "--defenses", "none", "--epochs", "1"]
    out = tmp_path / "out"
    assert main(["audit", "gradients", str(tmp_path / "photos"), "--out", str(out), *words, *QUIET]) == 0
    (report,) = reports(out)
    assert {Path(row["name"]).name for row in report["rows"]} == {os.fsdecode(name) for name in names}
    for text in ((out / "audit.md").read_text(encoding="utf-8"), capsys.readouterr().out):
        assert "x?0.png" in text
        assert "\x1b" not in text
        assert "<img" not in text
    assert "x?0.png" in (out / "audit.html").read_text(encoding="utf-8")


LAYOUTS = pytest.mark.parametrize("layout", ["{0}-{1}.png", "person-{0}/{1}.png"])  # flat, and a folder a person


def photos_of(people: Sequence[int], folder: Path, layout: str, seed: int = 0) -> Path:
    """Two photos of each of the portraits' identities."""
    for person in people:
        for number in range(2):
            file = folder / layout.format(person, number)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(render(person, number, seed, 48)).save(file)
    return folder


def sixteen() -> Classifier:
    """Sixteen classes, of which every photo is of the ninth or the tenth, as `python:test_audit_commands:sixteen`."""
    model = small_cnn(0, 16)
    model.net[-1].bias[8:10] = 9.0  # type: ignore[index]
    return model


FIRST_FINDINGS = [
    "combination of margin gradients", "the same, of pictures that are answered rightly", "reconstruction: ten best",
    "all classes",
]  # fmt: skip
NAMED = ["--model", "python:test_audit_commands:sixteen", "--allow-python", "--size", "16"]


@pytest.mark.slow
def test_gradients_of_a_named_model_are_of_its_own_classes(tmp_path: Path) -> None:
    source = photos_of([3, 4], tmp_path / "photos", "{0}-{1}.png")
    words = [*NAMED, "--limit", "2", "--attacks", "idlg"]
    assert main(["audit", "gradients", str(source), "--out", str(tmp_path / "a"), *words, *QUIET]) == 0
    reported = reports(tmp_path / "a")
    assert [report["settings"]["defense"] for report in reported] == ["none", "noise:0.1"]
    assert len(reported[0]["rows"]) == 2
    assert any("own answers" in sentence for sentence in reported[0]["assumptions"])
    assert reported[0]["summary"]["labels_found"] == 1


@pytest.mark.slow
def test_gradients_of_a_named_model_with_a_folder_for_each_class_have_the_given_labels(tmp_path: Path) -> None:
    source = photos_of([0, 1], tmp_path / "photos", "person-{0}/{1}.png")
    model = ["--model", "python:audit_commands:two", "--allow-python", "--size", "16"]
    words = [*model, "--limit", "4", "--attacks", "idlg", "--defenses", "none"]
    assert main(["audit", "gradients", str(source), "--out", str(tmp_path / "a"), *words, *QUIET]) == 0
    (report,) = reports(tmp_path / "a")
    assert report["settings"]["labeled_by_network"] is False
    assert not any("own answers" in sentence for sentence in report["assumptions"])


@pytest.mark.slow
@LAYOUTS
def test_a_bundled_model_of_sixteen_classes_labels_photos_itself(layout: str, tmp_path: Path) -> None:
    model = load_model("zoo:identity-residual")
    pictures_read = folder_pictures(photos_of([12, 13], tmp_path, layout), 32)
    pictures = label_by_network(model, pictures_read)
    assert pictures.classes == model.card.classes == 16
    assert torch.equal(pictures.labels, model(pictures_read.pixels).argmax(1))
    assert (pictures.labels >= pictures_read.classes).any()
    attack = Attack("a few steps", "cosine", "adam", steps=2, step_size=0.1)
    (report,) = gradient_reports(model, pictures.take([0, 2]), attacks=[attack], predictors=False, progress=False)
    assert "a linear classifier instead, in closed form" in [control.name for control in report.controls]


@pytest.mark.slow
def test_gradients_of_protected_photos_are_compared_with_the_originals(photos: Path, tmp_path: Path) -> None:
    protected = tmp_path / "protected"
    models = ["--authorized", "zoo:identity-plain", "--surrogate", "zoo:identity-residual"]
    words = ["--recipe", "exact", "--steps", "2", "--kappa", "0", "--quiet"]
    assert main(["protect", str(photos), "--out", str(protected), *models, *words]) in (0, 1)
    words = [
        "--protected",
        str(protected),
        "--size",
        "16",
        "--limit",
        "2",
        "--attacks",
        "inverting",
        "--defenses",
        "none",
    ]
    assert main(["audit", "gradients", str(photos), "--out", str(tmp_path / "a"), *words, *QUIET]) == 0
    (report,) = reports(tmp_path / "a")
    assert "mean_psnr_to_original" in report["summary"]
    assert "the protected picture itself" in [control["name"] for control in report["controls"]]


@pytest.mark.slow
def test_layers_of_a_named_model_on_given_photos(photos: Path, tmp_path: Path) -> None:
    words = ["--model", "zoo:emotion-plain", "--most-layers", "2", "--steps", "3", "--size", "16"]
    assert main(["audit", "intermediate", str(photos), "--out", str(tmp_path / "a"), *words, *QUIET]) == 0
    (report,) = reports(tmp_path / "a")
    assert len(report["rows"]) == 2


def test_weights_of_a_network_that_was_trained_on_the_photos(photos: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    for emotion in range(2):
        (others / f"feeling-{emotion}").mkdir(parents=True)
        Image.fromarray(render(6, emotion, 9, 48)).save(others / f"feeling-{emotion}" / "0.png")
    words = ["--network", "mlp", "--others", str(others), "--epochs", "2", "--size", "16"]
    words += ["--steps", "2", "--reconstruction-steps", "2"]
    assert main(["audit", "weights", str(photos), "--out", str(tmp_path / "a"), *words, *QUIET]) == 0
    (report,) = reports(tmp_path / "a")
    assert [row["name"] for row in report["rows"]][:2] == FIRST_FINDINGS[:2]


@pytest.mark.parametrize("people", [1, 2])
@LAYOUTS
def test_weights_of_a_named_model_find_classes_in_its_answers(layout: str, people: int, tmp_path: Path) -> None:
    sides = [photos_of(range(people), tmp_path / side, layout, seed) for seed, side in enumerate(("members", "others"))]
    members, others = map(str, sides)
    words = [*NAMED, "--others", others, "--steps", "1", "--reconstruction-steps", "2"]
    assert main(["audit", "weights", members, "--out", str(tmp_path / "a"), *words, *QUIET]) == 0
    (report,) = reports(tmp_path / "a")
    answers = set(sixteen()(folder_pictures(sides[0], 16).pixels).argmax(1).tolist())
    assert {row["name"] for row in report["rows"]} <= {*FIRST_FINDINGS, *(f"class {label}" for label in answers)}
    assert "the network's own answers" in report["assumptions"][0]
    assert report["settings"]["training"] == {}  # its answers are right by definition


@pytest.mark.slow
def test_weights_of_a_named_model_go_by_a_folder_for_each_class(photos: Path, tmp_path: Path) -> None:
    model = ["--model", "python:audit_commands:two", "--allow-python", "--size", "16"]
    words = [*model, "--others", str(photos), "--steps", "1", "--reconstruction-steps", "2"]
    assert main(["audit", "weights", str(photos), "--out", str(tmp_path / "a"), *words, *QUIET]) == 0
    (report,) = reports(tmp_path / "a")
    assert [row["name"] for row in report["rows"]] == [*FIRST_FINDINGS, "class 0", "class 1"]
    assert not any("own answers" in sentence for sentence in report["assumptions"])
    right = (two()(folder_pictures(photos, 16).pixels).argmax(1) == torch.arange(16) // 8).double().mean().item()
    assert report["settings"]["training"]["accuracy_training"] == right


def test_a_folder_by_class_and_person_gives_labels_and_groups(photos: Path) -> None:
    pictures = folder_pictures(photos, 16)
    assert pictures.classes == 2
    assert torch.equal(pictures.labels, torch.tensor([0] * 8 + [1] * 8))
    assert torch.equal(pictures.groups, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3] * 2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["audit", "representation"], "PHOTOS as CLASS/PERSON/photo"),
        (["audit", "gradients", "--attacks", "dgl"], "did you mean"),
        (["audit", "gradients", "--defenses", "noise:much"], "noise"),
        (["audit", "weights", "--model", "zoo:emotion-plain"], "--others FOLDER"),
        (["audit", "intermediate", "--model", "zoo:nothing"], "no bundled model"),
    ],
)
def test_mistakes_are_reported_in_one_sentence(
    words: list[str], message: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = photos / "feeling-0"  # people are its classes
    assert main([*words, str(source), "--out", str(tmp_path / "a"), "--size", "16", *QUIET]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gradients"], "sort PHOTOS as CLASS/photo with two classes or more, or name a --model"),
        (["intermediate"], "sort PHOTOS as CLASS/photo with two classes or more, or name a --model"),
        (["intermediate", *NAMED], "sort them as PERSON/photo or CLASS/PERSON/photo"),
        (["weights"], "sort PHOTOS as CLASS/photo with two classes or more, or name a --model"),
        (["representation"], "PHOTOS as CLASS/PERSON/photo"),
    ],
)
def test_a_flat_folder_is_refused_with_the_layout_that_is_needed(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = photos_of([0, 1, 2], tmp_path / "photos", "{0}-{1}.png")
    assert main(["audit", *words, str(source), "--out", str(tmp_path / "a"), "--size", "16", *QUIET]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", [*(["audit", name] for name in DESCRIPTIONS), ["protect-representation"]])
def test_an_output_folder_that_cannot_be_written_is_reported_before_the_work(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "nowhere")  # photos are the first thing that the work needs
    for out, message in (("file", "is a file; it must be a folder"), ("file/a", "cannot be written to")):
        assert main([*command, nowhere, "--out", str(tmp_path / out)]) == 2
        assert message in capsys.readouterr().err
    assert main([*command, nowhere, "--out", str(tmp_path / "new" / "a")]) == 2
    assert "nowhere does not exist" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_help_describes_the_layout(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["audit", name, "--help"])
    assert DESCRIPTIONS[name] in capsys.readouterr().out
