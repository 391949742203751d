"""The frontier of protection against visibility: the shares read and the distortion at each budget, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from onlymymodel.evaluate.deployment_summary import DeploymentSummary
from onlymymodel.evaluate.distortion_table import QUANTILES
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Results, Row
from onlymymodel.evaluate.score import Proportion, ShareEstimate, mean_unprotected
from onlymymodel.evaluate.tune.knob import EPSILON, Knob

RECOMPRESSED = "jpeg75"
FRONTIER_CHANNELS = (AS_WRITTEN, RECOMPRESSED)


@dataclass(frozen=True)
class FrontierPoint:
    """Measurements at one budget.

    Attributes:
        level: of the budget, see `Knob`; 0 is the originals.
        photos: number of photos.
        kept: channel -> share of the photos read right by the authorized model when clean, through the same channel,
            that it still reads right; without channels through which it reads none.
        heldout, surrogates: channel -> mean share that these models read, counting a missing answer as read; each model
            has the same weight. Without the models that are not independent; empty where there are none.
        models: one entry for each model and channel: counts, shares and Wilson intervals.
        psnr: quantiles over the photos that changed.
        ssim, ms_ssim, flip, lpips: quantiles over the photos for which they were measured; empty where for none.
        seen: quantiles of `ssim` and `flip` over the photos that changed, by measure: what people see; empty where none
            did.
        changed: number of these photos.
        statuses: number of photos that ended as protected, unchanged, ...
        through: share of the photos that the authorized model keeps through the deployment of the target through which
            it keeps least; None where the target names none, and for the originals.
        least_deployment: name of that deployment; "" where there is none.
        knob: the bound that the level is one of.
    """

    level: int
    photos: int
    kept: Mapping[str, ShareEstimate]
    heldout: Mapping[str, ShareEstimate]
    surrogates: Mapping[str, ShareEstimate]
    models: Sequence[Mapping[str, Any]]
    psnr: Mapping[str, float] = field(default_factory=dict)
    ssim: Mapping[str, float] = field(default_factory=dict)
    ms_ssim: Mapping[str, float] = field(default_factory=dict)
    flip: Mapping[str, float] = field(default_factory=dict)
    lpips: Mapping[str, float] = field(default_factory=dict)
    seen: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    changed: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    through: ShareEstimate | None = None
    least_deployment: str = ""
    knob: Knob = EPSILON

    @property
    def least_kept(self) -> float:
        """Share that the authorized model keeps, as written or through the least deployment, whichever is less."""
        as_written = self.kept[AS_WRITTEN].share
        return as_written if self.through is None else min(as_written, self.through.share)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        values = asdict(self)
        del values["knob"]
        return {self.knob.column: self.knob.value(values.pop("level")), **values}


def clean_point(results: Results, knob: Knob = EPSILON) -> FrontierPoint:
    """Return the point of level 0: the originals."""
    equal, none = dict.fromkeys(QUANTILES, 1.0), dict.fromkeys(QUANTILES, 0.0)
    shares = _shares(results, CLEAN)
    return FrontierPoint(0, len(results.photos), **shares, ssim=equal, ms_ssim=equal, flip=none, knob=knob)


def protected_point(
    results: Results,
    level: int,
    knob: Knob = EPSILON,
    deployments: DeploymentSummary | None = None,
) -> FrontierPoint:
    """Return the point of the one protected version of an evaluation.

    Args:
        results: the evaluation.
        level: at which the photos were protected.
        knob: the bound that it is a level of.
        deployments: what the authorized model keeps through the deployments of the target; None where it names none.
    """
    (run,) = results.runs
    changed = [distortion for distortion in run.distortion if distortion.linf]
    seen = {
        "ssim": _quantiles([distortion.ssim for distortion in changed]),
        "flip": _quantiles([distortion.flip for distortion in changed]),
    }
    return FrontierPoint(
        level,
        len(results.photos),
        **_shares(results, run.name),
        psnr=_quantiles([distortion.psnr for distortion in run.distortion]),
        ssim=_quantiles([distortion.ssim for distortion in run.distortion]),
        ms_ssim=_quantiles([distortion.ms_ssim for distortion in run.distortion]),
        flip=_quantiles([distortion.flip for distortion in run.distortion]),
        lpips=_quantiles([distortion.lpips for distortion in run.distortion]),
        seen={name: quantiles for name, quantiles in seen.items() if quantiles},
        changed=len(changed),
        statuses=run.statuses,
        through=None if deployments is None else _estimate(deployments.least),
        least_deployment="" if deployments is None else deployments.least_name,
        knob=knob,
    )


def _shares(results: Results, version: str) -> dict[str, Any]:
    return {
        "kept": {
            channel: _estimate(kept)
            for channel in FRONTIER_CHANNELS
            if (kept := results.authorized.score(version, channel).kept_of_readable).total
        },
        "heldout": _mean_by_channel(results.independent(), version),
        "surrogates": _mean_by_channel(results.photo_rows_of("surrogate"), version),
        "models": [
            {"model": row.model, "role": row.role, "channel": channel, **row.score(version, channel).to_json()}
            for row in results.rows
            for channel in FRONTIER_CHANNELS
        ],
    }


def _estimate(proportion: Proportion) -> ShareEstimate:
    assert proportion.share is not None  # of photos that the authorized model reads
    return ShareEstimate(proportion.share, *proportion.interval)


def _mean_by_channel(rows: Sequence[Row], version: str) -> dict[str, ShareEstimate]:
    """Return means over models, by channel."""
    if not rows:
        return {}
    return {channel: mean_unprotected([row.score(version, channel) for row in rows]) for channel in FRONTIER_CHANNELS}


def _quantiles(values: Sequence[float | None]) -> dict[str, float]:
    """Return the quantiles of the values that there are; empty where there is none."""
    present = [value for value in values if value is not None]
    if not present:
        return {}
    quantiles = np.quantile(present, list(QUANTILES.values())).tolist()
    return {name: round(value, 6) for name, value in zip(QUANTILES, quantiles, strict=True)}
