"""Tables: exactly the figures of the results, for any name."""

import csv
import io
import re
from dataclasses import replace

import pytest
from results_toys import EXCLUSION, alone, hostile_results, toy_results, with_gallery

from onlymymodel.evaluate import face_tables
from onlymymodel.evaluate.adversaries import adversary_sentences
from onlymymodel.evaluate.csv_table import to_csv
from onlymymodel.evaluate.distortion_table import distortion_rows
from onlymymodel.evaluate.markdown_tables import markdown_code, to_markdown
from onlymymodel.evaluate.results import Results, Run
from onlymymodel.evaluate.score import wilson
from onlymymodel.evaluate.tables import EXCLUDED_NOTE, OWN_NOTE, count_missing
from onlymymodel.evaluate.terminal_table import TERMINAL, to_text
from onlymymodel.protect.budget.distortion import SSIM_DEFINITION, Distortion


def _lines(results: Results) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(results), newline="")))


def _cells(markdown: str, first: str) -> list[list[str]]:
    """The cells of the lines of all tables that begin with `first`, split as GitHub does."""
    lines = [line for line in markdown.splitlines() if line.startswith(f"| {first}")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_csv_has_every_score_exactly_once() -> None:
    toy = toy_results()
    lines = _lines(toy)
    assert len(lines) == len(toy.rows) * 3 * 3
    by_key = {(line["model"], line["version"], line["channel"]): line for line in lines}
    for row in toy.rows:
        for version in toy.versions:
            for channel in toy.channels:
                line, score = by_key[row.model, version, channel], row.score(version, channel)
                counts = [int(line[name]) for name in ("photos", "right", "failed", "readable", "still_right")]
                assert counts == [score.photos, score.right, score.failed, score.readable, score.still_right]
                shares = [float(line[name]) for name in ("share", "share_low", "share_high", "kept", "kept_low")]
                assert shares == [score.share, *score.interval, score.kept, score.kept_interval[0]]
                assert (float(line["kept_high"]), float(line["unprotected"])) == (
                    score.kept_interval[1],
                    score.unprotected,
                )
    assert {line["epsilon"] for line in lines} == {"0.0", "8.0", "16.0"}
    assert by_key["zoo:cousin", "eps8", "png"]["remark"] == EXCLUSION


def test_csv_leaves_unknown_values_empty() -> None:
    toy = alone(toy_results())
    blind = replace(toy.rows[0], truths=(2, 2, 0, 2))
    lines = _lines(replace(toy, rows=(blind,), runs=(replace(toy.runs[0], epsilon=None),)))
    assert [(line["kept"], line["readable"]) for line in lines] == [("", "0"), ("", "0")]
    assert [line["epsilon"] for line in lines] == ["0.0", ""]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("x","y")'])
def test_csv_escapes_spreadsheet_formulas(name: str) -> None:
    toy = toy_results()
    (first, *_) = _lines(replace(toy, rows=(replace(toy.rows[0], model=name, family=name, sha256=name),)))
    assert [first[column] for column in ("model", "family", "sha256")] == [f"'{name}"] * 3
    assert first["photos"] == "4"


def test_csv_survives_hostile_names() -> None:
    hostile = hostile_results()
    lines = _lines(hostile)
    assert len(lines) == len(hostile.rows) * 3 * 3
    assert all(None not in line and None not in line.values() for line in lines)
    assert not [cell for line in lines for cell in line.values() if cell.startswith(("=", "+", "-", "@"))]
    assert lines[1]["channel"] == f"'{hostile.channels[1]}"
    assert lines[2]["channel"] == "caf?"
    assert lines[3]["model"] == f"'{hostile.rows[0].model}"


def test_markdown_shows_share_interval_and_counts() -> None:
    markdown = to_markdown(toy_results())
    (judge, *_) = _cells(markdown, "`zoo:judge`")
    assert judge == [
        "`zoo:judge`",
        "held-out",
        "100.0% [51.0-100.0] (4/4)",
        "25.0% [4.6-69.9] (1/4)",
        "0.0% [0.0-49.0] (0/4)",
    ]
    authorized, kept, *_ = _cells(markdown, "`zoo:mine`")
    assert (authorized[1], kept[1]) == ("authorized", "kept")
    assert kept[2:] == ["100.0% [51.0-100.0] (4/4)", "100.0% [51.0-100.0] (4/4)", "75.0% [30.1-95.4] (3/4)"]
    # of 4, judge: 1 right and 1 failed; far: 2 right and 1 with nothing to be measured by; the cousin is not counted
    assert _cells(markdown, " | mean of judges") == [["", "mean of judges", "100.0%", "62.5%", "25.0%"]]


def test_markdown_shows_channels_only_where_there_are_several() -> None:
    toy = toy_results()
    markdown = to_markdown(toy)
    assert markdown.count("through other channels") == 2
    assert _cells(markdown, "mean of judges") == [
        ["mean of judges", "62.5%", "62.5%", "62.5%"],
        ["mean of judges", "25.0%", "25.0%", "50.0%"],
    ]
    assert _cells(markdown, "authorized, kept")[1] == ["authorized, kept", "75.0%", "75.0%", "75.0%"]
    assert "through other channels" not in to_markdown(alone(toy))


def test_markdown_explains_its_figures() -> None:
    markdown = to_markdown(toy_results())
    assert f"† `zoo:cousin` is {EXCLUDED_NOTE}: `{EXCLUSION}`" in markdown
    assert "`onnx:far.onnx`\\*" in markdown
    assert f"\\* {OWN_NOTE}" in markdown
    assert "15 answers are missing." in markdown  # 6 of the judge, 3 of far, and its 6 later ones to the same photo
    assert all(str(value) in markdown for value in SSIM_DEFINITION.values())
    assert "What this does not promise" in markdown
    assert "6 times `zoo:judge`: `out of memory`" in markdown
    clean = to_markdown(replace(toy_results(), rows=toy_results().rows[:3], failures=()))
    assert "Every model answered every time." in clean
    assert "†" not in clean
    assert "mean of judges" not in clean


def test_markdown_has_the_sentences_on_the_strongest_adversaries() -> None:
    sentences = adversary_sentences(toy_results())
    assert len(sentences) == 2
    for run, sentence in sentences:
        assert f"`{run}`: {sentence}." in to_markdown(toy_results()).splitlines()


def test_markdown_tables_keep_their_columns_for_any_name() -> None:
    markdown = to_markdown(hostile_results())
    widths = [len(re.split(r"(?<!\\)\|", line)) for line in markdown.splitlines() if line.startswith("|")]
    plain = [len(re.split(r"\|", line)) for line in to_markdown(toy_results()).splitlines() if line.startswith("|")]
    assert widths == plain
    assert "<script" not in markdown
    assert "<img" not in markdown
    markdown.encode("utf-8")


def test_markdown_code_is_one_line() -> None:
    assert markdown_code("timm:resnet18.a1_in1k") == "`timm:resnet18.a1_in1k`"
    assert markdown_code("two\n lines\t") == "`two lines`"
    assert markdown_code("a|b") == "<code>a&#124;b</code>"
    assert markdown_code("a`\\*<b>") == "<code>a&#96;&#92;&#42;&#60;b&#62;</code>"
    assert markdown_code("\x1b[31m") == "<code>&#27;&#91;31m</code>"
    assert markdown_code("") == ""


def test_distortion_rows_have_quantiles() -> None:
    lines = {name: rest for name, *rest in distortion_rows(toy_results().runs[0])}
    assert lines == {
        "Linf, of 255": ["0", "6", "8", "8", "8"],
        "L2": ["0.00", "6.00", "10.00", "13.00", "16.00"],
        "PSNR, dB": ["36.0", "37.0", "38.0", "39.0", "40.0"],  # of the three that changed
        "SSIM": ["0.9400", "0.9550", "0.9700", "0.9850", "1.0000"],
    }
    assert [line[0] for line in distortion_rows(Run("none", ()))] == []
    untouched = Run("same", (Distortion(0, 0.0, None, 1.0, 0.0),))
    assert [line[0] for line in distortion_rows(untouched)] == ["Linf, of 255", "L2", "SSIM", "LPIPS"]
    changed = Run("some", (Distortion(8, 1.0, 40.0, 0.98, flip=0.0625, ms_ssim=0.99),))
    lines = {name: values for name, *values in distortion_rows(changed)}
    assert (lines["MS-SSIM"][2], lines["FLIP"][2]) == ("0.9900", "0.0625")


def test_text_fits_the_terminal_and_shows_every_version() -> None:
    toy = toy_results()
    runs = [replace(toy.runs[0], name=f"a-run-with-a-long-name-{index}") for index in range(9)]
    rows = [
        replace(
            row,
            model=f"timm:{'very_' * 20}long{index}",
            answers={**row.answers, **{run.name: row.answers["eps8"] for run in runs}},
        )
        for index, row in enumerate(toy.rows)
    ]
    text = to_text(replace(toy, runs=tuple(runs), rows=tuple(rows)))
    for shown in (text, to_text(toy), to_text(hostile_results()), to_text(alone(toy))):
        assert max(map(len, shown.splitlines())) <= TERMINAL
    assert all(f"me-{index}" in text for index in range(9))
    assert all(
        text.count(f"long{index} ") + text.count(f"long{index}!") + text.count(f"long{index}*") > 1 for index in (0, 5)
    )


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_text_fits_terminals_of_other_widths(columns: int) -> None:
    toy = toy_results()
    for results in (toy, hostile_results(), alone(toy), with_gallery(toy)):
        assert max(map(len, to_text(results, columns).splitlines())) <= columns


def test_text_of_one_folder_has_originals_and_results_side_by_side_in_80_columns() -> None:
    toy = toy_results()
    rows = tuple(replace(row, model=f"timm:{'very_' * 20}long{index}") for index, row in enumerate(toy.rows))
    one = replace(toy, runs=toy.runs[:1], rows=rows)
    wide, narrow = (to_text(one, columns).splitlines() for columns in (100, 80))
    figures = [[cell for cell in line.split() if "%" in cell or "[" in cell] for line in wide if " [" in line]
    assert figures
    assert [[cell for cell in line.split() if "%" in cell or "[" in cell] for line in narrow if " [" in line] == figures
    assert max(map(len, narrow)) <= 80 < max(map(len, wide))


def test_text_shows_the_figures() -> None:
    lines = [line.split() for line in to_text(toy_results()).splitlines()]
    assert ["judge", "zoo:judge", "100.0%", "[51-100]", "25.0%", "[5-70]", "0.0%", "[0-49]"] in lines
    assert ["mean", "of", "judges", "100.0%", "62.5%", "25.0%"] in lines
    assert ["mean", "of", "judges,", "resize50", "100.0%", "62.5%", "50.0%"] in lines
    assert ["authorized,", "kept", "100.0%", "100.0%", "75.0%"] in lines
    assert "15 answers are missing" in to_text(toy_results())
    assert count_missing(toy_results()) == 15


def test_text_has_no_control_characters() -> None:
    toy = toy_results()
    rows = (replace(toy.rows[0], model="zoo:\x1b[2Jmine\r\x07"), *toy.rows[1:])
    text = to_text(replace(toy, rows=rows))
    assert "zoo:?[2Jmine??" in text
    assert all(sign.isprintable() or sign == "\n" for sign in text + to_text(hostile_results()))


def test_csv_shows_gallery_figures_and_empty_cells_for_other_models() -> None:
    lines = {(line["model"], line["version"]): line for line in _lines(with_gallery(toy_results()))}
    judge = lines["zoo:judge", "eps8"]
    counts = [judge[name] for name in ("recognizable", "left_out", "matched", "impostors")]
    assert counts == ["3", "1", "3", "102"]
    shares = [float(judge[name]) for name in ("rank1", "tar_0.01", "lost", "threshold", "threshold_0.01")]
    assert shares == pytest.approx([2 / 3, 1 / 3, 1 / 3, 0.5, 0.6])
    bounds = [float(judge[f"{name}{end}"]) for name in ("rank1", "lost") for end in ("_low", "_high")]
    assert bounds == pytest.approx([*wilson(2, 3), *wilson(1, 3)])
    assert [judge[name] for name in ("tar_0.001", "tar_0.001_low", "threshold_0.001")] == ["", "", ""]
    assert {lines["zoo:mine", "eps8"][name] for name in face_tables.COLUMNS} == {""}


def test_markdown_shows_gallery_figures_by_version_and_channel() -> None:
    markdown = to_markdown(with_gallery(toy_results()))
    (head,) = _cells(markdown, "model | version")
    assert head == ["model", "version", "channel", *face_tables.NAMES]
    lines = [line for line in _cells(markdown, "`zoo:judge`") if line[1] != "held-out" and len(line) == len(head)]
    assert len(lines) == 3 * 3
    assert lines[3][1:] == [
        "`eps8`",
        "`png`",
        "66.7% [20.8-93.9] (2/3)",
        "33.3% [6.1-79.2] (1/3)",
        "none",
        "33.3% [6.1-79.2] (1/3)",
    ]
    assert (
        "- `zoo:judge` names a person at a cosine of 0.500; its threshold at FAR 0.01 is 0.600; FAR 0.001 needs 1000 "
        "impostor scores, and there are 102; 1 of 4 photos show nobody of its gallery"
    ) in markdown
    assert "Who is recognized" not in to_markdown(toy_results())


def test_text_shows_gallery_figures() -> None:
    text = to_text(with_gallery(toy_results()))
    lines = [line.split() for line in text.splitlines()]
    start = lines.index(["identity:", "zoo:judge"])
    assert lines[start + 1 : start + 5] == [
        ["rank-1", "100.0%", "[44-100]", "66.7%", "[21-94]", "0.0%", "[0-56]"],
        ["TAR", "at", "FAR", "0.01", "100.0%", "[44-100]", "33.3%", "[6-79]", "0.0%", "[0-56]"],
        ["TAR", "at", "FAR", "0.001", "none", "none", "none"],
        ["no", "longer", "matched", "0.0%", "[0-56]", "33.3%", "[6-79]", "66.7%", "[21-94]"],
    ]
    assert max(map(len, text.splitlines())) <= TERMINAL
    assert "identity" not in to_text(toy_results())


def test_gallery_without_photos_of_its_people_has_no_figures() -> None:
    toy = with_gallery(toy_results())
    row = toy.rows[3]
    assert row.matches is not None
    unmatched = replace(row, truth="own", matches=replace(row.matches, persons=(None,) * 4))
    results = replace(toy, rows=(toy.rows[0], unmatched))
    lines = [line for line in _cells(to_markdown(results), "`zoo:judge`\\*") if "`clean`" in line]
    assert [line[3:] for line in lines] == [["none"] * 4] * 3
    text = " ".join(to_text(results).split())
    assert f"{face_tables.OWN_NOTE}; 4 of 4 photos show nobody of its gallery" in text
    assert _lines(results)[-1]["rank1"] == ""
