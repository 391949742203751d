"""The utility-privacy curve as a plot: SVG text, the same bytes for the same input."""

from collections.abc import Sequence

from onlymymodel.evaluate.audits.audit import AuditReport
from onlymymodel.evaluate.audits.audit_plots import FOOT, curve, finished, panels_of
from onlymymodel.evaluate.audits.representation import NOTHING, UNDEFENDED
from onlymymodel.evaluate.drawing import AUTHORIZED, HELDOUT, QUIET, settings

CURVES = {"accuracy": "accuracy of the task", "ssim": "SSIM", "identity_cosine": "identity cosine"}
CHANCE = "accuracy of the task by chance"  # in the color of the accuracy, the first curve
LEVELS = {
    UNDEFENDED: (AUTHORIZED, "--", "SSIM, lambda 0 and no noise"),
    NOTHING: (QUIET, ":", "SSIM of the mean picture"),
}


def privacy_plot(reports: Sequence[AuditReport]) -> str:
    """SVG of `representation_reports`: what the task and what a new decoder get, lambda by lambda, with the task's
    accuracy by chance and the SSIM of two controls as lines across."""
    with settings():
        figure, (axes,) = panels_of(1, len(CURVES) + 1 + len(LEVELS), FOOT)
        for index, (name, label) in enumerate(CURVES.items()):
            heights = [float(report.summary[name] or 0) for report in reports]
            curve(axes, range(len(reports)), heights, label, index)
        controls = {control.name: float(control.values["ssim"] or 0) for control in reports[0].controls}
        for name, (color, line, label) in LEVELS.items():
            axes.axhline(controls[name], color=color, linestyle=line, linewidth=1.2, label=label)
        chance = float(reports[0].summary["accuracy_by_chance"] or 0)  # of the private pictures, the same for all
        axes.axhline(chance, color=HELDOUT[0], linestyle="-.", linewidth=1.2, label=CHANCE)
        axes.set_ylim(bottom=min(-0.03, axes.dataLim.y0 - 0.03))  # a cosine may be negative
        axes.set_xticks(range(len(reports)), [f"{report.settings['weight']:g}" for report in reports])
        axes.set_xlabel("lambda", color=QUIET)
        return finished(figure, [axes])
