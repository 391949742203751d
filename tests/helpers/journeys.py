"""Run `omm` as a user does in a shell: in a process of its own, in the folder that the user is in."""

import os
import subprocess
import sys
from pathlib import Path

from paths import ROOT
from patience import RUN_PATIENCE
from PIL import Image

from onlymymodel.data.portraits import IDENTITY_NAMES, render

# the bundled models in the place of those that would be downloaded, and few steps
AUTHORIZED, STAND_INS, JUDGE = "zoo:identity-residual", ("zoo:identity-plain", "zoo:identity-vit"), "zoo:identity-mixer"
FIRST = 1002  # number of the first photo: of three, one is in another shard of two than the others
MODELS = ["--authorized", AUTHORIZED, "--surrogate", *STAND_INS]
QUICK = ["--strength", "high", "--recipe", "exact", "--steps", "12", "--device", "cpu"]


def omm(*words: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does, and expect its exit code."""
    paths = os.pathsep.join([str(ROOT), "."])  # `PYTHONPATH=.`, as the guide says for code of one's own
    done = subprocess.run(
        [sys.executable, "-m", "onlymymodel", *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=RUN_PATIENCE,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def write_portraits(folder: Path, count: int, side: int = 80) -> dict[str, str]:
    """Write portraits as photos; return the name of the person on each."""
    folder.mkdir()
    names = {}
    for index in range(count):
        name = f"IMG_{FIRST + index}.png"
        Image.fromarray(render(index, 3, 7_000_100 + index, side)).save(folder / name)
        names[name] = IDENTITY_NAMES[index]
    return names
