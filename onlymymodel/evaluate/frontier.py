"""Protection against visibility: what each budget buys, and what it shows, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from onlymymodel.evaluate.change import quantiles
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Results, Row, Score, wilson

RECOMPRESSED = "jpeg75"
CHANNELS = (AS_WRITTEN, RECOMPRESSED)
QUANTILES = {"min": 0.0, "25%": 0.25, "median": 0.5, "75%": 0.75, "max": 1.0}


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval, all in [0, 1]."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class FrontierPoint:
    """What was measured at one budget.

    Attributes:
        epsilon: the budget in whole steps of 1/255; 0 are the originals.
        photos: how many were judged.
        kept: channel -> share that the authorized model still reads right, of those that it read right when clean.
        heldout, surrogates: channel -> mean share that these models read, a missing answer as read; each model counts
            the same. Without the models that are not independent; empty where there are none.
        models: one entry a model and channel: counts, shares and Wilson intervals.
        psnr, ssim: quantiles over the photos that changed, and over all.
        statuses: how many photos ended as protected, unchanged, ...
    """

    epsilon: int
    photos: int
    kept: Mapping[str, Share]
    heldout: Mapping[str, Share]
    surrogates: Mapping[str, Share]
    models: Sequence[Mapping[str, Any]]
    psnr: Mapping[str, float] = field(default_factory=dict)
    ssim: Mapping[str, float] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def clean_point(results: Results) -> FrontierPoint:
    """The originals, as the point of budget 0."""
    return FrontierPoint(0, len(results.photos), **_shares(results, CLEAN), ssim=dict.fromkeys(QUANTILES, 1.0))


def protected_point(results: Results, epsilon: int) -> FrontierPoint:
    """The one protected version of an evaluation."""
    (run,) = results.runs
    changed = [one.psnr for one in run.distortion if one.psnr is not None]
    return FrontierPoint(
        epsilon,
        len(results.photos),
        **_shares(results, run.name),
        psnr=_quantiles(changed) if changed else {},
        ssim=_quantiles([one.ssim for one in run.distortion]),
        statuses=run.statuses,
    )


def _shares(results: Results, version: str) -> dict[str, Any]:
    return {
        "kept": {channel: _kept(results.authorized.score(version, channel)) for channel in CHANNELS},
        "heldout": _means(results.counted(), version),
        "surrogates": _means(results.of("surrogate"), version),
        "models": [
            {"model": row.model, "role": row.role, "channel": channel, **row.score(version, channel).to_json()}
            for row in results.rows
            for channel in CHANNELS
        ],
    }


def _kept(score: Score) -> Share:
    return Share(score.still_right / max(score.readable, 1), *score.kept_interval)


def _means(rows: Sequence[Row], version: str) -> dict[str, Share]:
    """Means over models. Their interval is the mean of the models' own: they judge the same photos and tend to err
    together, so that more models do not make it narrower."""
    if not rows:
        return {}
    scores = {channel: [row.score(version, channel) for row in rows] for channel in CHANNELS}
    return {channel: _mean(found) for channel, found in scores.items()}


def _mean(scores: Sequence[Score]) -> Share:
    parts = [(score.unprotected, *wilson(score.right + score.failed, score.photos)) for score in scores]
    return Share(*(fmean(values) for values in zip(*parts, strict=True)))


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    found = quantiles(values, tuple(QUANTILES.values()))
    return {name: round(value, 6) for name, value in zip(QUANTILES, found, strict=True)}
