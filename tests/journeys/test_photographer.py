"""A photographer protects a folder with bundled settings, reads the summary, and adds photos later."""

import re
from pathlib import Path

import pytest
from journeys import AUTHORIZED, FIRST, JUDGE, STAND_INS, omm, write_portraits
from PIL import Image

from onlymymodel.data.portraits import render


def with_bundled_models(preset: str) -> str:
    """The preset's run file with models that need no download, and few steps."""
    head, _, _ = preset.partition("[models]")
    for key, value in {"authorized": f'"{AUTHORIZED}"', "surrogates": list(STAND_INS), "heldout": [JUDGE]}.items():
        head = re.sub(rf"^{key} = .*$", f"{key} = {value}", head, flags=re.MULTILINE)
    return head.replace('strength = "medium"', 'strength = "high"') + '[recipe]\nname = "exact"\nsteps = 12\n'


@pytest.mark.slow
def test_a_folder_is_protected_and_continued(tmp_path: Path) -> None:
    write_portraits(tmp_path / "photos", 2)
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    before = {path: path.read_bytes() for path in (tmp_path / "photos").iterdir()}
    run_file = omm("preset", "show", "photos", cwd=tmp_path).stdout
    (tmp_path / "run.toml").write_text(with_bundled_models(run_file))
    command = ["protect", "photos", "--out", "protected", "--run", "run.toml"]

    first = omm(*command, cwd=tmp_path)
    assert "2 of 2 photos protected, in protected" in first.stdout
    assert "1 other file ignored" in first.stdout
    assert re.search(r"^judge +zoo:identity-mixer", first.stdout, re.MULTILINE)
    assert "photos are protected" in (tmp_path / "protected" / "report.html").read_text()
    for index in range(2):
        with Image.open(tmp_path / "protected" / f"IMG_{FIRST + index}.png") as image:
            assert image.size == (80, 80)

    Image.fromarray(render(5, 3, 7_000_200, 80)).save(tmp_path / "photos" / "new.png")
    written = {path: path.read_bytes() for path in (tmp_path / "protected").glob("*.png")}
    again = omm(*command, cwd=tmp_path)
    assert "3 of 3 photos protected, in protected" in again.stdout
    assert {path: path.read_bytes() for path in written} == written
    assert {path: path.read_bytes() for path in before} == before
