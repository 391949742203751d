"""Check that the files of a protected folder mislead the surrogates as its manifest says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from onlymymodel.errors import UserError, number_of
from onlymymodel.protect.answer_records import SurrogateAnswers
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.photo_record import PhotoRecord
from onlymymodel.protect.run_record import RunRecord
from onlymymodel.surrogates.answers import reading_margins
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.heads import Look, answer_logits
from onlymymodel.surrogates.load import load_model


@dataclass(frozen=True)
class AskedSurrogates:
    """The surrogates that are asked about the files.

    Attributes:
        models: by their index in `run.json`.
        total: number of surrogates of the run.
        missing: those that are not asked, and why, one sentence each.
    """

    models: Mapping[int, Classifier]
    total: int
    missing: tuple[str, ...] = ()

    def without_originals(self) -> "AskedSurrogates":
        """Return those that can be asked about files whose originals are not available: embedders cannot."""
        classes = {index: model for index, model in self.models.items() if not model.card.embeds}
        unasked = [
            f"stand-in {model.card.uri}: it is asked beside the originals"
            for index, model in self.models.items()
            if index not in classes
        ]
        return AskedSurrogates(classes, self.total, (*self.missing, *unasked))


def load_surrogates(out: Path, run: RunRecord, *, allow_python: bool, device: str) -> AskedSurrogates:
    """Load the surrogates that `run.json` names, as far as they can be loaded and have the recorded weights.

    Args:
        out: the protected folder, which relative files start from.
        run: its record.
        allow_python: see `load_model`.
        device: of the models.
    """
    cards, models, missing = run.surrogates, dict[int, Classifier](), list[str]()
    if len(run.surrogate_uris) != len(cards):
        return AskedSurrogates({}, len(cards), (f"{number_of(len(cards), 'stand-in')}: run.json does not name all",))
    for index, (uri, card) in enumerate(zip(run.surrogate_uris, cards, strict=True)):
        try:
            model = load_model(uri, base=out, allow_python=allow_python, device=device)
        except UserError as error:
            missing.append(f"stand-in {card.uri}: {error}")
            continue
        if model.card.sha256 != card.sha256:
            missing.append(f"stand-in {card.uri}: it has other weights than that of the run")
        elif not model.card.same_classes(card):
            missing.append(f"stand-in {card.uri}: it has other classes than that of the run")
        else:
            models[index] = model
    return AskedSurrogates(models, len(cards), tuple(missing))


def find_surrogates(run: RunRecord, uris: Sequence[str], *, allow_python: bool, device: str) -> AskedSurrogates:
    """Load surrogates that were moved, from URIs in any order.

    Args:
        run: the record of the run.
        uris: of its surrogates, with files relative to the current folder.
        allow_python: see `load_model`.
        device: of the models.

    Raises:
        UserError: a model cannot be loaded, or is no surrogate of the run.
    """
    hashes, models = [card.sha256 for card in run.surrogates], dict[int, Classifier]()
    for uri in uris:
        model = load_model(uri, allow_python=allow_python, device=device)
        if model.card.sha256 not in hashes:
            raise UserError(f"{model.card.uri} has the weights of no stand-in that this folder was made with")
        models[hashes.index(model.card.sha256)] = model
    unnamed = [card.uri for index, card in enumerate(run.surrogates) if index not in models]
    return AskedSurrogates(models, len(hashes), tuple(f"stand-in {uri}: it was not named" for uri in unnamed))


def surrogate_faults(
    record: PhotoRecord, pixels: Tensor, clean: Tensor | None, asked: AskedSurrogates, tolerance: float
) -> Iterator[str]:
    """Yield a sentence for each surrogate that reads a file again, and one if the status `protected` has no ground.

    Args:
        record: of the photo.
        pixels: (C,H,W) uint8 pixels of the file.
        clean: those of its original; None where it is not available.
        asked: the models.
        tolerance: in logits, within which a reading may differ from the recorded one.
    """
    asked = asked.without_originals() if clean is None else asked
    answers = record.surrogates or ()
    if len(answers) != asked.total:
        yield f"its line has answers of {number_of(len(answers), 'stand-in')}, run.json has {asked.total}"
        return
    misled = False
    for index, model in asked.models.items():
        answer = answers[index]
        if answer.pushed_from is None:
            continue
        if not 0 <= answer.pushed_from < model.card.answers:
            yield f"stand-in {answer.model} has no class {answer.pushed_from}"
            continue
        after = _margin(model, pixels, answer, clean)
        if after > tolerance and not answer.reads_after:
            yield f"stand-in {answer.model} reads it, and is recorded as misled"
        misled = misled or (
            after <= tolerance and (clean is None or _margin(model, clean, answer, clean) >= -tolerance)
        )
    # another face may be the one that they are misled on
    complete = len(asked.models) == asked.total > 0 and not record.faces
    if record.status == "protected" and complete and not misled:
        yield "is recorded as protected, but misleads no stand-in that reads its original"


@torch.inference_mode()
def _margin(model: Classifier, pixels: Tensor, answer: SurrogateAnswers, clean: Tensor | None) -> float:
    """Return by how much the answer that the attack pushes from is read, see `reading_margins`."""
    original = None if clean is None else Look(to_float(clean)[None])
    logits = answer_logits(model, Look(to_float(pixels)[None]), original)
    return float(reading_margins(model.card, logits, torch.tensor([answer.pushed_from], device=logits.device)))
