"""A protected folder before its judges: a table, `results.json` and a page with the pictures."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import decode
from onlymymodel.data.manifest import Manifest
from onlymymodel.evaluate.harness import Judge, Pair, Row, evaluate_models
from onlymymodel.protect.folder import MANIFEST, Job
from onlymymodel.protect.photo import Context, Record
from onlymymodel.runtime import environment
from onlymymodel.surrogates.black_box import BlackBox, ClassifierBlackBox

RESULTS, PAGE = "results.json", "report.html"
SHOWN = 24  # pictures on the page
HALF_SCALE = 64  # the largest allowed change is shown as a quarter of the range of gray


@dataclass(frozen=True)
class ProtectedFolder:
    """The pairs of a folder, read from the files each time they are asked for."""

    source: Path
    out: Path

    def records(self) -> list[Record]:
        """The manifest lines of the protected photos."""
        lines = Manifest(self.out / MANIFEST).by_source().values()
        return [record for record in lines if record["status"] == "protected"]

    def pairs(self) -> Iterator[Pair]:
        """Originals and protected photos as a reader of the files sees them."""
        for record in self.records():
            original = self.source / record["source"] if self.source.is_dir() else self.source
            yield Pair(
                name=record["source"],
                original=decode(original.read_bytes()).pixels,
                protected=decode((self.out / record["output"]).read_bytes()).pixels,
                label=record["label"],
            )


def panel(context: Context, heldout: Sequence[BlackBox]) -> list[Judge]:
    """The models of a run and those that took no part, as judges."""
    return [
        Judge("authorized", ClassifierBlackBox(context.authorized)),
        *(Judge("surrogate", ClassifierBlackBox(model)) for model in context.surrogates),
        *(Judge("held-out", model) for model in heldout),
    ]


def judge_folder(job: Job, heldout: Sequence[BlackBox], target: Path, command: str, *, progress: bool) -> list[Row]:
    """Judge what a job wrote; write `results.json` and `report.html` to the folder `target`.

    Raises:
        UserError: nothing is protected, or a held-out model took part.
    """
    from onlymymodel.evaluate.report import write_report

    folder = ProtectedFolder(job.source, job.out)
    records = folder.records()
    rows = evaluate_models(panel(job.context, heldout), folder.pairs(), progress=progress)
    shown = [pair for pair, _ in zip(folder.pairs(), range(SHOWN), strict=False)]
    write_report(
        target / PAGE,
        title="onlymymodel",
        summary=f"{len(records)} photos are protected.",
        rows=rows,
        pairs=shown,
        label_names=job.context.authorized.card.labels,
        epsilon=job.context.budget.linf * 255,
        amplify=max(1, round(HALF_SCALE / max(job.context.budget.linf * 255, 1))),
        distortion=[(record["psnr"], record["ssim"]) for record in records[: len(shown)]],
        command=command,
        environment=environment(job.context.device),
    )
    content = {
        "schema": 1,
        "command": command,
        "environment": environment(job.context.device),
        "rows": [row.to_json() for row in rows],
    }
    write_atomic(target / RESULTS, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as text, one line a model."""
    width = max(len(row.model) for row in rows)
    lines = [f"{'':11} {'model':{width}}  right before  right after"]
    for row in rows:
        before, after = f"{row.right_before / row.photos:.1%}", f"{row.right_after / row.photos:.1%}"
        mark = "" if row.truth == "label" else "  (of its own clean answers)"
        lines.append(f"{row.role:11} {row.model:{width}}  {before:>12}  {after:>11}{mark}")
    return "\n".join(lines)
