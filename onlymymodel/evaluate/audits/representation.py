"""Representations instead of pictures: what a new decoder draws from them, and what the task still gets.

The published audit of this defence trains decoders on public data against the frozen encoder (Xiao et al., AAAI 2020;
the full text was not at hand). Ours trains two, a convolutional one and a ridge regression, since on few pictures the
regression is often the better one, and counts the one that gets more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.audit import AuditReport, Finding, Value, audit_release
from onlymymodel.evaluate.audits.inverter import invert, train_inverter
from onlymymodel.evaluate.audits.likeness import Likeness
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.similarity import SIMILARITY_DEFINITION, psnr, ssim, to_picture
from onlymymodel.protect.representation import Representation, RepresentationSettings, train_representation
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.load import parameters_sha256

NEEDS_EXTRA = "an audit of representations needs scikit-learn: pip install 'onlymymodel[audit]'"
PENALTY = 0.05  # of the ridge regression, on the squared weights of standardized numbers, times the public pictures
SHOWN = 6  # findings with pictures
PUBLIC_SEED, PRIVATE_SEED = 1, 2  # of the noise on what is released
FIGURES = ("psnr", "ssim", "perceptual", "identity_cosine")
BOTH = ("psnr_convolutional", "psnr_ridge")
NOTHING, UNDEFENDED, ALL = "mean picture", "lambda 0, no noise", "the pixels themselves"
JUDGE_SEED = 1000  # added to the seed of the defence


@dataclass(frozen=True)
class RepresentationRelease:
    """The representations of pictures of people whom nobody trained on.

    Attributes:
        representation: the defence.
        pictures: private ones; the adversary gets their representations alone.
    """

    representation: Representation
    pictures: Pictures

    @property
    def name(self) -> str:
        """With the settings that make the privacy."""
        settings = self.representation.settings
        noise = f", noise {settings.noise:g}" if settings.noise else ""
        return f"representation, lambda {settings.weight:g}{noise}"

    def describe(self) -> dict[str, Any]:
        """Settings, hash of the encoder, how many pictures of how many people."""
        return {
            **self.representation.settings.to_json(),
            "encoder_sha256": parameters_sha256(self.representation.encoder),
            "pictures": len(self.pictures),
            "people": len(torch.unique(self.pictures.groups)),
            "adversary_of_the_training": self.representation.adversary_loss,
        }


@dataclass(frozen=True)
class NewDecoder:
    """Decoders that are trained on public pictures when the encoder is done, and that the encoder has never met.

    Attributes:
        public: pictures of other people.
        undefended: trained alike with lambda 0 and no noise, a control.
        likeness: perceptual distance and identity.
        steps, seed: of the convolutional decoder; the seed is not the one of the defence.
    """

    public: Pictures
    undefended: Representation
    likeness: Likeness
    steps: int = 400
    seed: int = 1000
    _controls: dict[Pictures, list[Finding]] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def name(self) -> str:
        """Of the adversary."""
        return "new decoder"

    def assumptions(self, release: RepresentationRelease) -> list[str]:
        """What the adversary has and has not."""
        people = len(torch.unique(self.public.groups))
        settings = release.representation.settings
        return [
            "the encoder is public and frozen: the adversary can ask it for the representation of any picture",
            f"the adversary has {len(self.public)} public pictures of {people} people, the ones that the defence was "
            "trained on too; nobody in them is in the private pictures",
            "two decoders, new, with another seed and another architecture than the adversary of the training: a "
            f"convolutional one ({self.steps} steps) and a ridge regression (numbers standardized, penalty {PENALTY:g} "
            "a picture); the one with the higher PSNR on the private pictures counts, which favors the adversary",
            "the defence was trained against regressions of that kind, on its own batches; against the convolutional "
            "one it was not"
            if settings.best_linear and settings.weight
            else "the defence was trained against neither",
            f"noise of standard deviation {settings.noise:g} on each number of a representation, drawn once for each "
            "picture; whoever gets several releases of one picture can average it away"
            if settings.noise
            else "representations are sent without noise, as float32: what is small in them is still there",
            "accuracy_by_chance: the accuracy of always saying the commonest class of the private pictures",
            *self.likeness.assumptions(),
            *(f"{name}: {words}" for name, words in SIMILARITY_DEFINITION.items()),
        ]

    def findings(self, release: RepresentationRelease, *, progress: bool) -> list[Finding]:
        """A row for each private picture: what the better decoder got, and whether the task was done.

        Raises:
            UserError: somebody is both public and private, the seeds are the same, scikit-learn is not installed.
        """
        self._check(release)
        defence, private = release.representation, release.pictures
        drawn = self._attack(defence, private, progress)
        columns = {f"psnr_{name}": psnr(pictures, private.pixels) for name, pictures in drawn.items()}
        best = _better(drawn, private)
        columns = self._figures(best, private.pixels) | columns
        read = defence.read(defence.release(private.pixels, seed=PRIVATE_SEED))
        rows = []
        for index, name in enumerate(private.names):
            values: dict[str, Value] = {key: column[index].item() for key, column in columns.items()}
            values |= {"class": int(private.labels[index]), "class_read": int(read[index])}
            pair = {"original": private.pixels[index], "reconstruction": best[index]} if index < SHOWN else {}
            rows.append(Finding(name, values, {key: to_picture(pixels).numpy() for key, pixels in pair.items()}))
        return rows

    def controls(self, release: RepresentationRelease, *, progress: bool) -> list[Finding]:
        """Means over the private pictures where nothing, or everything, is to be found; computed once for each of
        them, since they do not depend on the defence."""
        if release.pictures not in self._controls:
            self._controls[release.pictures] = self._references(release.pictures, progress)
        return self._controls[release.pictures]

    def _references(self, private: Pictures, progress: bool) -> list[Finding]:
        public = self.public.pixels
        ceiling = train_inverter(public, public, steps=self.steps, seed=self.seed, progress=progress)
        found = {
            NOTHING: public.mean(0, keepdim=True).expand_as(private.pixels),
            "somebody else's picture": public[torch.arange(len(private)) % len(public)],
            UNDEFENDED: _better(self._attack(self.undefended, private, progress), private),
            ALL: invert(ceiling, private.pixels),
        }
        return [Finding(name, _means(self._figures(drawn, private.pixels))) for name, drawn in found.items()]

    def summary(self, rows: Sequence[Finding], controls: Sequence[Finding]) -> dict[str, Value]:
        """Means over the rows, accuracy and MCC of the task, `accuracy_by_chance`, and `recovered`: SSIM as a share of
        what there is to get, 0 for the mean picture and 1 for what the convolutional decoder makes of the pixels."""
        from sklearn.metrics import accuracy_score, matthews_corrcoef

        true, read = ([row.values[key] for row in rows] for key in ("class", "class_read"))
        summary = _means({key: torch.tensor([row.values[key] for row in rows]) for key in FIGURES + BOTH})
        nothing, everything = (
            next(float(control.values["ssim"] or 0) for control in controls if control.name == name)
            for name in (NOTHING, ALL)
        )
        recovered = (float(summary["ssim"] or 0) - nothing) / (everything - nothing)
        several = len({*true, *read}) > 1  # with one class there is no correlation
        mcc = float(matthews_corrcoef(true, read)) if several else None
        chance = max(map(true.count, true)) / len(true)
        task = {"accuracy": float(accuracy_score(true, read)), "accuracy_by_chance": chance, "mcc": mcc}
        return {**task, **summary, "recovered": recovered}

    def _check(self, release: RepresentationRelease) -> None:
        common = set(self.public.groups.tolist()) & set(release.pictures.groups.tolist())
        if common:
            raise UserError(f"{len(common)} people are in the public and in the private pictures: split them by person")
        if self.seed in (release.representation.settings.seed, self.undefended.settings.seed):
            raise UserError(f"the judge has the seed of the defence, {self.seed}: give it another one")

    def _attack(self, defence: Representation, private: Pictures, progress: bool) -> dict[str, Tensor]:
        """Both decoders' pictures (N,C,S,S) of private people, trained on public ones."""
        known = defence.release(self.public.pixels, seed=PUBLIC_SEED)
        released = defence.release(private.pixels, seed=PRIVATE_SEED)
        net = train_inverter(known, self.public.pixels, steps=self.steps, seed=self.seed, progress=progress)
        return {"convolutional": invert(net, released), "ridge": _ridge(known, self.public.pixels, released)}

    def _figures(self, drawn: Tensor, pixels: Tensor) -> dict[str, Tensor]:
        """(N,) each of FIGURES."""
        return {
            "psnr": psnr(drawn, pixels),
            "ssim": ssim(drawn, pixels),
            "perceptual": self.likeness.perceptual(drawn, pixels),
            "identity_cosine": self.likeness.identity_cosine(drawn, pixels),
        }


