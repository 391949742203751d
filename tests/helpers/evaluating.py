"""`omm protect` and `omm evaluate` on three portraits with toys."""

from pathlib import Path

from PIL import Image
from toys import read_portrait

from onlymymodel.cli.main import main

MINE, THEIRS, OTHERS = (f"python:toys:{name}" for name in ("mine", "theirs", "others"))
HELD_OUT = ["--heldout", OTHERS, "--allow-python", "--quiet", "--device", "cpu"]
QUICK = ["--steps", "2", "--step-share", "1", "--views", "center", "--kappa", "0.5", "--quiet", "--device", "cpu"]


def write_photos(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    for index, name in enumerate(("0.png", "1.png", "sub/2.png")):
        Image.fromarray(read_portrait(index)).save(folder / name)
    return folder


def protect(source: Path, out: Path, *flags: str) -> Path:
    models = ["--authorized", MINE, "--surrogate", THEIRS, "--allow-python"]
    assert main(["protect", str(source), "--out", str(out), *models, *QUICK, *flags]) in (0, 1)
    return out


def evaluate(source: Path, protected: list[Path], out: Path, *flags: str) -> int:
    words = ["evaluate", "--original", str(source), "--protected", *map(str, protected), "--out", str(out)]
    return main([*words, *HELD_OUT, *flags])
