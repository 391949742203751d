"""The card of a protected dataset: `README.md` with a YAML header, as the Hugging Face Hub reads it.

https://huggingface.co/docs/hub/datasets-cards has the fields of the header.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.stores.address import is_remote
from onlymymodel.errors import UserError
from onlymymodel.protect import run_record
from onlymymodel.protect.output_folder import DATASET_CARD
from onlymymodel.protect.photo_record import MANIFEST
from onlymymodel.protect.run_record import RunRecord
from onlymymodel.version import __version__

_MEANING = {
    "protected": "the authorized model still reads the file, and at least one stand-in that read the original does not",
    "already-misread": "written, but no stand-in read the original",
    "unchanged": "not written: no change inside the budget kept the authorized model's answer",
    "skipped": "not written: not read, or protected before",
    "failed": "not written: an error, which the manifest has",
}
# largest number of rows of each category, from the documentation of the Hub
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST = "n>1M"
_HUB = "hf://datasets/"

_PROMISED = f"""\
## What is promised

- Every `protected` file was decoded again after it was written: the authorized model gives the recorded answer, in its
  own preprocessing and in the deployments that `{MANIFEST}` lists for the photo, and the change is inside the budget.
- `{MANIFEST}` has the SHA-256 of each original and of each file; `seal.json` chains these lines. `omm verify`
  checks all of it.

## What is not promised

- That a model which took no part misreads the photos: that is a matter of measurement (`omm evaluate`), for each model.
- That it stays so: later models, models that are trained on protected photos, and purifiers may read them.
- Anything about people: they see the same picture. A protected photo is neither anonymous nor encrypted.
- The license and the consent of the people shown are those of the original dataset; this card changes neither.
"""


def write_card(out: Path, counts: Mapping[str, int]) -> None:
    """Write the card of a folder whose originals are rows of Parquet files; do nothing for any other.

    Args:
        out: the folder with the records of the run.
        counts: number of photos by status.

    Raises:
        UserError: it cannot be written, or `run.json` cannot be read.
    """
    run = run_record.read(out)
    if not run.rows:
        return
    try:
        write_atomic(out / DATASET_CARD, dataset_card(run, counts).encode())
    except OSError as error:
        raise UserError(f"{out / DATASET_CARD} cannot be written: {error.strerror}") from error


def dataset_card(run: RunRecord, counts: Mapping[str, int]) -> str:
    """Return the content of the card.

    Args:
        run: the record of the run.
        counts: number of photos by status.
    """
    written = counts.get("protected", 0) + counts.get("already-misread", 0)
    name = run.source.rstrip("/").rpartition("/")[2].removesuffix(".parquet")
    source = run.source if is_remote(run.source) else name  # no folder of this machine
    budget = [f"{key} {value}" for key, value in run.settings["budget"].items() if value is not None]
    models = [("authorized", run.authorized_uri), *(("stand-in", uri) for uri in run.surrogate_uris)]
    parts = [
        "---",
        *_header(run, name, written),
        "---",
        "",
        f"# {_plain(name)}, protected",
        "",
        f"Photos of `{_code(source)}`, changed by onlymymodel {__version__} so that one authorized model still "
        "reads them and other models are misled.",
        "",
        *_table(("status", "photos", "meaning"), _counted(counts)),
        *_table(("role", "model"), [(role, f"`{_code(uri)}`") for role, uri in models]),
        f"- Recipe: `{_code(run.recipe_name)}`, {run.recipe.steps} steps; all settings are in `run.json`.",
        f"- Budget: {_plain(', '.join(budget))} (linf in steps of 8-bit values).",
        f"- One line of `{MANIFEST}` for each photo has its status, the models' answers and the distances.",
        "",
        _PROMISED,
    ]
    return "\n".join(parts)


def _header(run: RunRecord, name: str, written: int) -> Iterator[str]:
    """Yield the lines of the YAML header; JSON strings are YAML strings."""
    yield f"pretty_name: {json.dumps(f'{name}, protected')}"
    yield "task_categories:"
    yield "- image-classification"
    yield "tags:"
    yield from (f"- {tag}" for tag in ("privacy", "adversarial-examples", "onlymymodel"))
    yield "size_categories:"
    yield f"- {next((size for most, size in _SIZES if written < most), _LARGEST)}"
    if run.source.startswith(_HUB):
        yield "source_datasets:"
        # ORG/NAME, without the revision and the path in it
        yield f"- {json.dumps('/'.join(run.source.removeprefix(_HUB).split('/')[:2]).partition('@')[0])}"
    yield "configs:"
    yield "- config_name: default"
    yield f"  data_files: {json.dumps('**/*.' + str(run.settings['format']))}"


def _counted(counts: Mapping[str, int]) -> list[tuple[str, str, str]]:
    return [(status, f"{counts[status]:,}", meaning) for status, meaning in _MEANING.items() if counts.get(status)]


def _table(head: Collection[str], rows: Collection[tuple[str, ...]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [*("| " + " | ".join(cells) + " |" for cells in lines), ""]


def _code(text: str) -> str:
    """Return a text that stays inside the backticks of Markdown, and inside a cell."""
    return text.replace("`", "'").replace("|", "\\|").replace("\n", " ")


def _plain(text: str) -> str:
    """Return a text without markup of its own."""
    return "".join(character if character.isalnum() or character in " .,-_/()" else " " for character in text)
