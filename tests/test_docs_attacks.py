"""The examples of docs/guide/attacks.md work as written, with toys for its URIs."""

import re
import shlex
import sys
import tomllib
import warnings
from pathlib import Path

import pytest
import torchattacks
from evaluating import MINE, OTHERS, THEIRS, write_photos
from paths import ROOT
from PIL import Image
from toys import mine, theirs

from onlymymodel.cli.main import main
from onlymymodel.data.image_io import decode
from onlymymodel.data.pixels import to_array, to_tensor
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.interop.foolbox import FoolboxAttack
from onlymymodel.protect import run_record
from onlymymodel.protect.attack.external_load import GROUP, load_attack
from onlymymodel.protect.attack.uint8 import to_float, to_uint8
from onlymymodel.protect.photo_record import PhotoManifest

TEXT = (ROOT / "docs" / "guide" / "attacks.md").read_text(encoding="utf-8")
EXAMPLES = [text.partition("\n")[::2] for text in re.findall(r"```python\n# (.*?)```", TEXT, re.DOTALL)]
QUICK = ["--quiet", "--device", "cpu", "--epsilon", "16", "--recipe", "exact", "--kappa", "0.5"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the modules of the page, photos, and PYTHONPATH=. as the page says."""
    for name, text in EXAMPLES:
        (tmp_path / name).write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)
    write_photos(tmp_path / "PHOTOS")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # foolbox imports a name that SciPy has moved
        import foolbox  # noqa: F401
    return tmp_path


def omm(part: str) -> int:
    """Run the command of the page that has this part."""
    lines = TEXT.replace("\\\n", " ").splitlines()
    (line,) = (line.partition(" omm ")[2] for line in lines if line.startswith("    ") and part in line)
    words = line.replace("--allow-python", "").replace(" ...", " --authorized URI --surrogate URI URI")
    for pattern, uri in (("authorized URI", MINE), ("surrogate URI( URI)?", THEIRS), ("heldout URI( URI)?", OTHERS)):
        words = re.sub(f"--{pattern}", f"--{pattern.partition(' ')[0]} {uri}", words)
    return main([*shlex.split(words), "--allow-python", *(QUICK if words.startswith("protect") else QUICK[:3])])


def test_ten_lines_are_an_attack_that_is_compared_with_ours() -> None:
    (example,) = (text for name, text in EXAMPLES if name == "my_attack.py")
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    assert omm("protect PHOTOS --out OURS") == 0
    assert omm("PYTHONPATH=. uv run omm protect PHOTOS --out MINE --authorized URI --surrogate URI URI --attack") == 0
    assert run_record.read(Path("MINE")).recipe_name == "python:my_attack:Fgsm"
    assert {record.status for record in PhotoManifest(Path("MINE")).load()} == {"protected"}
    assert omm("--protected OURS MINE") == 0
    results = read_results(Path("COMPARISON") / "results.json")
    assert [run.recipe for run in results.runs] == ["exact", "python:my_attack:Fgsm"]
    assert [row.role for row in results.rows] == ["authorized", "surrogate", "held-out"]


def test_attacks_of_libraries_run_by_name() -> None:
    assert omm("library_attacks:mifgsm") == 0
    assert {record.status for record in PhotoManifest(Path("MIFGSM")).load()} == {"protected"}
    assert isinstance(load_attack("python:library_attacks:pgd", allow_python=True).attack, FoolboxAttack)


def test_the_entry_points_are_those_of_the_group() -> None:
    (declared,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert list(tomllib.loads(declared)["project"]["entry-points"]) == [GROUP]


def test_a_folder_that_torchattacks_wrote_is_evaluated() -> None:
    """As a user of torchattacks would write it: adversarial tensors saved as PNG and as JPEG, no record of anything."""
    attack = torchattacks.PGD(theirs(), eps=16 / 255, alpha=4 / 255, steps=10)
    expected = []
    for path in sorted(Path("PHOTOS").rglob("*.png")):
        photo = to_float(to_tensor(decode(path.read_bytes()).pixels))[None]
        adversarial = to_uint8(attack(photo, theirs()(photo).argmax(1)))
        target = "THEIR_FOLDER" / path.relative_to("PHOTOS")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(to_array(adversarial[0])).save(target)
        expected.append(
            [int(model(pixels).argmax()) for model in (mine(), theirs()) for pixels in (photo, adversarial)]
        )
    first = Path("THEIR_FOLDER/0.png")
    Image.open(first).save(first.with_suffix(".jpg"), quality=100, subsampling=0)
    first.unlink()
    assert omm("--protected THEIR_FOLDER") == 0
    results = read_results(Path("EVALUATION") / "results.json")
    (run,) = results.runs
    assert (run.epsilon, run.recipe) == (None, "")
    authorized, surrogate, heldout = results.rows
    assert surrogate.score(run.name).right == sum(after == before for _, _, before, after in expected) == 0
    assert authorized.score(run.name).right == sum(before == after for before, after, _, _ in expected)
    assert heldout.score(run.name).photos == 3
    assert results.runs[0].distortion[1].linf == 16
    assert "THEIR_FOLDER" in Path("EVALUATION/report.html").read_text(encoding="utf-8")


def test_photos_without_a_counterpart_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("THEIR_FOLDER").mkdir()
    Image.open("PHOTOS/0.png").save("THEIR_FOLDER/0.png")
    assert omm("--protected THEIR_FOLDER") == 2
    assert "2 photos have no protected version: 1.png, sub/2.png" in capsys.readouterr().err
