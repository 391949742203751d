"""Quantiles of the distortion of a run, for all tables."""

import numpy as np

from onlymymodel.evaluate.results import Run
from onlymymodel.protect.budget import flip, ms_ssim
from onlymymodel.protect.budget.distortion import SSIM_DEFINITION

QUANTILES = {"min": 0.0, "25%": 0.25, "median": 0.5, "75%": 0.75, "max": 1.0}
UNCHANGED_NOTE = "PSNR is over the changed photos: it has no value where both photos are equal."


def distortion_rows(run: Run) -> list[list[str]]:
    """Return one row for each measure: its name, then its quantiles over the photos; no rows without photos."""
    measures: list[tuple[str, str, list[float]]] = [
        ("Linf, of 255", "{:.4g}", [float(distortion.linf) for distortion in run.distortion]),
        ("L2", "{:.2f}", [distortion.l2 for distortion in run.distortion]),
        ("PSNR, dB", "{:.1f}", [distortion.psnr for distortion in run.distortion if distortion.psnr is not None]),
        ("SSIM", "{:.4f}", [distortion.ssim for distortion in run.distortion]),
        ("MS-SSIM", "{:.4f}", [distortion.ms_ssim for distortion in run.distortion if distortion.ms_ssim is not None]),
        ("FLIP", "{:.4f}", [distortion.flip for distortion in run.distortion if distortion.flip is not None]),
        ("LPIPS", "{:.4f}", [distortion.lpips for distortion in run.distortion if distortion.lpips is not None]),
    ]
    return [
        [name, *map(form.format, np.quantile(values, list(QUANTILES.values())))]
        for name, form, values in measures
        if values
    ]


def ssim_definition() -> str:
    """Return the definition of SSIM in one line."""
    return "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in SSIM_DEFINITION.items())


def definitions() -> str:
    """Return the definitions of SSIM, MS-SSIM and FLIP in one line."""
    return f"SSIM: {ssim_definition()}. MS-SSIM: {ms_ssim.DEFINITION}. FLIP: {flip.DEFINITION}."
