"""Plot of the utility-privacy curve, as SVG text that is the same for the same input."""

from collections.abc import Sequence

from onlymymodel.evaluate.audits.plotting import FOOT_HEIGHT, draw_curve, finish_svg, make_panels
from onlymymodel.evaluate.audits.report import AuditReport
from onlymymodel.evaluate.audits.representation.audit import MEAN_PICTURE, UNDEFENDED
from onlymymodel.evaluate.drawing import AUTHORIZED, HELDOUT, QUIET, plot_settings

CURVES = {"accuracy": "accuracy of the task", "ssim": "SSIM", "identity_cosine": "identity cosine"}
CHANCE = "accuracy of the task by chance"  # in the color of the accuracy, the first curve
LEVELS = {
    UNDEFENDED: (AUTHORIZED, "--", "SSIM, lambda 0 and no noise"),
    MEAN_PICTURE: (QUIET, ":", "SSIM of the mean picture"),
}


def privacy_plot(reports: Sequence[AuditReport]) -> str:
    """Return the plot of `representation_reports` over lambda: accuracy of the task, and similarity of reconstructions.

    Horizontal lines show the task's accuracy by chance and the SSIM of two controls.
    """
    with plot_settings():
        figure, (axes,) = make_panels(1, len(CURVES) + 1 + len(LEVELS), FOOT_HEIGHT)
        for index, (name, label) in enumerate(CURVES.items()):
            heights = [float(report.summary[name] or 0) for report in reports]
            draw_curve(axes, range(len(reports)), heights, label, index)
        controls = {control.name: float(control.values["ssim"] or 0) for control in reports[0].controls}
        for name, (color, style, label) in LEVELS.items():
            axes.axhline(controls[name], color=color, linestyle=style, linewidth=1.2, label=label)
        chance = float(reports[0].summary["accuracy_by_chance"] or 0)  # of the private pictures, the same for all
        axes.axhline(chance, color=HELDOUT[0], linestyle="-.", linewidth=1.2, label=CHANCE)
        axes.set_ylim(bottom=min(-0.03, axes.dataLim.y0 - 0.03))  # a cosine may be negative
        axes.set_xticks(range(len(reports)), [f"{report.settings['weight']:g}" for report in reports])
        axes.set_xlabel("lambda", color=QUIET)
        return finish_svg(figure, [axes])
