"""Plots: only where there is something to compare, with the measured values and reproducible bytes."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from paths import HELPERS
from results_toys import HOSTILE, alone, hostile_results, toy_results

from onlymymodel.evaluate import drawing, plots
from onlymymodel.evaluate.drawing import DARK, recolor_for_dark
from onlymymodel.evaluate.plots import (
    accuracy_by_channel,
    accuracy_by_epsilon,
    describe_accuracy_by_channel,
    describe_accuracy_by_epsilon,
)
from onlymymodel.evaluate.results import Results

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures behind the SVGs of a test."""
    drawn: list[Figure] = []
    write = drawing.to_svg

    def keep(figure: Figure, axes: Axes) -> str:
        drawn.append(figure)
        return write(figure, axes)

    monkeypatch.setattr(plots, "to_svg", keep)
    return drawn


def _lines(axes: Axes) -> list[Line2D]:
    """The models' lines: those of the ticks have two points."""
    return [line for line in axes.get_lines() if len(_points(line)) == 3]


def _points(line: Line2D) -> NDArray[np.float64]:
    return np.asarray(line.get_xydata(), np.float64)


def _two_recipes() -> Results:
    toy = toy_results()
    other = tuple(replace(run, name=f"{run.name}-plain", recipe="plain") for run in toy.runs)
    rows = [
        replace(row, answers={**row.answers, **{f"{name}-plain": row.answers[name] for name in ("eps8", "eps16")}})
        for row in toy.rows
    ]
    return replace(toy, runs=(*toy.runs[::-1], *other), rows=tuple(rows))


def test_points_are_shares_in_order_of_epsilon(figures: list[Figure]) -> None:
    results = replace(toy_results(), runs=toy_results().runs[::-1])
    assert accuracy_by_epsilon(results)
    ((axes,),) = (figure.axes for figure in figures)
    lines = _lines(axes)
    for line, row in zip(lines, results.rows, strict=True):
        assert _points(line)[:, 1].tolist() == [row.score(version).share for version in ("clean", "eps8", "eps16")]
        assert _points(line)[:, 0].tolist() == pytest.approx([0, 8, 16], abs=1)
    bundles = [bundle for bundle in axes.collections if isinstance(bundle, LineCollection)]
    bars = [segment for bundle in bundles for segment in bundle.get_segments()]
    intervals = [row.score(version).interval for row in results.rows for version in ("clean", "eps8", "eps16")]
    assert [tuple(bar[:, 1]) for bar in bars] == intervals


def test_roles_differ_by_more_than_color(figures: list[Figure]) -> None:
    accuracy_by_epsilon(toy_results())
    lines = _lines(figures[0].axes[0])
    looks = {(line.get_linestyle(), line.get_linewidth()) for line in lines}
    assert looks == {("-", 2.2), ("--", 1.0), ("-", 1.3), (":", 1.3)}  # authorized, surrogates, held-out, remark
    assert len({(line.get_marker(), line.get_markerfacecolor()) for line in lines}) == len(lines)
    assert "zoo:cousin (held-out, not counted)" in [line.get_label() for line in lines]


def test_every_recipe_has_a_panel_with_all_budgets(figures: list[Figure]) -> None:
    assert accuracy_by_epsilon(_two_recipes())
    (figure,) = figures
    assert [axes.get_title("left") for axes in figure.axes] == ["momentum", "plain"]
    assert [list(axes.get_xticks()) for axes in figure.axes] == [[0, 8, 16]] * 2
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == ["0", "8", "16"]


def test_channels_are_drawn_in_order(figures: list[Figure]) -> None:
    results = toy_results()
    assert accuracy_by_channel(results, "eps16")
    (axes,) = figures[0].axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(results.channels)
    lines = _lines(axes)
    for line, row in zip(lines, results.rows, strict=True):
        assert _points(line)[:, 1].tolist() == [row.score("eps16", channel).share for channel in results.channels]
        assert _points(line)[:, 0].round().tolist() == [0, 1, 2]  # no point strays to a neighbor
        assert line.get_linestyle() == "None"


def test_no_plot_without_anything_to_compare() -> None:
    toy = toy_results()
    assert accuracy_by_epsilon(alone(toy)) is None
    assert accuracy_by_channel(alone(toy), "eps8") is None
    same = replace(toy, runs=tuple(replace(run, epsilon=8.0) for run in toy.runs))
    assert accuracy_by_epsilon(same) is None
    unknown = replace(toy, runs=(toy.runs[0], replace(toy.runs[1], epsilon=None)))
    assert accuracy_by_epsilon(unknown) is None


