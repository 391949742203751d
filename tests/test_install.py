"""The wheel, and the Dockerfile, whose steps are run without Docker."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from paths import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, continued lines joined."""
    lines = re.sub(r"\\\n\s*", "", DOCKERFILE).splitlines()
    return [
        (word, rest) for line in lines if line and not line.startswith("#") for word, _, rest in [line.partition(" ")]
    ]


def test_every_copied_path_exists_and_is_sent_to_the_builder() -> None:
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY" and not rest.startswith("--from")]
    for path in chain.from_iterable(copied):
        assert (ROOT / path).exists()
        assert f"!{path}" in sent


def test_the_image_does_not_run_as_root() -> None:
    words = [word for word, _ in instructions()]
    assert dict(instructions())["USER"] == "omm"
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert "RUN" not in words[words.index("USER") :]


def test_the_extras_of_the_image_exist() -> None:
    (extras,) = re.findall(r"onlymymodel\[([\w,]+)\]", DOCKERFILE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


@pytest.mark.slow
def test_the_wheel_of_the_first_stage_runs_the_demo(tmp_path: Path) -> None:
    """The dependencies are those of this environment: the second stage would download them."""
    build = next(rest for word, rest in instructions() if word == "RUN" and "uv build" in rest)
    wheels = tmp_path / "wheels"
    subprocess.run(shlex.split(build.replace("/wheels", str(wheels))), cwd=ROOT, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    site = tmp_path / "site"
    subprocess.run(
        ["uv", "pip", "install", "--no-deps", "--target", str(site), str(wheel)], check=True, capture_output=True
    )
    completed = subprocess.run(
        [sys.executable, "-m", "onlymymodel", "models", "zoo:identity-plain"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True,
    )  # fmt: skip
    assert completed.returncode == 0, completed.stderr
    assert "identity" in completed.stdout
