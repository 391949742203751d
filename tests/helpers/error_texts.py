"""Usual mistakes and what `omm` says to them. `python tests/helpers/error_texts.py` writes `error_texts.txt` again."""

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path

from paths import ROOT

from onlymymodel.cli.main import main

PINNED = ROOT / "tests" / "cli" / "error_texts.txt"

MODELS = "--authorized zoo:identity-residual --surrogate zoo:identity-plain"
PROTECT = f"protect photos --out out {MODELS}"
EVALUATE = "evaluate --original photos --out out"
MISTAKES = [
    # words that are misspelled or missing
    "protct photos --out out",
    "--quiet protect photos --out out",
    "protect photos --out out --strenght low",
    "protect photos --out out --learning-rate 3",
    f"{PROTECT} --recipe defualt",
    f"{PROTECT} --preset potos",
    "audit gradient --out out",
    "protect photos",
    "protect photos --out",
    f"protect photos --out '' {MODELS}",
    f"protect '' --out out {MODELS}",
    "verify ''",
    f"{PROTECT} --json=yes",
    f"{PROTECT} --steps",
    f"{PROTECT} --epsilon four",
    f"{PROTECT} --batch-size 0",
    f"{PROTECT} --epsilon -1",
    f"{PROTECT} --views sideways",
    f"{PROTECT} --device cuad",
    f"{PROTECT} --device cuda:one",
    f"{PROTECT} --device gpu",
    f"{PROTECT} --device gpu:1",
    "models feth timm:resnet18",
    f"protect photos/cat.png photos/dog.png photos/owl.png --out out {MODELS}",
    "status out photos",
    "demo photos",
    "evaluate",
    f"{PROTECT} zoo:identity-deep?labels=nope.txt",
    # flags that contradict each other
    f"{PROTECT} --strength low --epsilon 4",
    f"{PROTECT} --preset photos --run run.toml",
    f"{PROTECT} --metadata none --keep-makernotes",
    f"tune photos --out out {MODELS} --epsilon 4",
    f"tune photos --out out {MODELS}",
    # models
    "protect photos --out out",
    "protect photos --out out --authorized zoo:identity-residual",
    f"{PROTECT} tim:resnet50",
    f"{PROTECT} resnet50",
    f"{PROTECT} zoo:identity-vitt",
    f"{PROTECT} checkpoint:theirs.safetensors?arch=timm:resnet18",
    f"{PROTECT} timm:resnet18?crop=0.9",
    f"{PROTECT} python:mine:model",
    f"{PROTECT} https://example.org/v2/models/x",
    f"{PROTECT} zoo:identity-residual",
    f"{PROTECT} --heldout zoo:identity-plain",
    "protect photos --out out --preset faces",
    # files and folders
    f"protect fotos --out out {MODELS}",
    f"protect empty --out out {MODELS}",
    f"protect photos --out photos/out {MODELS}",
    f"protect photos --out . {MODELS}",
    f"protect photos --out notes.txt {MODELS}",
    f"protect photos --out full {MODELS}",
    f"protect photos --out earlier {MODELS} --epsilon 4",
    f"{PROTECT} --region masks",
    f"{PROTECT} --labels labels.csv",
    f"{PROTECT} --labels notes.txt",
    f"{PROTECT} --labels others.csv",
    f"{PROTECT} --run missing.toml",
    f"{PROTECT} --run run.toml",
    f"{PROTECT} --run epsilon.toml",
    f"{PROTECT} --run steps.toml",
    f"{PROTECT} --run labels.toml",
    f"{PROTECT} --run people.toml",
    f"{PROTECT} --run windows.toml",
    f"{PROTECT} --sign key.pem",
    f"{EVALUATE} --protected missing",
    "verify photos",
    "verify photos --surrogate zoo:identity-plain --authorized-only",
    "audit gradients missing --out out",
]


def say_to(command: str) -> str:
    """Return the standard error of `omm`, run in a folder with the files of `prepared`."""
    printed = StringIO()
    with redirect_stderr(printed):
        code = main(shlex.split(command))
    assert code == 2, command
    return printed.getvalue()


@contextmanager
def prepared() -> Iterator[None]:
    """Be in a temporary folder with the files that the mistakes are about."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for name in ("photos", "empty", "full", "earlier"):
                Path(name).mkdir()
            Path("photos/cat.png").write_bytes((ROOT / "docs" / "picture.png").read_bytes())
            Path("full/notes.txt").write_text("mine")
            Path("notes.txt").write_text("name;class\ncat.png;281\n")
            Path("others.csv").write_text("file,label\ndog.png,3\n")
            Path("run.toml").write_text('authorised = "zoo:identity-residual"\n')
            Path("epsilon.toml").write_text("epsilon = -8\n")
            Path("steps.toml").write_text('[recipe]\nsteps = "4"\n')
            Path("labels.toml").write_text('labels = "labels.csv"\n')
            Path("people.toml").write_text('gallery = "people"\n')
            Path("windows.toml").write_bytes('region = "mäsk"\n'.encode("cp1252"))
            settings = {"budget": {"linf": 8.0}, "format": "png"}
            Path("earlier/run.json").write_text(json.dumps({"settings": settings}))
            yield
        finally:
            os.chdir(before)


def texts() -> str:
    """All mistakes, each with what is said to it."""
    with prepared():
        return "\n".join(f"$ omm {command}\n{say_to(command)}" for command in MISTAKES)


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        print(texts(), end="")
        print("torch" in sys.modules, file=sys.stderr)
    else:
        PINNED.write_text(texts(), encoding="utf-8")