@pytest.mark.parametrize("results", [toy_results(), _two_recipes(), hostile_results()])
def test_svg_is_well_formed_and_self_contained(results: Results) -> None:
    for svg in (accuracy_by_epsilon(results), accuracy_by_channel(results, results.runs[0].name)):
        assert svg is not None
        root = ElementTree.fromstring(svg)
        assert root.tag == f"{SVG}svg"
        assert not [element for element in root.iter() if element.tag in {f"{SVG}script", f"{SVG}text", f"{SVG}image"}]
        for element in root.iter():
            for name, value in element.attrib.items():
                assert not name.startswith("on")
                assert "href" not in name or value.startswith("#")


def test_names_are_drawn_literally_without_warnings(figures: list[Figure]) -> None:
    toy = toy_results()
    rows = (replace(toy.rows[0], model="$x^2$ \N{CJK UNIFIED IDEOGRAPH-4E00} \udce9"), *toy.rows[1:])
    accuracy_by_epsilon(replace(toy, rows=rows))
    accuracy_by_channel(replace(hostile_results()), HOSTILE)
    (legend,) = figures[0].legends
    assert legend.get_texts()[0].get_text() == "$x^2$ ? ? (authorized)"
    assert not legend.get_texts()[0].get_parse_math()
    assert all(len(text.get_text()) < 70 for text in figures[1].legends[0].get_texts())


@pytest.mark.slow
def test_parts_of_a_plot_neither_overlap_nor_are_cut_off(figures: list[Figure]) -> None:
    toy = toy_results()
    channels = [f"a-channel-of-long-name-{index}" for index in range(9)]
    rows = [
        replace(
            row,
            model="m" * 90,
            answers={version: dict.fromkeys((*channels, "png"), by["png"]) for version, by in row.answers.items()},
        )
        for row in toy.rows * 3
    ]
    crowded = replace(toy, channels=tuple(channels), rows=tuple(rows))
    assert accuracy_by_epsilon(_two_recipes())
    assert accuracy_by_epsilon(crowded)
    assert accuracy_by_channel(crowded, "eps8")
    assert accuracy_by_channel(toy, "eps8")
    for figure in figures:
        legend = figure.legends[0].get_window_extent()
        assert legend.x1 <= figure.bbox.x1
        for axes in figure.axes:
            box = axes.get_tightbbox()
            assert box is not None
            assert box.y0 >= legend.y1
            assert box.y1 <= figure.bbox.y1
            assert box.x0 >= 0


@pytest.mark.slow
def test_plot_bytes_are_equal_in_another_process() -> None:
    toy = toy_results()
    here = (accuracy_by_epsilon(toy) or "") + (accuracy_by_channel(toy, "eps8") or "")
    program = (
        "import sys; from results_toys import toy_results; from onlymymodel.evaluate.plots import *;"
        "toy = toy_results();"
        "sys.stdout.write(accuracy_by_epsilon(toy) + accuracy_by_channel(toy, 'eps8'))"
    )
    where = os.pathsep.join([str(HELPERS), *sys.path])
    there = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": where, "PYTHONHASHSEED": "7", "MPLBACKEND": "Agg"},
        text=True,
        encoding="utf-8",
    )
    assert there.stdout == here
    assert not re.search(r"20\d\d-\d\d-\d\d", here)


def test_user_style_neither_applies_nor_is_lost() -> None:
    plain = accuracy_by_epsilon(toy_results())
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "red"}):
        assert accuracy_by_epsilon(toy_results()) == plain
        assert mpl.rcParams["font.size"] == 30


@pytest.mark.slow
def test_plots_do_not_import_pyplot() -> None:
    program = (
        "import sys; from results_toys import toy_results; from onlymymodel.evaluate.plots import *;"
        "accuracy_by_epsilon(toy_results()); print(*sys.modules)"
    )
    where = os.pathsep.join([str(HELPERS), *sys.path])
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, env={**os.environ, "PYTHONPATH": where}
    )
    modules = ran.stdout.decode().split()
    assert "matplotlib.figure" in modules
    assert "matplotlib.pyplot" not in modules


def test_dark_plot_differs_only_in_colors() -> None:
    svg = accuracy_by_epsilon(toy_results())
    assert svg is not None
    dark = recolor_for_dark(svg)
    assert not [color for color in DARK if color in dark]
    for light, other in DARK.items():
        svg = svg.replace(light, "#").replace(other, "#")
        dark = dark.replace(other, "#")
    assert dark == svg


def test_plots_have_descriptions() -> None:
    toy = toy_results()
    assert describe_accuracy_by_epsilon(toy) == (
        "Share read right by the largest allowed change. Authorized, kept: 100.0% at 0/255, 100.0% at 8/255, "
        "75.0% at 16/255; mean of judges: 100.0% at 0/255, 62.5% at 8/255, 25.0% at 16/255."
    )
    assert describe_accuracy_by_epsilon(_two_recipes()).count("mean of judges") == 2
    assert "plain: Authorized" in describe_accuracy_by_epsilon(_two_recipes())
    assert describe_accuracy_by_channel(toy, "eps16").endswith(
        "Authorized, kept: 75.0% through resize50; mean of judges: 50.0% through resize50."
    )
