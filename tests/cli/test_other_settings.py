"""A folder of a run with another setting is refused before a model is loaded, and the setting is named."""

from pathlib import Path

import pytest
from evaluating import MINE, THEIRS, write_photos

from onlymymodel.cli.given import settings_given
from onlymymodel.cli.main import build_parser, main
from onlymymodel.protect import run_record
from onlymymodel.settings import RunSettings

MODELS = ["--authorized", MINE, "--surrogate", THEIRS, "--allow-python"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--exclude", "zz*", "--exclude", "y"], "exclude none there, zz* y here"),
        (["--region", "face"], "region image there, face here"),
        (["--region", "masks"], "region image there, mask here"),
        (["--no-face", "image"], "no-face skip there, image here"),
        (["--faces", "largest"], "faces all there, largest here"),
        (["--strength", "auto"], "strength none there, auto here"),
        (["--strength", "low"], "ssim none there, 0.98 here"),
        (["--first-frame"], "first-frame off there, on here"),
        (["--keep-makernotes"], "keep-makernotes off there, on here"),
        (["--recipe", "exact"], "recipe default there, exact here"),
    ],
)
def test_another_setting_is_named_before_a_model_is_loaded(
    flags: list[str],
    sentence: str,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("masks").mkdir()
    record_of_a_run(Path("out"), "--epsilon", "16")
    monkeypatch.setattr(RunSettings, "load", lambda *_, **__: pytest.fail("loaded"))
    size = [] if "--strength" in flags else ["--epsilon", "16"]
    assert main(["protect", str(photos), "--out", "out", *MODELS, *size, *flags]) == 2
    assert f"out was made with other settings ({sentence}); give another --out" in capsys.readouterr().err


def test_two_strengths_are_named(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for first, second in (("low", "high"), ("auto", "high"), ("high", "auto")):
        record_of_a_run(tmp_path / first, "--strength", first)
        assert main(["protect", str(photos), "--out", str(tmp_path / first), *MODELS, "--strength", second]) == 2
        assert f"(strength {first} there, {second} here)" in capsys.readouterr().err


def record_of_a_run(out: Path, *flags: str) -> None:
    """Write the `run.json` of a run with these flags, as if it had been stopped before its first photo."""
    arguments = build_parser().parse_args(["protect", "photos", "--out", str(out), *MODELS, *flags])
    settings = settings_given(arguments).complete()
    context, _ = settings.load(allow_python=True)
    out.mkdir()
    run_record.write(out, context, arguments.batch_size, settings.uris_from(out), "../photos")
