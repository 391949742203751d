"""results/ as a data package (https://datapackage.org, 2.0), and what each table of the pages is made from."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assets import RESULTS, ROOT
from bench import BENCHMARKS, hours
from markup import table

PACKAGE = RESULTS / "datapackage.json"
PROFILE = "https://datapackage.org/profiles/2.0/datapackage.json"
# JSON below results/ from which each marked part of a page is made, and the benchmark that writes it
SOURCES: dict[str, tuple[tuple[str, ...], str]] = {
    "installation": (("front_door.json",), "front_door"),
    "memory": (("memory.json",), "memory"),
    "headline": (("deployments/**/*.json",), "deployments"),
    "deployments": (("deployments/**/*.json",), "deployments"),
    "paired": (("deployments/nips2017/*.json",), "deployments"),
    "leaderboard": (("deployments/**/*.json",), "deployments"),
    "adaptive": (("adaptive/*.json",), "adaptive"),
    "convolutions": (("deployments/nips2017/*-default-8.json",), "deployments"),
    "deployments-details": (("deployments/nips2017/*.json",), "deployments"),
    "peers": (("peers/*.json",), "peers"),
    "recipe-settings": (("recipes/*.json",), "recipes"),
    "overhead": (("overhead.json", "recipe_cost.json"), "overhead"),
    "parties": (("parties/*.json",), "parties"),
    **{f"workers-{name}": (("workers.json",), "workers") for name in ("names", "throughput")},
    "workers-cost": (("recipe_cost.json",), "overhead"),
    **{
        f"faces-{name}": (("faces/*.json",), "faces")
        for name in ("identity", "emotion", "emotion-not-identity", "identity-not-emotion", "deployed", "details")
    },
    **{
        f"audit-{name}": (("audits/**/*.json",), "audits")
        for name in (
            "gradients", "predictors", "claims", "protected", "layers", "networks", "epochs", "weights",
            "whole-weights", "representations",
        )
    },
}  # fmt: skip


def data_package() -> str:
    """Return the content of datapackage.json: every JSON of results/ with its size, hash and command."""
    package = {
        "$schema": PROFILE,
        "name": "onlymymodel-results",
        "title": "Measurements of onlymymodel",
        "description": "What benchmarks/ measured: each file has the environment, the seed and the hashes of the "
        "weights; README.md has the tables. Photos and weights are not part of it.",
        "licenses": [{"name": "MIT", "title": "MIT License"}],
        "resources": [_resource(path) for path in json_files()],
    }
    return json.dumps(package, indent=1, ensure_ascii=False) + "\n"


def json_files() -> Iterator[Path]:
    """Yield the measured files, by path."""
    return (path for path in sorted(RESULTS.rglob("*.json")) if path != PACKAGE)


def _resource(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    content = json.loads(data)
    where = path.relative_to(RESULTS).as_posix()
    photos = _photo_count(content.get("photos"))
    return {
        "name": re.sub(r"[^a-z0-9._-]+", "-", where.removesuffix(".json").lower()),
        "path": where,
        "format": "json",
        "mediatype": "application/json",
        "bytes": len(data),
        "hash": f"sha256:{hashlib.sha256(data).hexdigest()}",
        "command": content.get("made_by") or _command(where),
        **({"photos": photos} if photos else {}),
    }


def _photo_count(photos: object) -> int | None:
    """Return how many photos a file measured, where it lists their names or records, or counts them."""
    if isinstance(photos, list) and all(isinstance(photo, str | dict) for photo in photos):
        return len(photos)
    return photos if isinstance(photos, int) else None


def _command(where: str) -> str:
    """Return the command that writes a file which does not name it: that of the folder or file."""
    name = {"zoo.json": "train_zoo"}.get(where, where.split("/")[0].removesuffix(".json"))
    return f"benchmarks/{name}.py"


def sources() -> str:
    """Return the JSON and the benchmark of every table and figure of the pages, as a table."""
    rows = []
    for page, name in marked_parts():
        patterns, benchmark = SOURCES[name]
        rows.append([page, name, ", ".join(f"`{pattern}`" for pattern in patterns), f"`{benchmark}`"])
    return table(["page", "part", "JSON in results/", "benchmark"], rows)


def commands() -> str:
    """Return the commands behind results/ and their hours on one CPU core, by benchmark, as a table."""
    rows = []
    for name in dict.fromkeys(SOURCES[part][1] for _, part in marked_parts()):
        runs = BENCHMARKS[name].runs if name in BENCHMARKS else ("",)
        words = [f"`{' '.join(['benchmarks/' + name + '.py', run]).strip()}`" for run in runs]
        taken = hours(name) if name in BENCHMARKS else 0.0
        rows.append([f"`{name}`", f"{taken:.1f}" if taken else "-", "<br>".join(words)])
    return table(["benchmark", "hours", "commands"], rows)


def marked_parts() -> Iterator[tuple[str, str]]:
    """Yield every page for readers, and the name of each of its marked parts, which is made from results/."""
    for page in (ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for name in re.findall(r"<!-- ([a-z0-9-]+) -->", page.read_text(encoding="utf-8")):
            yield page.relative_to(ROOT).as_posix(), name
