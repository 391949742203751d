"""Folders in stores for tests: filled from folders of this machine, and compared with them."""

from pathlib import Path
from typing import Any

from onlymymodel.cli.main import main
from onlymymodel.data.atomic import OWN
from onlymymodel.data.manifest import parse_line
from onlymymodel.data.stores.remote import RemoteFolder, open_remote

FLAGS = [
    "--authorized", "python:toys:mine", "--allow-python", "--steps", "2",
    "--step-share", "1", "--views", "center", "--kappa", "0.5", "--epsilon", "16", "--quiet", "--device", "cpu",
    "--batch-size", "2",
]  # fmt: skip


def protect(source: object, out: object, *flags: str, surrogate: str = "python:toys:theirs") -> int:
    """Run `omm protect` with small models."""
    return main(["protect", str(source), "--out", str(out), *FLAGS, "--surrogate", surrogate, *flags])


def fill(address: str, folder: Path) -> RemoteFolder:
    """Copy the files of a folder to a store."""
    store = open_remote(address)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.put(path.relative_to(folder).as_posix(), path.read_bytes())
    return store


def contents(folder: Path | RemoteFolder) -> dict[str, bytes]:
    """Return the files of a folder by name, without those of stores that are no results."""
    if isinstance(folder, Path):
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    else:
        files = {file.key: file.read_all() for file in folder.files()}
    return {name: data for name, data in files.items() if not name.startswith(OWN)}


def photos_of(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the photos among files; manifest and seal differ in the seconds, and run.json in the source."""
    return {name: data for name, data in files.items() if not name.endswith((".json", ".jsonl"))}


def lines_of(files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Return the manifest among files without the one field that no two runs share."""
    lines = [parse_line(line) or {} for line in files["manifest.jsonl"].splitlines(keepends=True)]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
