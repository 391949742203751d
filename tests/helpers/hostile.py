"""A cheap run over photos, and what has to hold of its folder, for tests with hostile names, files and moments."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from toys import theirs

from onlymymodel.data.folder import scan
from onlymymodel.data.manifest import Manifest, sha256_file
from onlymymodel.data.stores.stamps import RESULTS, SOURCES
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.context import Context
from onlymymodel.protect.folder import Job, protect_folder
from onlymymodel.protect.folder_summary import Summary
from onlymymodel.protect.photo_record import MANIFEST, WRITTEN, PhotoManifest
from onlymymodel.protect.seal import NAME as SEAL
from onlymymodel.surrogates.load import load_model

RECIPE = make_recipe("default", steps=2, step_share=1.0, views=("center",), kappa=0.0, guard_looks=0, push="own")
CONTEXT = Context(load_model("python:toys:mine", allow_python=True), (theirs(),), Budget(32 / 255), RECIPE)
URIS = {"authorized": "python:toys:mine", "surrogates": ["python:toys:theirs"]}


def save_photo(path: Path, seed: int, side: int = 24) -> None:
    """Write a PNG of middling noise; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(40, 216, (side, side, 3), dtype=np.uint8)
    with path.open("wb") as file:  # Pillow guesses no format from a name with strange bytes
        Image.fromarray(pixels).save(file, "PNG")


def protect(source: Path, out: Path, **changes: Any) -> Summary:
    """Protect a folder by toy models."""
    return protect_folder(
        Job(source, out, **{"context": CONTEXT, "uris": URIS, "batch_size": 2, **changes}), progress=False
    )


STAMPED = (SOURCES, RESULTS)  # they depend on the times of files


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every regular file below a folder, by its path; but not what is known of unchanged files."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path.name not in STAMPED
    }


def lines_of(out: Path) -> list[dict[str, Any]]:
    """Return the lines of the manifest without the one field that no two runs share."""
    return [{**record, "seconds": None} for record in Manifest(out / MANIFEST).load()]


def check_lines(source: Path, out: Path) -> None:
    """Assert that every file that is, or looks like, a photo has exactly one line, and that the line is true."""
    records = PhotoManifest(out).load()
    expected = [str(entry.relative) for entry in scan(source) if entry.status != "not-a-photo"]
    assert Counter(record.source for record in records) == Counter(expected)
    for record in records:
        assert (record.output is not None) == (record.status in WRITTEN)
        assert record.reason or record.status == "protected"
        if record.output is not None:
            assert sha256_file(out / record.output) == record.output_sha256
            assert sha256_file(source / record.source) == record.source_sha256
    written = {record.output for record in records if record.output is not None}
    # the command seals the folder at the end, protect_folder does not
    assert files_of(out).keys() - written - {SEAL} == {MANIFEST, "run.json"}
