"""`omm protect --sign` and `omm verify --public-key`, with what they print."""

from pathlib import Path

import pytest
from evaluating import QUICK, write_photos
from keys import write_keys

from onlymymodel.cli.main import main
from onlymymodel.evaluate.verify_seal import CLAIMED, PROVEN
from onlymymodel.protect.seal import read_seal

MODELS = ["--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs", "--allow-python"]
CHECK = ["--allow-python", "--quiet", "--device", "cpu"]


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, str]:
    private, public = write_keys(tmp_path)
    return str(private), str(public)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def protect(photos: Path, *flags: str) -> int:
    out = photos.parent / "out"
    return main(["protect", str(photos), "--out", str(out), *MODELS, *QUICK, "--epsilon", "16", *flags])


def test_a_signed_folder_is_proven(
    photos: Path, keys: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, (private, public) = str(tmp_path / "out"), keys
    assert protect(photos, "--sign", private) == 0
    capsys.readouterr()
    assert main(["verify", out, *CHECK, "--public-key", public]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "checked: 3 files: the bytes, and the authorized model's answer and margin",
        "checked: 3 files against the originals: that they differ, by the recorded largest change, budget and region",
        "checked: that every picture of the source has a line",
        "checked: 1 of 1 stand-ins: that they are misled as recorded",
        PROVEN,
        "3 protected files without a fault in what was checked",
    ]
    assert main(["verify", out, *CHECK, "--authorized-only", "--without-originals"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1:3] == [
        "not checked: the originals: whether files differ from them, by the recorded largest change, budget and "
        "region, and whether each of them has a line",
        "not checked: the stand-ins, as was asked for",
    ]
    assert printed[3].startswith(f"{CLAIMED} (the seal is signed by the key ")
    assert private not in "".join(path.read_text() for path in (tmp_path / "out").glob("*.json*"))


def test_a_later_run_seals_again_and_says_that_a_signature_is_lost(
    photos: Path, keys: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert protect(photos, "--sign", keys[0]) == 0
    assert protect(photos) == 0  # nothing has changed
    assert "no signature" not in capsys.readouterr().err
    (photos / "sub" / "2.png").rename(photos / "3.png")
    assert protect(photos) == 0
    assert "the folder was signed and has changed: its seal has no signature now" in capsys.readouterr().err
    seal = read_seal(tmp_path / "out")
    assert seal is not None
    assert seal.signature == ""
    assert main(["verify", str(tmp_path / "out"), *CHECK, "--public-key", keys[1]]) == 1
    assert "FAULT  seal.json: has no signature, so nothing is proven" in capsys.readouterr().err


def test_a_later_merge_says_that_a_signature_is_lost(
    photos: Path, keys: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert protect(photos, "--shard", "1/1") == 0
    assert main(["merge", out, "--sign", keys[0]]) == 0
    (photos / "sub" / "2.png").rename(photos / "3.png")
    assert protect(photos, "--shard", "1/1") == 0
    assert "no signature" not in capsys.readouterr().err
    assert main(["merge", out]) == 0
    assert "the folder was signed and has changed: its seal has no signature now" in capsys.readouterr().err


def test_keys_that_cannot_be_used_are_refused_before_the_first_photo(
    photos: Path, keys: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert protect(photos, "--sign", keys[1]) == 2
    assert "is no private key" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    inside = Path(keys[0]).rename(tmp_path / "out" / "key.pem")
    assert protect(photos, "--sign", str(inside)) == 2
    assert "keep it elsewhere" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["key.pem"]
