"""omm audit representation and omm protect-representation, from the command line to the files they write."""

from pathlib import Path

import pytest
from audit_commands import QUIET, reports, write_people
from PIL import Image

from onlymymodel.cli.audit import QUICK
from onlymymodel.cli.main import main
from onlymymodel.data.portraits import IDENTITIES, render
from onlymymodel.evaluate.audits.options import RepresentationOptions
from onlymymodel.evaluate.audits.representation.export import load


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_people(tmp_path / "photos")


@pytest.mark.slow
def test_a_representation_is_trained_exported_and_judged_on_other_people(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--size", "16", "--steps", "4", "--training", "0.25", "--public", "0.25"]
    assert main(["protect-representation", str(photos), "--out", str(out), *words, *QUIET]) == 0
    (report,) = reports(out)
    assert len(report["rows"]) == 8  # two of the four people
    assert load(out).task.outputs == 2
    assert report["settings"]["people"] == 2


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    """Pictures of eight people in one folder, with CelebA's tables of attributes and of identities."""
    root = tmp_path / "celeba"
    (root / "img_align_celeba").mkdir(parents=True)
    (root / "Anno").mkdir()
    rows, people = ["16", "Eyeglasses Smiling"], []
    for index in range(16):
        person, emotion, name = index % 8, index // 8, f"{index:06}.png"
        Image.fromarray(render(person, emotion, 0, 48)).save(root / "img_align_celeba" / name)
        rows.append(f"{name} {1 if IDENTITIES[person].glasses else -1} {1 if emotion else -1}")
        people.append(f"{name} {100 + person}")
    (root / "Anno" / "list_attr_celeba.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (root / "Anno" / "identity_CelebA.txt").write_text("\n".join(people) + "\n", encoding="utf-8")
    return root


@pytest.mark.slow
def test_a_representation_serves_attributes_of_a_table(
    celeba: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = RepresentationOptions(weights=(1.0,), steps=2, decoder_steps=2)
    monkeypatch.setitem(QUICK, "representation", few)
    words = ["--labels", f"celeba:{celeba}", "--size", "16", "--quick", *QUIET]
    out = tmp_path / "a"
    assert main(["audit", "representation", str(celeba / "img_align_celeba"), "--out", str(out), *words]) == 0
    undefended, defended = reports(out)
    assert defended["settings"]["people"] == 2  # of eight, half are trained on, and two are the judge's
    assert any("2 attributes (Eyeglasses, Smiling)" in sentence for sentence in defended["assumptions"])
    assert {row["right"] for row in defended["rows"]} <= {0.0, 0.5, 1.0}
    mean = sum(row["right"] for row in defended["rows"]) / len(defended["rows"])
    assert defended["summary"]["accuracy"] == pytest.approx(mean)
    assert undefended["summary"]["accuracy_undefended"] == undefended["summary"]["accuracy"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", "celeba:nowhere"], "nowhere does not exist"),
        (["--labels", "imagenet:{photos}"], "is not complete"),
        (["--labels", "folders:{photos}/feeling-0"], "has no attributes: name a table of them, --labels celeba:PATH"),
    ],
)
def test_labels_of_a_representation_are_attributes(
    words: list[str], message: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.format(photos=photos) for word in words]
    out = ["--out", str(tmp_path / "a"), "--size", "16", *QUIET]
    assert main(["audit", "representation", str(photos), *out, *given]) == 2
    assert message in capsys.readouterr().err


def test_labels_of_a_representation_need_photos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--labels", f"celeba:{tmp_path}", *QUIET]
    assert main(["audit", "representation", "--out", str(tmp_path / "a"), *words]) == 2
    assert "--labels belong to photos: give their folder, too" in capsys.readouterr().err


@pytest.mark.slow
def test_a_representation_begins_with_a_named_model(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = RepresentationOptions(weights=(1.0,), steps=2, decoder_steps=2)
    monkeypatch.setitem(QUICK, "representation", few)
    model = ["--model", "python:audit_commands:two", "--allow-python", "--size", "16"]
    words = [*model, "--layer", "net.0", "--quick"]
    assert main(["audit", "representation", str(photos), "--out", str(tmp_path / "a"), *words, *QUIET]) == 0
    undefended, defended = reports(tmp_path / "a")
    assert (undefended["settings"]["weight"], defended["settings"]["weight"]) == (0, 1)
    assert undefended["settings"]["encoder_sha256"] != defended["settings"]["encoder_sha256"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "zoo:emotion-plain"], "--model URI --layer NAME"),
        (["--layer", "net.0"], "--model URI --layer NAME"),
        (["--model", "zoo:emotion-plain", "--layer", "nett.0"], "has no layer 'nett.0'"),
    ],
)
def test_a_backbone_needs_a_model_and_its_layer(
    words: list[str], message: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*words, "--size", "16", *QUIET]
    assert main(["audit", "representation", str(photos), "--out", str(tmp_path / "a"), *given]) == 2
    assert message in capsys.readouterr().err
