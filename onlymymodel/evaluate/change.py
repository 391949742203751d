"""How large the change of a run is, in a few figures."""

from collections.abc import Sequence

from onlymymodel.evaluate.results import Run
from onlymymodel.protect.distortion import SSIM_DEFINITION

QUANTILES = ("min", "25%", "median", "75%", "max")
UNCHANGED_NOTE = "PSNR is over the photos that were changed: it has no value where both are equal."


def change(run: Run) -> list[list[str]]:
    """Measure, then its quantiles over the photos, for each measure of the distortion; no lines without photos."""
    series: list[tuple[str, str, list[float]]] = [
        ("Linf, of 255", "{:.4g}", [float(one.linf) for one in run.distortion]),
        ("L2", "{:.2f}", [one.l2 for one in run.distortion]),
        ("PSNR, dB", "{:.1f}", [one.psnr for one in run.distortion if one.psnr is not None]),
        ("SSIM", "{:.4f}", [one.ssim for one in run.distortion]),
        ("LPIPS", "{:.4f}", [one.lpips for one in run.distortion if one.lpips is not None]),
    ]
    return [[name, *map(form.format, quantiles(values))] for name, form, values in series if values]


def ssim_words() -> str:
    """The definition of SSIM in one line."""
    return "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in SSIM_DEFINITION.items())


def quantiles(values: Sequence[float], shares: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0)) -> list[float]:
    """Quantiles by linear interpolation between the sorted values (NumPy's default).

    Args:
        values: at least one.
        shares: in [0, 1].
    """
    ordered = sorted(values)
    places = [share * (len(ordered) - 1) for share in shares]
    return [
        ordered[int(place)]
        + (place - int(place)) * (ordered[min(int(place) + 1, len(ordered) - 1)] - ordered[int(place)])
        for place in places
    ]
