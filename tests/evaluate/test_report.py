"""Report page: exact pixels and figures of the evaluation."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from results_toys import EXCLUSION, Page, alone, toy_page, toy_picture, toy_pictures, toy_results, with_gallery

from onlymymodel.evaluate import report_photos
from onlymymodel.evaluate.distortion_table import QUANTILES, distortion_rows
from onlymymodel.evaluate.images import amplify_difference
from onlymymodel.evaluate.recorded_margins import RecordedMargins
from onlymymodel.evaluate.tables import EXCLUDED_NOTE, KINDS, OWN_NOTE, footnotes
from onlymymodel.protect.budget.distortion import Distortion


@pytest.fixture(scope="module")
def page() -> Page:
    return toy_page(toy_results())


def _matrix(page: Page, label: str) -> dict[str, list[tuple[str, str]]]:
    """(step of the color, text of the cell) of every line of a heat map, by the name of its line."""
    (table,) = re.findall(rf'<table class="heat[^"]*" aria-label="{label}">(.*?)</table>', page.text, re.S)
    lines = {}
    for line in re.findall(r"<tr data-role.*?</tr>", table, re.S):
        (name,) = re.findall(r'<th scope="row"[^>]*>(.*?)</th>', line, re.S)
        cells = re.findall(r'<td(?: class="s(\d+)")?[^>]*>(.*?)</td>', line, re.S)
        lines[_text(name)] = [(step, _text(cell)) for step, cell in cells]
    return lines


def _text(html: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def test_page_embeds_exact_pixels_and_differences() -> None:
    results = toy_results()
    shown = [*toy_pictures(results)[:3], toy_picture("four.png", ["eps8", "eps16"], (9, 7, 1))]
    shown = [shown[1], shown[0], *shown[2:]]  # the first one that is changed leads the page
    embedded = iter(toy_page(results, [shown[1], shown[0], *shown[2:]], amplify=5).pictures())
    for picture in shown:
        original = picture.original.astype(int)
        # the original, then the protected versions, then their differences; a gray photo has three equal channels
        np.testing.assert_array_equal(next(embedded), np.broadcast_to(original, (*original.shape[:2], 3)))
        for run in results.runs:
            protected = picture.protected[run.name]
            np.testing.assert_array_equal(next(embedded), np.broadcast_to(protected, (*original.shape[:2], 3)))
        for run in results.runs:
            difference = np.clip(128 + 5 * (picture.protected[run.name] - original), 0, 255)
            np.testing.assert_array_equal(next(embedded), np.broadcast_to(difference, (*original.shape[:2], 3)))
    assert next(embedded, None) is None


def test_amplified_difference_clips_without_wrapping() -> None:
    black, white = np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)
    assert amplify_difference(black, white, 8).tolist() == [[[255] * 3]]
    assert amplify_difference(white, black, 8).tolist() == [[[0] * 3]]
    assert amplify_difference(white, white, 8).tolist() == [[[128] * 3]]


@pytest.mark.slow
def test_large_photo_is_reduced_after_the_difference_is_taken(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_photos, "MAX_PICTURE_BYTES", 10**8)  # lossless
    results = alone(toy_results())
    shapes = ((1100, 700, 3), (3, 2000, 3), (9, 7, 1))
    shown = [toy_picture(name, ["eps8"], shape) for name, shape in zip(results.photos, shapes, strict=False)]
    large = toy_page(results, shown)
    pictures = large.pictures()
    # the first that is changed leads, and is shown larger
    assert [picture.shape[:2] for picture in pictures] == [(1, 512)] * 3 + [(320, 204)] * 3 + [(9, 7)] * 3
    full = Image.fromarray(amplify_difference(shown[0].original, shown[0].protected["eps8"], 8))
    np.testing.assert_array_equal(pictures[5], np.asarray(full.resize((204, 320), Image.Resampling.LANCZOS)))
    assert "700 \N{MULTIPLICATION SIGN} 1100, shown at 204 \N{MULTIPLICATION SIGN} 320" in large.prose()
    assert "scaled down here" in large.prose()
    assert "scaled down here" not in page.prose()


@pytest.mark.slow
def test_page_of_many_large_photos_stays_below_two_megabytes() -> None:
    """Noise is what compresses worst."""
    results = alone(toy_results())
    photos = tuple(f"{number}.png" for number in range(30))
    count = len(photos)
    rows = [
        replace(
            row,
            truths=(0,) * count,
            answers={version: dict.fromkeys(given, (0,) * count) for version, given in row.answers.items()},
        )
        for row in results.rows
    ]
    runs = tuple(replace(run, distortion=(run.distortion[1],) * count) for run in results.runs)
    many = replace(results, photos=photos, labels=(0,) * count, runs=runs, rows=tuple(rows), failures=())
    noise = toy_picture("noise.png", ["eps8"], (400, 600, 3))
    large = toy_page(many, (replace(noise, name=name) for name in photos))
    assert len(large.text.encode()) < 2_000_000
    pictures = [image for image in large.all("img") if image["src"].startswith("data:image/webp")]
    assert len(pictures) == 24 * 3
    (rest,) = [data for tag, data in large.words if tag == "summary" and "more photo" in data]
    assert rest == "11 more photos"
    assert "6 more photos were evaluated and counted; the first 24 are shown" in large.prose()
    assert "its pictures are compressed (WebP); the files are not" in large.prose()


def test_every_photo_is_shown_with_its_figures(page: Page) -> None:
    prose = page.prose()
    for name in toy_results().photos:
        assert name in prose
        alts = [image["alt"] for image in page.all("img") if f" of {name}" in image["alt"]]
        assert len(alts) == 1 + 2 * 2
        assert len(set(alts)) == len(alts)
    for figure in ("PSNR 36.0 dB SSIM 0.9400", "PSNR no change SSIM 1.0000", "Largest change 16/255"):
        assert figure in prose


def test_change_over_budget_is_reported(page: Page) -> None:
    assert "over budget" not in page.prose()
    toy = alone(toy_results())
    assert "over budget: 8/255" in toy_page(replace(toy, runs=(replace(toy.runs[0], epsilon=7.5),))).prose()
    assert "over budget" not in toy_page(replace(toy, runs=(replace(toy.runs[0], epsilon=None),))).prose()


def test_heat_map_of_versions_shows_the_figures(page: Page) -> None:
    lines = _matrix(page, "Share read right by model and version")
    assert lines["zoo:judge"] == [
        ("20", "100.0% 4/4 51\N{EN DASH}100%"),
        ("5", "25.0% 1/4 5\N{EN DASH}70%"),
        ("0", "0.0% 0/4 0\N{EN DASH}49%"),
    ]
    assert lines["of the photos read when clean"][2] == ("15", "75.0% 3/4 30\N{EN DASH}95%")
    assert set(lines) == {
        "zoo:mine",
        "of the photos read when clean",
        "zoo:judge",
        "zoo:cousin †",
        "onnx:far.onnx *",
        "zoo:helper",
        "zoo:second-helper",
    }
    assert "1 of 4, 95% interval 4.6% \N{EN DASH} 69.9%, 1 without an answer" in page.text
    assert "Mean of 2, without † 100.0% 62.5% 25.0%" in page.prose()


def test_heat_map_of_channels_is_shown_for_each_run(page: Page) -> None:
    lines = _matrix(page, "Share read right by model and channel, eps16")
    assert lines["zoo:judge"] == [("0", "0.0%"), ("0", "0.0%"), ("5", "25.0%")]
    assert "Mean of 2, without † 25.0% 25.0% 50.0%" in page.prose()
    assert page.text.count("by model and channel, eps8") == 2  # of the region and of its table
    assert "by model and channel" not in toy_page(alone(toy_results())).text


def test_headline_shows_the_main_figures(page: Page) -> None:
    assert (
        "2 protected versions: the authorized model still reads 3 to 4 of 4 photos right. The 2 independent judges "
        "read, on average, 100.0% when clean and 25.0% to 62.5% when protected."
    ) in page.prose()
    toy = alone(toy_results())
    prose = toy_page(replace(toy, rows=(*toy.rows[:4],))).prose()
    assert (
        "The authorized model still reads 4 of 4 photos right. The independent judge reads 100.0% when clean and 50.0% "
        "when protected."
    ) in prose
    for rows in (toy.rows[:3], toy.rows[:3] + toy.rows[4:5]):
        prose = toy_page(replace(toy, rows=rows)).prose()
        assert "No independent judge was evaluated, so this says nothing about unseen models." in prose


def test_headline_reports_clean_errors_of_the_authorized_model() -> None:
    toy = alone(toy_results())
    mine = replace(toy.rows[0], truths=(0, 1, 2, 1))
    prose = toy_page(replace(toy, rows=(mine, *toy.rows[1:]))).prose()
    assert "still reads 3 of 4 photos right (3 when clean)." in prose


def test_excluded_and_own_reference_models_are_marked_and_explained(page: Page) -> None:
    assert f"† zoo:cousin is {EXCLUDED_NOTE}: {EXCLUSION}" in page.prose()
    assert f"* {OWN_NOTE}" in page.prose()
    plain = toy_page(replace(toy_results(), rows=toy_results().rows[:4])).text
    assert 'href="#notes"' not in plain
    assert 'id="notes"' not in plain


def test_the_page_has_the_footnotes_of_the_other_tables() -> None:
    """An embedder has no classes, so that the note on models with other classes is not about it."""
    toy = toy_results()
    embedder = replace(toy.rows[3], kind="embedder", truth="own", model="embedder")
    for row in (embedder, replace(embedder, kind="people", truth="label", unmapped=("Zoe",))):
        results = replace(toy, rows=(*toy.rows[:3], row))
        prose = toy_page(results).prose()
        notes = footnotes(results, "*", "†", str)
        assert KINDS[row.kind] in notes[0]
        for note in notes:
            assert note in prose
        assert "*" not in prose
        assert OWN_NOTE not in prose


def test_a_card_counts_the_judges_of_the_mean_and_says_which_gave_no_answer() -> None:
    """Of three judges one is excluded; of the fourth photo, one has no clean answer to compare with."""
    toy = toy_results()
    adapted = replace(toy.rows[3], model="zoo:judge (adapted)", exclusion="adapted")
    html = toy_page(alone(replace(toy, rows=(*toy.rows, adapted)))).text
    said = [_text(line) for line in re.findall(r"<li>([^<]* judges? reads? it.*?)</li>", html)]
    assert said == [
        "2 of 2 judges read it",  # one.png
        "1 of 2 judges read it",  # three.png: both answer 0, which only far gave to the original
        "0 of 2 judges read it, 1 without an answer",  # four.png
    ]
    results = alone(replace(toy, rows=(*toy.rows[:3], toy.rows[3])))
    lead_last = replace(results, runs=(replace(results.runs[0], distortion=toy.runs[0].distortion[::-1]),))
    assert "0 of 1 judge reads it, 1 without an answer" in _text(toy_page(lead_last).text)


def test_models_with_a_gallery_have_their_own_table(page: Page) -> None:
    assert "Rank-1" not in page.prose()
    recognized = toy_page(with_gallery(toy_results()))
    label = "Who is recognized by model and version"
    (table,) = re.findall(rf'<table class="change" aria-label="{label}">(.*?)</table>', recognized.text, re.S)
    lines = [_text(line).replace("\N{EN DASH}", "-") for line in re.findall(r"<tr>(.*?)</tr>", table, re.S)]
    assert lines == [
        "Model Version rank-1 TAR at FAR 0.01 TAR at FAR 0.001 no longer matched",
        "zoo:judge held-out clean 100.0% 3/3 44-100% 100.0% 3/3 44-100% none 0.0% 0/3 0-56%",
        "eps8 66.7% 2/3 21-94% 33.3% 1/3 6-79% none 33.3% 1/3 6-79%",
        "eps16 0.0% 0/3 0-56% 0.0% 0/3 0-56% none 66.7% 2/3 21-94%",
    ]
    assert table.count("<th ") == table.count('<th scope="')
    assert {"role": "region", "tabindex": "0", "aria-label": label, "class": "scroll"} in recognized.all("div")
    assert "FAR 0.001 needs 1000 impostor scores, and there are 102" in recognized.prose()


def test_failures_are_counted_with_their_reasons(page: Page) -> None:
    assert "✗ 15 answers are missing" in page.prose()
    assert "6 times zoo:judge: out of memory" in page.prose()
    whole = replace(toy_results(), rows=toy_results().rows[:3], failures=())
    assert "missing, over all" not in toy_page(whole).prose()


def test_distortion_is_shown_by_quantiles_and_statuses(page: Page) -> None:
    prose = page.prose()
    assert " ".join(("Version Measure", *QUANTILES)) in prose
    for run in toy_results().runs:
        for line in distortion_rows(run):
            assert " ".join(line) in prose
    assert "budget 8/255 momentum 3 protected , 1 unchanged" in prose
    assert "LPIPS" not in prose
    toy = alone(toy_results())
    run = replace(toy.runs[0], distortion=(Distortion(8, 1.0, 40.0, 0.98, 0.125),) * 4)
    assert "LPIPS 0.1250 0.1250" in toy_page(replace(toy, runs=(run,))).prose()


def test_answers_are_marked_by_more_than_color() -> None:
    html = toy_page(alone(toy_results())).text
    answers = re.findall(r'<td(?: data-run="0")?><span class="(\w+)">(.*?)</span></td>', html)
    texts = [(verdict, re.sub("<[^>]*>", "", text)) for verdict, text in answers]
    assert len(texts) == 4 * 6 * 2
    # of the second photo, which leads the page: authorized, judge, cousin, far, helper, second helper
    second = texts[:12]
    assert second[2:4] == [("right", "✓ right: Ben &amp; Co"), ("missing", "\N{EN DASH} no answer")]
    assert second[6:8] == [("reference", "3"), ("wrong", "✗ wrong: 0")]
    assert second[8:10] == [("right", "✓ right: Ben &amp; Co"), ("wrong", "✗ wrong: &lt;b&gt;Cem&lt;/b&gt;")]
    # what has no clean answer of its own to be measured by is neither right nor wrong
    assert texts[36 + 6 : 36 + 8] == [("missing", "\N{EN DASH} no answer"), ("reference", "1")]


def test_plots_are_shown_with_descriptions(page: Page) -> None:
    images = [image for image in page.all("img") if image["src"].startswith("data:image/svg+xml;base64,")]
    assert [image["alt"].split(". ")[0] for image in images] == [
        "Share read right by the largest allowed change",
        "Share read right of eps8 by channel",
        "Share read right of eps16 by channel",
    ]
    assert "mean of judges: 62.5% through png" in images[1]["alt"]
    assert len(page.all("source")) == 3
    assert "image/svg" not in toy_page(alone(toy_results())).text


def test_class_without_a_name_is_shown_by_its_index() -> None:
    toy = alone(toy_results())
    assert "labeled 2" in toy_page(replace(toy, rows=(replace(toy.rows[0], names={}), *toy.rows[1:]))).prose()


def test_margins_of_the_manifest_are_shown_and_the_headline_names_the_least() -> None:
    toy = alone(toy_results())
    margins = {
        "jpeg-75": RecordedMargins(photos=3, kept=3, before=4.0, after=2.0, least=0.5, least_photo="b<b>.png"),
        "mirror": RecordedMargins(photos=4, kept=4, before=5.0, after=3.0, least=0.25, least_photo="a.png"),
    }
    shown = toy_page(replace(toy, runs=(replace(toy.runs[0], margins=margins),)))
    assert (
        "Deployed in 2 ways, it keeps 100.0% of what it reads when clean, with the smallest margin through mirror ."
    ) in shown.prose()
    (table,) = re.findall(r'<table class="change margins".*?</table>', shown.text, re.S)
    lines = [_text(line) for line in re.findall(r"<tr>(.*?)</tr>", table, re.S)]
    assert lines[1:] == [
        "mirror mirrored 0.25 a.png 3.00 5.00 4/4",
        "jpeg-75 JPEG of quality 75 0.50 b&lt;b&gt;.png 2.00 4.00 3/3",
        "All 2 0.25 2.50 4.50 7/7",
    ]
    assert "As deployed" not in toy_page(toy).prose()


def test_one_deployment_is_in_the_singular() -> None:
    toy = alone(toy_results())
    margins = {"mirror": RecordedMargins(photos=4, kept=4, before=5.0, after=3.0, least=0.25, least_photo="a.png")}
    shown = toy_page(replace(toy, runs=(replace(toy.runs[0], margins=margins),)))
    assert "Deployed in 1 way, it keeps 100.0% of what it reads when clean" in shown.prose()


def test_header_weights_limits_and_data_are_shown(page: Page) -> None:
    for words in (
        "omm evaluate --out 'a b'",
        "Environment python 3.13 device.kind cpu",
        "Settings seed 0",
        toy_results().rows[0].sha256,
        "results.json and results.csv",
        "What this does not promise",
        "no evidence about other models",
    ):
        assert words in page.prose()
    toy_page(replace(alone(toy_results()), header={}))