def representation_reports(
    public: Pictures,
    private: Pictures,
    weights: Sequence[float],
    *,
    embedder: Classifier,
    settings: RepresentationSettings | None = None,
    judge_steps: int = 400,
    progress: bool = True,
) -> list[AuditReport]:
    """The utility-privacy curve: train a defence for each lambda on public pictures, judge it on private ones.

    Args:
        public: what the defence is trained on, see `Pictures.by_group`.
        private: of other people, what it is judged on.
        weights: lambdas, in the order of the reports.
        embedder: that knows faces like these, e.g. `zoo:identity-residual` for portraits.
        settings: all but the weight.

    Raises:
        UserError: see `train_representation` and `NewDecoder.findings`.
    """
    settings = settings or RepresentationSettings()
    judge = new_decoder(public, embedder=embedder, settings=settings, steps=judge_steps, progress=progress)
    defences = [trained_on(public, replace(settings, weight=weight), progress=progress) for weight in weights]
    releases = [RepresentationRelease(defence, private) for defence in defences]
    return [audit_release(release, judge, progress=progress) for release in releases]


def new_decoder(
    public: Pictures,
    *,
    embedder: Classifier,
    settings: RepresentationSettings,
    steps: int = 400,
    progress: bool = True,
) -> NewDecoder:
    """The judge of a defence with these settings, with its control: the same training without a defence."""
    undefended = trained_on(public, replace(settings, weight=0.0, noise=0.0), progress=progress)
    likeness = Likeness.around(embedder, public.pixels)
    return NewDecoder(public, undefended, likeness, steps, settings.seed + JUDGE_SEED)


