"""`omm protect --attack`: an attack from outside under our guard, budget, records and evaluation."""

import json
from pathlib import Path

import pytest
from evaluating import MINE, THEIRS, evaluate, write_photos
from PIL import Image

from onlymymodel.cli.main import main
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.protect import run_record
from onlymymodel.protect.photo_record import PhotoManifest

FGSM = "python:outside_attacks:Fgsm"
PROMISES = ["--recipe", "exact", "--kappa", "0.5", "--epsilon", "16"]


def protect(source: Path, out: Path, attack: str, *flags: str, allow: bool = True) -> int:
    words = ["protect", str(source), "--out", str(out), "--authorized", MINE, "--surrogate", THEIRS, "--quiet"]
    words += ["--device", "cpu", "--attack", attack, *PROMISES, *flags]
    return main(words + ["--allow-python"] * allow)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "source")


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package `fast-attacks` that offers three attacks."""
    record = tmp_path / "site" / "fast_attacks-1.2.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: fast-attacks\nVersion: 1.2\n")
    entries = ["fgsm = outside_attacks:Fgsm", "gone = outside_attacks:Gone", "wrong = outside_attacks:no_attack"]
    (record / "entry_points.txt").write_text("\n".join(["[onlymymodel.attacks]", *entries]) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def test_an_attack_is_recorded_verified_and_evaluated(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert protect(source, out, FGSM) == 0
    run = run_record.read(out)
    assert run.recipe.attack == run.recipe_name == FGSM
    assert run.settings["attack"]["name"] == FGSM
    assert len(run.settings["attack"]["sha256"]) == 64
    assert all(record.status == "protected" for record in PhotoManifest(out).load())
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 0
    assert evaluate(source, [out], tmp_path / "judged") == 0
    assert read_results(tmp_path / "judged" / "results.json").runs[0].recipe == FGSM
    assert protect(source, out, FGSM) == 0  # resumed
    assert protect(source, out, "python:outside_attacks:Noise") == 2
    assert "was made with other settings (attack " in capsys.readouterr().err


def test_a_folder_is_not_continued_by_an_attack_that_was_edited(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for comment in ("", "# an edit\n"):
        (tmp_path / "edited_attack.py").write_text(
            comment + "from outside_attacks import Fgsm\ndef make(): return Fgsm()\n"
        )
        monkeypatch.delitem(__import__("sys").modules, "edited_attack", raising=False)
        code = protect(source, tmp_path / "out", "python:edited_attack:make")
        assert code == (2 if comment else 0)
    assert "was made with other models or settings" in capsys.readouterr().err


def test_photos_on_which_an_attack_fails_fail_alone(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (40, 40), (20, 10, 30)).save(source / "dark.png")
    assert protect(source, tmp_path / "out", "python:outside_attacks:FailsOnDark") == 1
    assert "3 of 4 photos protected" in capsys.readouterr().out
    failed = PhotoManifest(tmp_path / "out").by_source()["dark.png"]
    assert failed.status == "failed"
    assert failed.reason == (
        "the attack python:outside_attacks:FailsOnDark returned values that are not finite (NaN or infinity)"
    )
    whole = {record.source: record.output_sha256 for record in PhotoManifest(tmp_path / "out").load()}
    (source / "dark.png").unlink()
    assert protect(source, tmp_path / "other", "python:outside_attacks:FailsOnDark") == 0
    alone = {record.source: record.output_sha256 for record in PhotoManifest(tmp_path / "other").load()}
    assert alone == {name: digest for name, digest in whole.items() if name != "dark.png"}


def test_an_attack_that_always_raises_fails_every_photo_with_its_reason(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert protect(source, tmp_path / "out", "python:outside_attacks:raising") == 1
    reasons = {record.reason for record in PhotoManifest(tmp_path / "out").load()}
    assert reasons == {"the attack python:outside_attacks:raising raised ValueError: no idea what to do with 1 photo"}
    assert "0 of 3 photos protected" in capsys.readouterr().out


@pytest.mark.usefixtures("offered")
def test_an_attack_that_a_package_offers_is_recorded_with_its_version(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert protect(source, tmp_path / "out", "fgsm") == 0
    recorded = json.loads((tmp_path / "out" / "run.json").read_text())["settings"]["attack"]
    assert (recorded["name"], recorded["package"]) == ("fgsm", "fast-attacks 1.2")
    capsys.readouterr()
    for name, message in (
        ("fgms", "attack 'fgms' is offered by no installed package; did you mean 'fgsm'?"),
        ("gone", "attack 'gone', of fast-attacks 1.2: module 'outside_attacks' has no attribute 'Gone'"),
        ("wrong", "attack 'wrong': the factory must return an onlymymodel.Attack, not str"),
    ):
        assert protect(source, tmp_path / name, name) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ("mifgsm", "no installed package offers attacks; write python:module:factory for your own"),
        ("python:outside_attacks", "write python:module:factory"),
        ("python:outside_attacks:Fgms", "has no attribute 'Fgms'"),
        (
            "python:outside_attack:Fgsm",
            "No module named 'outside_attack'; your own modules are found in the folders of",
        ),
        ("python:outside_attacks:broken_factory", "its factory raised KeyError: 'weights'"),
        ("python:outside_attacks:no_attack", "the factory must return an onlymymodel.Attack, not str"),
    ],
)
def test_an_attack_that_cannot_be_loaded_is_an_error_before_the_first_photo(
    attack: str, message: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert protect(source, tmp_path / "out", attack) == 2
    error = capsys.readouterr().err
    assert message in error
    assert repr(attack) in error
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("offered")
def test_code_from_outside_runs_only_if_it_is_allowed(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for attack in ("python:os:getcwd", "fgsm"):
        assert protect(source, tmp_path / "out", attack, allow=False) == 2
        assert "add --allow-python if you trust it" in capsys.readouterr().err


def test_a_run_file_names_an_attack_and_its_settings_are_the_factorys(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.toml"
    models = f'authorized = "{MINE}"\nsurrogates = ["{THEIRS}"]\nepsilon = 16\n'
    file.write_text(f'{models}[recipe]\nname = "exact"\nkappa = 0.5\nattack = "{FGSM}"\n')
    words = ["protect", str(source), "--run", str(file), "--allow-python", "--quiet", "--device", "cpu", "--out"]
    assert main([*words, str(tmp_path / "by-file")]) == 0
    assert protect(source, tmp_path / "by-flags", FGSM) == 0
    settings = [run_record.read(tmp_path / name).settings for name in ("by-file", "by-flags")]
    assert settings[0] == settings[1]
    capsys.readouterr()
    assert main([*words, str(tmp_path / "out"), "--steps", "5"]) == 2
    assert "leave out steps (settings of the attack are given by its factory)" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_write_what_one_process_writes(source: Path, tmp_path: Path) -> None:
    for name, flags in (("one", []), ("two", ["--workers", "2", "--batch-size", "1"])):
        assert protect(source, tmp_path / name, "python:outside_attacks:Noise", "--batch-size", "1", *flags) in (0, 1)
    written = [
        {record.source: record.output_sha256 for record in PhotoManifest(tmp_path / name).load()}
        for name in ("one", "two")
    ]
    assert written[0] == written[1]
