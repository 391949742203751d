"""An evaluation of folders: who reads what, before and after, written down as figures, tables and a page."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch

from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.folder import Entry
from onlymymodel.errors import UserError
from onlymymodel.evaluate.adaptive import ADAPTATION, adapted_rows
from onlymymodel.evaluate.channels import CHANNELS, Channel
from onlymymodel.evaluate.harness import Judge, Pixels, evaluate_models
from onlymymodel.evaluate.protected_folder import ProtectedFolder, open_folders, pixel_limit, read_pairs, read_photo
from onlymymodel.evaluate.results import AS_WRITTEN, Results
from onlymymodel.protect.photo import Context
from onlymymodel.runtime import environment
from onlymymodel.surrogates.answer_book import AnswerBook, AskedOnce
from onlymymodel.surrogates.black_box import BlackBox, ClassifierBlackBox

RESULTS, CSV, MARKDOWN, PAGE, ANSWERS = "results.json", "results.csv", "results.md", "report.html", "answers.jsonl"
SHOWN = 24  # photos on the page
HALF_SCALE = 64  # the largest change is shown as a quarter of the range of gray
MISSING_SHOWN = 5


@dataclass(frozen=True)
class Evaluation:
    """What is to be judged, and by whom.

    Attributes:
        source: the originals, a folder or one photo.
        protected: folders with one protected version of them each.
        judges: exactly one of them authorized.
        labels: class index of each photo by its path below the source; None to take them from the manifests, or else
            from what the authorized model reads in the originals.
        channels: what happens to the files before they are read.
        adapt: let each held-out model that has gradients be trained further on protected photos, as rows of their own.
        lpips: measure LPIPS too.
    """

    source: Path
    protected: tuple[Path, ...]
    judges: tuple[Judge, ...]
    labels: Mapping[str, int] | None = None
    channels: tuple[Channel, ...] = (CHANNELS[AS_WRITTEN],)
    adapt: bool = False
    lpips: bool = False


def panel(context: Context, heldout: Sequence[BlackBox]) -> list[Judge]:
    """The models of a run and those that took no part, as judges."""
    return [
        Judge("authorized", ClassifierBlackBox(context.authorized)),
        *(Judge("surrogate", ClassifierBlackBox(model)) for model in context.surrogates),
        *(Judge("held-out", model) for model in heldout),
    ]


def judge_folders(
    evaluation: Evaluation, target: Path, *, command: str, device: torch.device, progress: bool = True
) -> Results:
    """Judge the files as they are; write `results.json`, and from it a CSV, Markdown and a page, to `target`.

    What the models said is kept in `answers.jsonl` there: the same evaluation, stopped and begun again, asks nothing
    twice.

    Raises:
        UserError: see `open_folders` and `evaluate_models`; photos without a label; folders that were made for another
            authorized model.
    """
    photos, folders = open_folders(evaluation.source, evaluation.protected)
    authorized = next(judge.model for judge in evaluation.judges if judge.role == "authorized")
    _check_authorized(authorized, folders)
    book = AnswerBook(target / ANSWERS)
    labels = _labels(evaluation, photos, folders, AskedOnce(authorized, book))
    results = evaluate_models(
        evaluation.judges,
        read_pairs(photos, folders, labels),
        channels=evaluation.channels,
        took_part=[card for folder in folders for card in folder.took_part()],
        book=book,
        perceptual=_perceptual(evaluation),
        progress=progress,
    )
    if evaluation.adapt:
        pairs = list(read_pairs(photos, folders, labels))
        adapted = adapted_rows(results, evaluation.judges, pairs, progress=progress)
        rows = [replace(row, matches=None) for row in adapted]  # those would be of the model before its training
        results = replace(results, rows=(*results.rows, *rows))
    results = replace(
        results,
        runs=tuple(
            replace(
                run, statuses=dict(folder.statuses), epsilon=folder.epsilon, recipe=folder.recipe, bounds=folder.bounds
            )
            for run, folder in zip(results.runs, folders, strict=True)
        ),
        header={
            "command": command,
            "environment": environment(device),
            "settings": {folder.name: folder.settings for folder in folders},
            "adaptation": ADAPTATION if evaluation.adapt else None,
        },
    )
    write_results(target, results)
    _write_page(target, results, photos, folders, labels)
    return results


def write_results(target: Path, results: Results) -> None:
    """Write `results.json`, and the CSV and Markdown that follow from it."""
    from onlymymodel.evaluate.tables import to_csv, to_markdown

    content = json.dumps(results.to_json(), indent=1, ensure_ascii=False)
    for name, text in ((RESULTS, content + "\n"), (CSV, to_csv(results)), (MARKDOWN, to_markdown(results))):
        # a file name that is not UTF-8 reaches us with lone surrogates
        write_atomic(target / name, text.encode("utf-8", "replace"))


def _write_page(
    target: Path,
    results: Results,
    photos: Sequence[Entry],
    folders: Sequence[ProtectedFolder],
    labels: Mapping[str, int],
) -> None:
    from onlymymodel.evaluate.report import write_report

    largest = max(distortion.linf for run in results.runs for distortion in run.distortion)
    write_report(
        target / PAGE,
        results,
        islice(read_pairs(photos, folders, labels), SHOWN),
        title="onlymymodel",
        summary=_summary(results, folders),
        amplify=max(1, round(HALF_SCALE / max(largest, 1))),
    )


def _summary(results: Results, folders: Sequence[ProtectedFolder]) -> str:
    """How many of all photos each folder protects, those that cannot be read among them."""
    total = len(folders[0].files)
    told = [
        f"{sum(file is not None for file in folder.files.values())} of {total} photos are protected"
        + (f" in {folder.name}" if len(folders) > 1 else "")
        for folder in folders
    ]
    unread = total - len(results.photos)
    left_out = f"; {unread} cannot be read, and {'is' if unread == 1 else 'are'} in no figure" if unread else ""
    return f"{', '.join(told)}{left_out}."


def _perceptual(evaluation: Evaluation) -> Callable[[Pixels, Pixels], float] | None:
    if not evaluation.lpips:
        return None
    from onlymymodel.protect.perceptual import lpips

    return lpips


def _check_authorized(authorized: BlackBox, folders: Sequence[ProtectedFolder]) -> None:
    for folder in folders:
        made_for = folder.settings["authorized"] if folder.settings else None
        if made_for is not None and made_for["sha256"] != authorized.card.sha256:
            raise UserError(
                f"{folder.path} was made for {made_for['uri']}, whose weights are not those of the authorized model "
                f"{authorized.card.uri}"
            )


def _labels(
    evaluation: Evaluation, photos: Sequence[Entry], folders: Sequence[ProtectedFolder], authorized: AskedOnce
) -> dict[str, int]:
    """The right class of every photo: given, or recorded, or what the authorized model reads in the original.

    Raises:
        UserError: labels are given, but not for all photos; two runs recorded different ones.
    """
    paths = {str(entry.relative): entry.path for entry in photos}
    if evaluation.labels is not None:
        missing = [path for path in paths if path not in evaluation.labels]
        if missing:
            named = ", ".join(missing[:MISSING_SHOWN]) + (", ..." if len(missing) > MISSING_SHOWN else "")
            raise UserError(f"{len(missing)} of {len(paths)} photos have no label: {named}")
        return {path: evaluation.labels[path] for path in paths}
    labels, limit = {}, pixel_limit(folders)
    for path, file in paths.items():
        recorded = {folder.records[path]["label"] for folder in folders if path in folder.records} - {None}
        if len(recorded) > 1:
            raise UserError(f"{path} was protected with different labels in different folders; say which by --labels")
        label = recorded.pop() if recorded else authorized.answer(read_photo(file, limit))
        labels[path] = int(label)
    return labels