def trained_on(public: Pictures, settings: RepresentationSettings, *, progress: bool = True) -> Representation:
    """A defence trained on public pictures.

    Raises:
        UserError: see `train_representation`.
    """
    return train_representation(
        public.pixels, public.labels, classes=public.classes, settings=settings, progress=progress
    )


def _better(drawn: Mapping[str, Tensor], private: Pictures) -> Tensor:
    """The pictures of the decoder with the higher mean PSNR."""
    return max(drawn.values(), key=lambda pictures: psnr(pictures, private.pixels).mean().item())


def _means(columns: Mapping[str, Tensor]) -> dict[str, Value]:
    return {name: column.double().mean().item() for name, column in columns.items()}


def _ridge(known: Tensor, pixels: Tensor, released: Tensor) -> Tensor:
    """(N,C,S,S) in [0,1]: linear regression on standardized numbers."""
    try:
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise UserError(NEEDS_EXTRA) from error
    regression = make_pipeline(StandardScaler(), Ridge(PENALTY * len(known)))
    regression.fit(known.flatten(1).numpy(), pixels.flatten(1).numpy())
    drawn = torch.from_numpy(regression.predict(released.flatten(1).numpy()))
    return drawn.float().clamp(0, 1).view(-1, *pixels.shape[1:])
