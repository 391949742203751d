"""Evaluation of protected folders: every model's answers before and after, as results, tables and a page."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch

from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.attributes import AttributeLabels
from onlymymodel.data.folder import Entry
from onlymymodel.data.manifest import json_bytes
from onlymymodel.data.source import Source
from onlymymodel.errors import UserError, first_of
from onlymymodel.evaluate.adaptive import ADAPTATION, LEARNING_RATES, adapted_rows
from onlymymodel.evaluate.channels import CHANNELS, AnyChannel
from onlymymodel.evaluate.harness import evaluate_models
from onlymymodel.evaluate.judges import Judge, Pixels
from onlymymodel.evaluate.protected_folder import ProtectedFolder, open_folders, read_options, read_pairs, read_photo
from onlymymodel.evaluate.report_aside import Aside
from onlymymodel.evaluate.results import AS_WRITTEN, Results
from onlymymodel.evaluate.results_file import results_to_json
from onlymymodel.evaluate.students import find_students, that_know
from onlymymodel.runtime import environment
from onlymymodel.surrogates.answer_cache import EXPORT, open_answer_cache
from onlymymodel.surrogates.assumed import assumed_by_uri
from onlymymodel.surrogates.black_box import BlackBox
from onlymymodel.surrogates.cached_black_box import CachedBlackBox
from onlymymodel.surrogates.classifier import ModelCard

log = logging.getLogger(__name__)

RESULTS, CSV, MARKDOWN, PAGE = "results.json", "results.csv", "results.md", "report.html"
PHOTOS_SHOWN = 24  # on the page
HALF_SCALE = 64  # the largest change is shown as a quarter of the range of gray


@dataclass(frozen=True)
class Evaluation:
    """The photos to evaluate, and the models that judge them.

    Attributes:
        source: the originals: a folder, one photo, or rows of Parquet files.
        protected: folders with one protected version of the originals each.
        judges: exactly one of them authorized.
        labels: class index of each photo by its path below the source. If None, labels are taken from the manifests;
            where they have none, the label is the authorized model's answer to the original.
        channels: transformations of the files before the models read them.
        adapt: also train each held-out model that has gradients on protected photos, and add a row for it.
        lpips: measure LPIPS even where its weights have to be downloaded first.
        aside: a photo that the page shows besides.
        attributes: labels of the photos' attributes, for models of attributes; None where there are none.
    """

    source: Source
    protected: tuple[Path, ...]
    judges: tuple[Judge, ...]
    labels: Mapping[str, int] | None = None
    channels: tuple[AnyChannel, ...] = (CHANNELS[AS_WRITTEN],)
    adapt: bool = False
    lpips: bool = False
    aside: Aside | None = None
    attributes: AttributeLabels | None = None


def evaluate_folders(
    evaluation: Evaluation, target: Path, *, command: str, device: torch.device, progress: bool = True
) -> Results:
    """Evaluate the files on the disk; write `results.json`, and from it a CSV, Markdown and a page, to `target`.

    The models' answers are cached in `answers.sqlite3` there, so that the same evaluation, stopped and started again,
    queries no model twice; at the end they are written as `answers.jsonl`, which `recorded:` reads.

    Raises:
        UserError: see `open_folders`, `find_students` and `evaluate_models`; photos have no label; a folder was made
            for another authorized model, or its labels are of other people, words or attributes.
    """
    photos, folders = open_folders(evaluation.source, evaluation.protected)
    authorized = next(judge.model for judge in evaluation.judges if judge.role == "authorized")
    _check_authorized(authorized, folders)
    if evaluation.labels is None:
        _check_recorded_labels(authorized.card, folders)
    students = find_students(evaluation.judges, len(photos), ADAPTATION["folds"]) if evaluation.adapt else ()
    cache = open_answer_cache(target)
    labels = _labels(evaluation, photos, folders, CachedBlackBox(authorized, cache))
    if evaluation.adapt:
        students = that_know(students, labels.values())
    results = evaluate_models(
        evaluation.judges,
        read_pairs(photos, folders, labels),
        channels=evaluation.channels,
        took_part=[card for folder in folders for card in folder.took_part()],
        cache=cache,
        perceptual=_perceptual(evaluation),
        attributes=evaluation.attributes,
        progress=progress,
        total=len(photos),
    )
    if students:
        pairs = list(read_pairs(photos, folders, labels))
        adapted = adapted_rows(results, students, pairs, progress=progress)
        rows = [replace(row, matches=None) for row in adapted]  # they are of the model before this training
        results = replace(results, rows=(*results.rows, *rows))
    assumed = assumed_by_uri(judge.model for judge in evaluation.judges)
    results = replace(
        results,
        runs=tuple(
            replace(
                run,
                statuses=dict(folder.statuses),
                epsilon=folder.epsilon,
                recipe=folder.recipe,
                bounds=folder.bounds,
                margins=folder.margins,
            )
            for run, folder in zip(results.runs, folders, strict=True)
        ),
        header={
            "command": command,
            "environment": environment(device),
            "settings": {folder.name: {} if folder.run is None else folder.run.settings for folder in folders},
            "adaptation": {**ADAPTATION, "learning_rates": LEARNING_RATES} if evaluation.adapt else None,
            **({"assumed": assumed} if assumed else {}),
        },
    )
    write_results(target, results)
    _write_page(target, results, photos, folders, labels, evaluation.aside)
    cache.export(target / EXPORT)
    return results


def write_results(target: Path, results: Results) -> None:
    """Write `results.json`, and the CSV and Markdown that follow from it."""
    from onlymymodel.evaluate.csv_table import to_csv
    from onlymymodel.evaluate.markdown_tables import to_markdown

    write_atomic(target / RESULTS, json_bytes(results_to_json(results), indent=1))
    for name, text in ((CSV, to_csv(results)), (MARKDOWN, to_markdown(results))):
        # a file name that is not UTF-8 is read with lone surrogates
        write_atomic(target / name, text.encode("utf-8", "replace"))


def _write_page(
    target: Path,
    results: Results,
    photos: Sequence[Entry],
    folders: Sequence[ProtectedFolder],
    labels: Mapping[str, int],
    aside: Aside | None,
) -> None:
    from onlymymodel.evaluate.report import render_report, write_report

    largest = max(distortion.linf for run in results.runs for distortion in run.distortion)
    page = render_report(
        results,
        islice(read_pairs(photos, folders, labels), PHOTOS_SHOWN),
        title="onlymymodel",
        summary=_summary(results, folders),
        amplify=max(1, round(HALF_SCALE / max(largest, 1))),
        aside=aside,
    )
    write_report(target / PAGE, page)


def _summary(results: Results, folders: Sequence[ProtectedFolder]) -> str:
    """Return how many of all photos, including those that cannot be read, each folder protects."""
    total = len(folders[0].files)
    sentences = [
        f"{sum(file is not None for file in folder.files.values())} of {total} photos are protected"
        + (f" in {folder.name}" if len(folders) > 1 else "")
        for folder in folders
    ]
    unread = total - len(results.photos)
    left_out = f"; {unread} cannot be read, and {'is' if unread == 1 else 'are'} in no figure" if unread else ""
    return f"{', '.join(sentences)}{left_out}."


def _perceptual(evaluation: Evaluation) -> Callable[[Pixels, Pixels], float] | None:
    from onlymymodel.protect.budget.lpips import lpips, lpips_available

    if not (evaluation.lpips or lpips_available()):
        return None

    return lpips


def _check_authorized(authorized: BlackBox, folders: Sequence[ProtectedFolder]) -> None:
    for folder in folders:
        made_for = None if folder.run is None else folder.run.authorized
        if made_for is not None and made_for.sha256 != authorized.card.sha256:
            raise UserError(
                f"{folder.path} was made for {made_for.uri}, whose weights are not those of the authorized model "
                f"{authorized.card.uri}"
            )


def _check_recorded_labels(card: ModelCard, folders: Sequence[ProtectedFolder]) -> None:
    """Refuse folders whose labels mean other classes of the same weights, and warn of those that may.

    Labels are places among the people of a gallery, the words or the attributes that are kept.

    Raises:
        UserError: the authorized model has another number of classes now, or keeps other attributes.
    """
    for folder in folders:
        made_for = card if folder.run is None else folder.run.authorized
        if not made_for.same_classes(card):
            raise UserError(
                f"{folder.path} was made with {made_for.classes} classes of {made_for.uri}, which has others now: give "
                "its gallery, words or keep= as they were, or the labels by --labels"
            )
        if (made_for.gallery, made_for.words) != (card.gallery, card.words):
            log.warning(
                "%s was made with another gallery, threshold or words of %s: its labels hold only if people or words "
                "have the same names in the same order",
                folder.path,
                made_for.uri,
            )


def _labels(
    evaluation: Evaluation, photos: Sequence[Entry], folders: Sequence[ProtectedFolder], authorized: CachedBlackBox
) -> dict[str, int]:
    """Return the right class of every photo: given, or recorded, or the authorized model's answer to the original.

    Raises:
        UserError: labels are given, but not for all photos; two runs recorded different labels.
    """
    paths = {str(entry.relative): entry.file for entry in photos}
    if evaluation.labels is not None:
        missing = [path for path in paths if path not in evaluation.labels]
        if missing:
            raise UserError(f"{len(missing)} of {len(paths)} photos have no label: {first_of(missing)}")
        return {path: evaluation.labels[path] for path in paths}
    labels, options = {}, read_options(folders)
    for path, file in paths.items():
        records = [folder.records[path] for folder in folders if path in folder.records]
        recorded = {record.label for record in records if record.label is not None}
        if len(recorded) > 1:
            raise UserError(f"{path} was protected with different labels in different folders; say which by --labels")
        labels[path] = recorded.pop() if recorded else authorized.answer(read_photo(file, options))
    return labels
