"""Run files as texts, read by themselves and under flags."""

from pathlib import Path

from onlymymodel.cli.given import settings_given
from onlymymodel.cli.main import build_parser
from onlymymodel.settings import RunSettings
from onlymymodel.settings_file import read_run_file
from onlymymodel.settings_partial import PartialSettings

MODELS = 'authorized = "zoo:a"\nsurrogates = ["zoo:b"]\n'


def read(folder: Path, text: str) -> PartialSettings:
    (folder / "run.toml").write_text(text, encoding="utf-8")
    return read_run_file(folder / "run.toml")


def protect(folder: Path, text: str, *flags: str) -> RunSettings:
    """The settings of `omm protect` with flags over a run file."""
    (folder / "run.toml").write_text(text, encoding="utf-8")
    words = ["protect", "photos", "--out", "out", "--run", str(folder / "run.toml"), *flags]
    return settings_given(build_parser().parse_args(words)).complete()
