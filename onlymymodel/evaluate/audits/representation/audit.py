"""Audit of protected representations: what new decoders reconstruct from them, and how well the task works.

The published audit of this defense trains decoders on public data against the frozen encoder (Xiao et al., AAAI 2020;
the full text was not available). Ours trains convolutional ones of several sizes and losses and a ridge regression,
since on few pictures the regression is often better, searches on from there with the encoder itself, and counts the
best.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.intervals import mean_interval
from onlymymodel.evaluate.audits.inverter import invert, train_inverter
from onlymymodel.evaluate.audits.options import RepresentationOptions, RepresentationSettings
from onlymymodel.evaluate.audits.pictures import Pictures, display_picture
from onlymymodel.evaluate.audits.report import AuditReport, AuditRow, Findings, Value, audit_release
from onlymymodel.evaluate.audits.representation.decoders import (
    DECODERS,
    RIDGE_PENALTY,
    SEARCH_STEPS,
    reconstruct,
)
from onlymymodel.evaluate.audits.representation.defense import MakeEncoder, Representation, train_representation
from onlymymodel.evaluate.audits.representation.face_similarity import FaceSimilarity
from onlymymodel.evaluate.audits.representation.judges import ADVERSARIAL_WEIGHT, PERCEPTUAL_WEIGHT
from onlymymodel.evaluate.audits.representation.task import Task
from onlymymodel.evaluate.audits.similarity import SIMILARITY_DEFINITION
from onlymymodel.protect.budget.distortion import batch_psnr, batch_ssim
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.fingerprint import parameters_sha256

DECODER_STEPS = RepresentationOptions().decoder_steps
MAX_ILLUSTRATED = 6  # rows with pictures
PRIVATE_SEED = 2  # of the noise on what is released
SEED_OFFSET = 1000  # added to the seed of the defense
MEASURES = ("psnr", "ssim", "perceptual", "identity_cosine")
MEASURES_BY_DECODER = tuple(f"{measure}_{decoder}" for measure in ("psnr", "ssim") for decoder in DECODERS)
# names of the controls
MEAN_PICTURE, OTHER_PICTURE = "mean picture", "somebody else's picture"
UNDEFENDED, PIXELS = "lambda 0, no noise", "the pixels themselves"


@dataclass(frozen=True)
class RepresentationRelease:
    """The representations of pictures of people who are in no training data.

    Attributes:
        representation: the defense.
        pictures: private pictures, of which the adversary gets only the representations.
    """

    representation: Representation
    pictures: Pictures

    @property
    def name(self) -> str:
        """Name of the release, with the settings that determine the privacy."""
        settings = self.representation.settings
        noise = f", noise {settings.noise:g}" if settings.noise else ""
        return f"representation, lambda {settings.weight:g}{noise}"

    def describe(self) -> dict[str, Any]:
        """Return settings, hash of the encoder, and numbers of pictures and people as JSON values."""
        return {
            **self.representation.settings.to_json(),
            "encoder_sha256": parameters_sha256(self.representation.encoder),
            "pictures": len(self.pictures),
            "people": len(torch.unique(self.pictures.groups)),
            "adversary_of_the_training": self.representation.adversary_loss,
        }


@dataclass(frozen=True)
class RepresentationAdversary:
    """Representation inversion by decoders that are trained on public pictures after the encoder.

    Attributes:
        public: pictures of people who are neither in the training of the defense nor among the private pictures.
        undefended: representation trained in the same way with lambda 0 and no noise, a control.
        similarity: perceptual distance and identity.
        steps: number of training steps of each convolutional decoder.
        seed: their seed, which must differ from that of the defense.
        known_controls: result of `controls` for the pictures of the release, if it was computed before; the controls
            do not depend on the defense.
        undefended_reconstructions: from the undefended representation, by the names of the pictures, once they are
            known: they are a control, and that representation may be a release, too.
    """

    public: Pictures
    undefended: Representation
    similarity: FaceSimilarity
    steps: int = DECODER_STEPS
    seed: int = SEED_OFFSET
    known_controls: tuple[AuditRow, ...] | None = None
    undefended_reconstructions: dict[tuple[str, ...], dict[str, Tensor]] = field(default_factory=dict, repr=False)

    name = "new decoder"

    def assumptions(self, release: RepresentationRelease) -> list[str]:
        """Return what the adversary has, and how it is evaluated."""
        people = len(torch.unique(self.public.groups))
        settings = release.representation.settings
        return [
            "the encoder is public and frozen: the adversary can compute the representation of any picture",
            f"three groups of people: the defense was trained on one; the adversary has {len(self.public)} public "
            f"pictures of {people} people of the second; the private pictures are of the third "
            f"({len(torch.unique(release.pictures.groups))} people)",
            "intervals (95 %, Student's t) are over the means of the private people, and do not account for other "
            "trainings",
            "new decoders, with another seed and other architectures than the adversary of the training: three "
            f"convolutional ones ({self.steps} steps): with a pixel loss, twice as wide with a perceptual loss (weight "
            f"{PERCEPTUAL_WEIGHT:g}), and three times as wide with that of a critic too (weight "
            f"{ADVERSARIAL_WEIGHT:g}); a ridge regression (features standardized, penalty {RIDGE_PENALTY:g} a picture)"
            f"; and a search of {SEARCH_STEPS} steps for pictures with the released representation, from where the "
            "closest decoder ended; psnr, ssim, perceptual and identity_cosine are of the one with the highest mean "
            "PSNR on the private pictures, and the decision takes for each picture the highest SSIM of all, both in "
            "favor of the adversary",
            "the defense was trained against regressions of that kind, on its own batches, but not against the others"
            if settings.best_linear and settings.weight
            else "the defense was trained against none of them",
            f"noise of standard deviation {settings.noise:g} on each number of a representation, drawn once for each "
            "picture; whoever gets several releases of one picture can average it out"
            if settings.noise
            else "representations are sent without noise, as float32: information that is scaled down is not lost",
            f"the task: {len(attributes)} attributes ({', '.join(attributes)}); accuracy is the share that is right, "
            "and the Matthews correlation coefficient is the mean over those of which the private pictures have both, "
            "0 where all answers are the same"
            if (attributes := release.pictures.attributes)
            else "the task: one class for each picture",
            "accuracy_by_chance: the accuracy of always predicting the most common class of the private pictures, or "
            "the more common value of each attribute",
            *self.similarity.assumptions(),
            *(f"{name}: {definition}" for name, definition in SIMILARITY_DEFINITION.items()),
        ]

    def findings(self, release: RepresentationRelease, *, progress: bool) -> Findings:
        """Reconstruct and classify each private picture, and measure the controls.

        Raises:
            UserError: a person is both public and private, the seeds are equal, or scikit-learn is not installed.
        """
        self._check(release)
        defense, private = release.representation, release.pictures
        by_decoder = self._reconstruct(defense, private, progress)
        best = _best(by_decoder, private)
        columns = self._measure(best, private.pixels)
        for measure, of in (("psnr", batch_psnr), ("ssim", batch_ssim)):
            columns |= {f"{measure}_{name}": of(pictures, private.pixels) for name, pictures in by_decoder.items()}
        columns["ssim_mean_picture"] = batch_ssim(self._mean_picture(private), private.pixels)
        classes = defense.classify(defense.release(private.pixels, seed=PRIVATE_SEED))
        right = defense.task.right(private.labels, classes)
        rows = []
        for index, name in enumerate(private.names):
            values: dict[str, Value] = {key: column[index].item() for key, column in columns.items()}
            values |= {"class": int(private.labels[index]), "class_read": int(classes[index])}
            values["right"] = right[index].item()
            values["person"] = int(private.groups[index])
            shown = {"original": private.pixels[index], "reconstruction": best[index]}
            pictures = {key: display_picture(pixels) for key, pixels in shown.items() if index < MAX_ILLUSTRATED}
            rows.append(AuditRow(name, values, pictures))
        return Findings(rows, self.known_controls or self.controls(private, progress=progress))

    def controls(self, private: Pictures, *, progress: bool) -> tuple[AuditRow, ...]:
        """Measure means over the private pictures where nothing, or everything, can be recovered.

        They do not depend on the defense.
        """
        public, device = self.public.pixels, self.undefended.device
        there = public.to(device)
        upper_bound = train_inverter(there, there, steps=self.steps, seed=self.seed, progress=progress)
        guesses = {
            MEAN_PICTURE: self._mean_picture(private),
            OTHER_PICTURE: public[torch.arange(len(private)) % len(public)],
            UNDEFENDED: _best(self._reconstruct(self.undefended, private, progress), private),
            PIXELS: invert(upper_bound, private.pixels.to(device)).cpu(),
        }
        rows = {name: _means(self._measure(guess, private.pixels)) for name, guess in guesses.items()}
        classes = self.undefended.classify(self.undefended.release(private.pixels))
        task = self.undefended.task
        rows[UNDEFENDED]["accuracy"] = task.right(private.labels, classes).mean().item()
        rows[UNDEFENDED]["mcc"] = task.correlation(private.labels, classes)
        return tuple(AuditRow(name, values) for name, values in rows.items())

    def reasons(self, release: RepresentationRelease) -> dict[str, str]:  # noqa: ARG002
        """Return why a measurement may have no value."""
        return {"mcc*": "undefined for a single class", "*": "fewer than two private people"}

    def _mean_picture(self, private: Pictures) -> Tensor:
        return self.public.pixels.mean(0, keepdim=True).expand_as(private.pixels)

    def summary(self, rows: Sequence[AuditRow], controls: Sequence[AuditRow]) -> dict[str, Value]:
        """Return means over the rows, accuracy, `accuracy_by_chance` and MCC of the task, and `recovered`.

        `recovered` is the SSIM on a scale from 0 for the mean picture to 1 for the convolutional decoder on the pixels.
        """
        truth, classes = (torch.tensor([row.values[key] for row in rows]) for key in ("class", "class_read"))
        means = _means({key: torch.tensor([row.values[key] for row in rows]) for key in MEASURES + MEASURES_BY_DECODER})
        lower, upper = (
            next(float(control.values["ssim"] or 0) for control in controls if control.name == name)
            for name in (MEAN_PICTURE, PIXELS)
        )
        recovered = (float(means["ssim"] or 0) - lower) / (upper - lower)
        undefended = next(control.values for control in controls if control.name == UNDEFENDED)
        task = self.undefended.task
        figures: dict[str, Value] = {
            "accuracy": task.right(truth, classes).mean().item(),
            "accuracy_undefended": undefended["accuracy"],
            "accuracy_by_chance": task.by_chance(truth),
            "mcc": task.correlation(truth, classes),
            "mcc_undefended": undefended["mcc"],
        }
        return {**figures, **means, "recovered": recovered, **_intervals_by_person(rows)}

    def _check(self, release: RepresentationRelease) -> None:
        common = set(self.public.groups.tolist()) & set(release.pictures.groups.tolist())
        if common:
            raise UserError(f"{len(common)} people are in the public and in the private pictures: split them by person")
        if self.seed in (release.representation.settings.seed, self.undefended.settings.seed):
            raise UserError(f"the adversary has the seed of the defense, {self.seed}: give it another one")

    def _reconstruct(self, defense: Representation, private: Pictures, progress: bool) -> dict[str, Tensor]:
        """Return the (N,C,S,S) reconstructions of private pictures, see `decoders.reconstruct`."""
        if defense is self.undefended and private.names in self.undefended_reconstructions:
            return self.undefended_reconstructions[private.names]
        released = defense.release(private.pixels, seed=PRIVATE_SEED)
        found = reconstruct(defense, self.public.pixels, released, steps=self.steps, seed=self.seed, progress=progress)
        if defense is self.undefended:
            self.undefended_reconstructions[private.names] = found
        return found

    def _measure(self, reconstructions: Tensor, pixels: Tensor) -> dict[str, Tensor]:
        """Return the (N,) values of each of `MEASURES`."""
        return {
            "psnr": batch_psnr(reconstructions, pixels),
            "ssim": batch_ssim(reconstructions, pixels),
            "perceptual": self.similarity.perceptual(reconstructions, pixels),
            "identity_cosine": self.similarity.identity_cosine(reconstructions, pixels),
        }


def representation_reports(
    training: Pictures,
    public: Pictures,
    private: Pictures,
    weights: Sequence[float],
    *,
    embedder: Classifier,
    settings: RepresentationSettings | None = None,
    decoder_steps: int = DECODER_STEPS,
    make_encoder: MakeEncoder | None = None,
    device: torch.device | None = None,
    progress: bool = True,
) -> list[AuditReport]:
    """Measure the utility-privacy curve: train a defense for each lambda, and audit it on pictures of other people.

    Args:
        training: pictures that the defenses are trained on, see `Pictures.split_into_groups`.
        public: pictures of other people, which the adversary trains its decoders on.
        private: pictures of further people, on which both are evaluated.
        weights: lambdas, in the order of the reports.
        embedder: model of faces like these, e.g. `zoo:identity-residual` for portraits.
        settings: settings of the defenses, whose weight is replaced.
        decoder_steps: number of training steps of each of the adversary's convolutional decoders.
        make_encoder: see `train_representation`.
        device: where everything is trained; the CPU by default.

    Returns:
        the report of the undefended representation (lambda 0, no noise), and one for each lambda.

    Raises:
        UserError: see `train_representation` and `RepresentationAdversary.findings`.
    """
    settings = settings or RepresentationSettings()
    adversary = make_adversary(
        training, public, embedder=embedder, settings=settings, steps=decoder_steps, make_encoder=make_encoder,
        device=device, progress=progress,
    )  # fmt: skip
    defenses = [
        train_defense(
            training, replace(settings, weight=weight), make_encoder=make_encoder, device=device, progress=progress
        )
        for weight in weights
    ]
    adversary = replace(adversary, known_controls=adversary.controls(private, progress=progress))
    releases = [RepresentationRelease(defense, private) for defense in (adversary.undefended, *defenses)]
    return [audit_release(release, adversary, progress=progress) for release in releases]


def make_adversary(
    training: Pictures,
    public: Pictures,
    *,
    embedder: Classifier,
    settings: RepresentationSettings,
    steps: int = DECODER_STEPS,
    make_encoder: MakeEncoder | None = None,
    device: torch.device | None = None,
    progress: bool = True,
) -> RepresentationAdversary:
    """Return the adversary of a defense with these settings, with its control, the same training without a defense."""
    bare = replace(settings, weight=0.0, noise=0.0)
    undefended = train_defense(training, bare, make_encoder=make_encoder, device=device, progress=progress)
    similarity = FaceSimilarity.centered_on(embedder, public.pixels)
    return RepresentationAdversary(public, undefended, similarity, steps, settings.seed + SEED_OFFSET)


def train_defense(
    training: Pictures,
    settings: RepresentationSettings,
    *,
    make_encoder: MakeEncoder | None = None,
    device: torch.device | None = None,
    progress: bool = True,
) -> Representation:
    """Train a defense on pictures.

    Raises:
        UserError: see `train_representation`.
    """
    return train_representation(
        training.pixels,
        training.labels,
        task=Task.of(training),
        settings=settings,
        make_encoder=make_encoder,
        device=device,
        progress=progress,
    )


def _best(reconstructions: Mapping[str, Tensor], private: Pictures) -> Tensor:
    """Return the reconstructions with the highest mean PSNR."""
    return max(reconstructions.values(), key=lambda pictures: batch_psnr(pictures, private.pixels).mean().item())


def _intervals_by_person(rows: Sequence[AuditRow]) -> dict[str, Value]:
    """Return the ends of the 95 % intervals of the mean SSIM and of the accuracy over people."""
    by_person: dict[Value, list[AuditRow]] = {}
    for row in rows:
        by_person.setdefault(row.values["person"], []).append(row)
    values: dict[str, Value] = {"people": len(by_person)}
    measures: dict[str, Callable[[AuditRow], float]] = {
        "ssim": lambda row: float(row.values["ssim"] or 0),
        "accuracy": lambda row: float(row.values["right"] or 0),
    }
    for name, measure in measures.items():
        means = [sum(map(measure, own)) / len(own) for own in by_person.values()]
        interval = mean_interval(means)
        values |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return values


def _means(columns: Mapping[str, Tensor]) -> dict[str, Value]:
    return {name: column.double().mean().item() for name, column in columns.items()}
