"""Measure what a new user meets: README, help, mistakes, the demo and its page, the size of an installation.

    python benchmarks/front_door.py

Heights need a Chromium. Sizes are of the packages that uv installs for each platform from the usual index, whose
PyTorch is a CPU build for macOS and Windows and has CUDA for Linux; they need the index, and 6 GB of disk for a while.
"""

import argparse
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from assets import RESULTS, ROOT
from PIL import Image

from onlymymodel.cli.commands import COMMANDS
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.manifest import json_bytes
from onlymymodel.data.portraits import render
from onlymymodel.runtime import environment

TARGET = RESULTS / "front_door.json"
TURNS = 3  # the least of them counts, since other programs share the machine
WIDTHS = (1280, 390)  # of a window on a desktop and on a phone, in pixels
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAG = re.compile(r"^  (?:-\w, )?(--[\w-]+)", re.MULTILINE)
MODELS = "--authorized zoo:identity-residual --surrogate zoo:identity-plain"
# as uv names them
PLATFORMS = {
    "Linux": "x86_64-manylinux_2_28", "macOS": "aarch64-apple-darwin", "Windows": "x86_64-pc-windows-msvc",
}  # fmt: skip
PYTHON = "3.11"
# in a folder with a photo in photos/
MISTAKES = {
    "missing source": f"protect fotos --out out {MODELS}",
    "missing labels": f"protect photos --out out {MODELS} --labels labels.csv",
    "unknown scheme": f"protect photos --out out {MODELS} tim:resnet50",
    "misspelled command": "protct photos --out out",
    "misspelled flag": f"protect photos --out out {MODELS} --strenght low",
    "unknown recipe": f"protect photos --out out {MODELS} --recipe defualt",
    "unknown bundled model": f"protect photos --out out {MODELS} zoo:identity-vitt",
    "missing weights": f"protect photos --out out {MODELS} checkpoint:theirs.safetensors?arch=timm:resnet18",
    "destination inside the source": f"protect photos --out photos/out {MODELS}",
    "unknown device": f"protect photos --out out {MODELS} --device cuad",
}


def main() -> None:
    """Measure and write results/front_door.json."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        Image.fromarray(render(0, 0, 0, 64)).save(folder / "photos" / "1.png")
        content = {
            "command": "python benchmarks/front_door.py",
            "environment": environment(),
            "readme": readme(),
            "flags": {command: flags(command) for command, row in COMMANDS.items() if row.usual},
            "cpu_seconds_to_error": {name: seconds_to_error(words, folder) for name, words in MISTAKES.items()},
            "turns": TURNS,
            "demo": demo(folder),
            "installed_bytes": {name: installed_bytes(platform, folder) for name, platform in PLATFORMS.items()},
        }
    write_atomic(TARGET, json_bytes(content, indent=1))
    shown = ("readme", "cpu_seconds_to_error", "demo", "installed_bytes")
    print(json.dumps({key: content[key] for key in shown}, indent=1))


def readme() -> dict[str, int]:
    """Return the number of words and of tables."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return {"words": len(text.split()), "tables": len(re.findall(r"^\|[-| :]+\|$", text, re.MULTILINE))}


def flags(command: str) -> dict[str, int]:
    """Return how many flags `--help` and `--help-all` of a command show."""
    shown = {word: omm([*command.split(), f"--{word}"], ROOT)[0].stdout for word in ("help", "help-all")}
    return {word: len(set(FLAG.findall(text))) for word, text in shown.items()}


def seconds_to_error(words: str, folder: Path) -> float:
    """Return the least CPU seconds until a mistake is reported."""
    turns = [omm(shlex.split(words), folder) for _ in range(TURNS)]
    if any(done.returncode != 2 for done, _ in turns):
        raise SystemExit(f"omm {words} is no mistake: {turns[0][0].stderr}")
    return round(min(seconds for _, seconds in turns), 2)


def demo(folder: Path) -> dict[str, Any]:
    """Run `omm demo`; return its CPU seconds, and the size of its page."""
    done, seconds = omm(["demo", "--out", "demo", "--device", "cpu"], folder)
    if done.returncode:
        raise SystemExit(done.stderr)
    page = folder / "demo" / "report.html"
    protected = json.loads((folder / "demo" / "results.json").read_text(encoding="utf-8"))["heldout_mean"]
    return {
        "cpu_seconds": round(seconds, 1),
        "judges_read": {version: round(shares["png"], 4) for version, shares in protected.items()},
        "page_bytes": page.stat().st_size,
        "page_height_by_width": dict(heights(page)) or None,
    }


def heights(page: Path) -> Iterator[tuple[str, int]]:
    """Yield the height of a page in pixels for each width of the window; nothing without a browser."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for width in WIDTHS:
            window = browser.new_page(viewport={"width": width, "height": 900})
            window.goto(page.as_uri())
            yield str(width), int(window.evaluate("document.documentElement.scrollHeight"))
        browser.close()


def installed_bytes(platform: str, folder: Path) -> int:
    """Return the bytes of the packages that running needs, for a platform; all but the package itself."""
    target = folder / platform
    subprocess.run(
        [
            "uv", "pip", "install", "--quiet", "--target", target, "--python-platform", platform,
            "--python-version", PYTHON, "--only-binary", ":all:", "-r", ROOT / "pyproject.toml",
        ],
        check=True,
    )  # fmt: skip
    total = sum(path.stat().st_size for path in target.rglob("*") if path.is_file() and not path.is_symlink())
    shutil.rmtree(target)
    return total


def omm(words: Sequence[str], folder: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a command in a process with one thread; return it, and its CPU seconds."""
    before = _used()
    done = subprocess.run(
        [sys.executable, "-m", "onlymymodel", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done, _used() - before


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
