"""Plot of the trajectories of gradient matching, as SVG text that is the same for the same input."""

from onlymymodel.evaluate.audits.plotting import FOOT_HEIGHT, draw_curve, finish_svg, make_panels
from onlymymodel.evaluate.audits.report import AuditReport
from onlymymodel.evaluate.drawing import QUIET, plot_settings

CURVES = {"gradient_cosine": "cosine of the gradients", "ssim": "SSIM of the pictures"}
CAPTION = "Similarity of gradients and of pictures along the attack, mean over the pictures"


def trajectory_plot(report: AuditReport) -> str:
    """Return the plot of gradient similarity and picture similarity over the steps of an attack.

    A horizontal line is the SSIM of the mean picture.
    """
    guesses = [float(row.values["ssim_mean_picture"] or 0) for row in report.rows]
    with plot_settings():
        figure, (axes,) = make_panels(1, len(CURVES) + 1, FOOT_HEIGHT)
        for index, (name, label) in enumerate(CURVES.items()):
            draw_curve(axes, report.series["step"], report.series[name], label, index)
        guess = sum(guesses) / len(guesses)
        axes.axhline(guess, color=QUIET, linestyle=":", linewidth=1.2, label="SSIM of the mean picture")
        axes.set_ylim(bottom=min(-0.03, axes.dataLim.y0 - 0.03))
        axes.set_xticks([int(step) for step in report.series["step"][::4]])
        axes.set_xlabel("step of the attack", color=QUIET)
        return finish_svg(figure, [axes])
