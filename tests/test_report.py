"""The report: it shows the pixels and figures that it was given, asks nothing of the network, and trusts no name."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from onlymymodel.evaluate import report
from onlymymodel.evaluate.harness import Pair, Role, Row
from onlymymodel.evaluate.report import amplified, write_report

LABELS = ("Ada", "Ben & Co", "<b>Cem</b>")
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'{{ 7 * 7 }}.png"
VOID = {"meta", "img", "br", "link", "input"}


@dataclass
class Page(HTMLParser):
    """What a browser would make of the page, as far as the tests ask."""

    text: str
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    words: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.feed(self.text)
        self.close()
        assert not self.inside, f"left open: {self.inside}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.inside.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append((self.inside[-1] if self.inside else "", data))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def pictures(self) -> list[NDArray[np.uint8]]:
        sources = [image["src"].removeprefix("data:image/png;base64,") for image in self.all("img")]
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source, validate=True)))) for source in sources]

    def prose(self) -> str:
        return " ".join(" ".join(data for tag, data in self.words if tag not in {"style", "script"}).split())


def _pair(name: str, label: int, shape: tuple[int, ...] = (20, 30, 3)) -> Pair:
    random = np.random.default_rng(abs(hash((label, shape))) % 2**32)
    original = random.integers(0, 256, shape, dtype=np.uint8)
    change = random.integers(-8, 9, shape)
    return Pair(name, original, np.clip(original + change, 0, 255).astype(np.uint8), label)


def _row(model: str, role: Role, before: tuple[int, ...], after: tuple[int, ...], labels: tuple[int, ...]) -> Row:
    right = [(b == t, a == t) for b, a, t in zip(before, after, labels, strict=True)]
    hits = (sum(b for b, _ in right), sum(a for _, a in right), sum(b and a for b, a in right))
    sha256 = hashlib.sha256(model.encode()).hexdigest()
    return Row(model, role, sha256, "label", len(labels), *hits, before, after, LABELS)


PAIRS = [_pair("one.png", 0), _pair(HOSTILE, 1), _pair("sub/three.jpg", 2, (9, 7, 1))]
ROWS = [
    _row("zoo:mine", "authorized", (0, 1, 2), (0, 1, 2), (0, 1, 2)),
    _row("zoo:helper", "surrogate", (0, 1, 2), (1, 2, 0), (0, 1, 2)),
    _row("zoo:judge", "held-out", (0, 1, 0), (0, 0, 0), (0, 1, 2)),
    _row("zoo:other-judge", "held-out", (0, 1, 2), (2, 2, 0), (0, 1, 2)),
]
OWN = replace(_row("onnx:far.onnx", "held-out", (3, 3, 0), (3, 0, 1), (3, 3, 0)), truth="own", names=())


def _write(path: Path, **changes: Any) -> Page:
    arguments: dict[str, Any] = {
        "title": "A <title>",
        "summary": "3 of 3 photos & no more.",
        "rows": ROWS,
        "pairs": PAIRS,
        "label_names": LABELS,
        "epsilon": 8,
        "distortion": [(33.333, 0.91234)] * len(changes.get("pairs", PAIRS)),
        "command": "omm demo --out 'a b'",
        "environment": {"python": "3.13", "device": {"kind": "cpu"}},
    }
    write_report(path / "report.html", **(arguments | changes))
    return Page((path / "report.html").read_text(encoding="utf-8"))


def test_pictures_are_the_very_pixels_and_the_difference_is_the_formula(tmp_path: Path) -> None:
    page = _write(tmp_path, amplify=5)
    pictures = page.pictures()
    assert len(pictures) == 3 * len(PAIRS)
    for index, pair in enumerate(PAIRS):
        original, protected, difference = (
            picture.reshape(pair.original.shape) for picture in pictures[3 * index :][:3]
        )
        np.testing.assert_array_equal(original, pair.original)
        np.testing.assert_array_equal(protected, pair.protected)
        change = pair.protected.astype(float) - pair.original.astype(float)
        np.testing.assert_array_equal(difference, np.clip(128 + 5 * change, 0, 255))


def test_amplified_difference_clips_and_does_not_wrap() -> None:
    black, white = np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)
    assert amplified(black, white, 8).tolist() == [[[255] * 3]]
    assert amplified(white, black, 8).tolist() == [[[0] * 3]]
    assert amplified(white, white, 8).tolist() == [[[128] * 3]]


def test_large_photo_is_scaled_down_after_the_difference_was_taken(tmp_path: Path) -> None:
    tall, wide = _pair("tall.png", 0, (1100, 700, 3)), _pair("wide.png", 1, (3, 2000, 3))
    page = _write(tmp_path, pairs=[tall, wide, PAIRS[2]])
    pictures = page.pictures()
    assert [picture.shape[:2] for picture in pictures] == [(512, 326)] * 3 + [(1, 512)] * 3 + [(9, 7)] * 3
    full = Image.fromarray(amplified(tall.original, tall.protected, 8))
    np.testing.assert_array_equal(pictures[2], np.asarray(full.resize((326, 512), Image.Resampling.LANCZOS)))
    assert "700 \N{MULTIPLICATION SIGN} 1100, shown at 326 \N{MULTIPLICATION SIGN} 512" in page.prose()
    assert "scaled down here" in page.prose()
    assert "scaled down here" not in _write(tmp_path).prose()


def test_every_pair_appears_with_its_figures(tmp_path: Path) -> None:
    page = _write(tmp_path, distortion=[(33.333, 0.91234), (None, 1.0), (40.0, 0.99)])
    prose = page.prose()
    for pair in PAIRS:
        assert pair.name in prose
        alts = [image["alt"] for image in page.all("img") if image["alt"].endswith(f" of {pair.name}")]
        assert len(alts) == 3
        change = np.abs(pair.protected.astype(int) - pair.original.astype(int)).max()
        assert f"Largest change {change}/255" in prose
    for figure in ("PSNR 33.3 dB", "SSIM 0.9123", "PSNR no change", "SSIM 1.0000", "PSNR 40.0 dB"):
        assert figure in prose


def test_change_beyond_the_budget_is_told(tmp_path: Path) -> None:
    assert "over budget" not in _write(tmp_path).prose()
    assert "over budget: 8/255" in _write(tmp_path, epsilon=4).prose()


def test_table_has_the_rows_figures(tmp_path: Path) -> None:
    html = _write(tmp_path, rows=[*ROWS, OWN]).text
    for row in [*ROWS, OWN]:
        (line,) = re.findall(
            rf'<tr role="row" data-role="{row.role}">\s*<th[^>]*><bdi[^>]*>{row.model}<.*?</tr>', html, re.S
        )
        cells = [" ".join(re.sub("<[^>]*>", " ", cell).split()) for cell in re.findall("<td.*?</td>", line, re.S)]
        low, high = row.interval_after
        assert cells[:3] == [
            f"{row.right_before / row.photos:.1%} {row.right_before} of {row.photos}",
            f"{row.right_after / row.photos:.1%} {row.right_after} of {row.photos}",
            f"{low:.1%} \N{EN DASH} {high:.1%}",
        ]
        widths = [float(width) for width in re.findall(r'class="(?:was|is)"[^>]* width="([\d.]+)"', line)]
        assert widths == pytest.approx(
            [100 * row.right_before / row.photos, 100 * row.right_after / row.photos], abs=0.01
        )


def test_headline_has_the_figures_that_matter(tmp_path: Path) -> None:
    prose = _write(tmp_path).prose()
    # judges: 2/3 and 3/3 right before, 1/3 and 0/3 after
    assert "The authorized model still reads 3 of 3 photos right." in prose
    assert "The 2 held-out models read, on average, 83.3% right before and 16.7% after." in prose
    one = _write(tmp_path, rows=ROWS[:3]).prose()
    assert "The held-out model reads 66.7% right before and 33.3% after." in one
    nobody = _write(tmp_path, rows=ROWS[:2]).prose()
    assert "No held-out model was asked, so this says nothing about unseen models." in nobody


def test_authorized_model_that_was_not_always_right_is_told(tmp_path: Path) -> None:
    row = _row("zoo:mine", "authorized", (0, 1, 0), (0, 1, 2), (0, 1, 2))
    assert "still reads 3 of 3 photos right (2 before)." in _write(tmp_path, rows=[row]).prose()


def test_models_of_another_language_are_explained_and_kept_out_of_the_mean(tmp_path: Path) -> None:
    assert 'id="own"' not in _write(tmp_path).text
    page = _write(tmp_path, rows=[*ROWS, OWN])
    assert "The 2 held-out models read, on average, 83.3% right before and 16.7% after." in page.prose()
    assert "The held-out model with other classes keeps its answer for 33.3% of the photos." in page.prose()
    assert page.text.count('id="own"') == 1


def test_answers_are_marked_by_more_than_color(tmp_path: Path) -> None:
    html = _write(tmp_path, rows=[ROWS[3], OWN]).text
    said = re.findall(r'<td><span class="(\w+)">(.*?)</span></td>', html)
    texts = [(verdict, re.sub("<[^>]*>", "", text)) for verdict, text in said]
    assert texts[:2] == [("right", "✓ right: Ada"), ("wrong", "✗ wrong: &lt;b&gt;Cem&lt;/b&gt;")]
    assert texts[2:4] == [("reference", "3"), ("right", "✓ right: 3")]
    assert texts[6:8] == [("reference", "3"), ("wrong", "✗ wrong: 0")]
    assert len(texts) == 12


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    hostile = replace(ROWS[0], model=HOSTILE, names=(HOSTILE,) * 3, sha256=HOSTILE)
    plain = _write(tmp_path)
    page = _write(
        tmp_path,
        rows=[hostile, *ROWS[1:]],
        label_names=(HOSTILE,) * 3,
        title=HOSTILE,
        summary=HOSTILE,
        command=HOSTILE,
        environment={HOSTILE: {HOSTILE: HOSTILE}, "device": HOSTILE},
    )
    for tag in ("script", "img", "b", "style", "svg", "meta"):
        assert len(page.all(tag)) == len(plain.all(tag)), tag
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert HOSTILE in page.prose()


def test_undecodable_name_and_missing_class_names_do_no_harm(tmp_path: Path) -> None:
    page = _write(tmp_path, pairs=[_pair("caf\udce9.png", 0), *PAIRS[1:]], label_names=())
    assert "caf?.png" in page.prose()
    assert "labeled class 0" in page.prose()


def test_nothing_is_asked_of_the_network(tmp_path: Path) -> None:
    page = _write(tmp_path)
    assert not re.search(r"https?:|@import|url\(", page.text)
    for _, attributes in page.tags:
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("#")
    assert not page.all("link")


def test_policy_admits_this_style_and_this_script_only(tmp_path: Path) -> None:
    page = _write(tmp_path)
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for tag in ("style", "script"):
        (content,) = [data for name, data in page.words if name == tag]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not [attributes for _, attributes in page.tags if "style" in attributes]


def test_gallery_stops_at_its_bounds_and_says_how_many_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MAX_PAIRS", 2)
    page = _write(tmp_path)
    assert len(page.all("article")) == 2
    assert "1 more pair was judged and counted above; the first 2 are shown" in page.prose()
    monkeypatch.setattr(report, "MAX_PICTURE_BYTES", 1)
    page = _write(tmp_path)
    assert len(page.all("article")) == 1
    assert "2 more pairs were judged" in page.prose()


def test_command_environment_weights_and_limits_are_told(tmp_path: Path) -> None:
    prose = _write(tmp_path).prose()
    for words in (
        "omm demo --out 'a b'",
        "python 3.13",
        "device.kind cpu",
        ROWS[0].sha256,
        "not a promise about every",
    ):
        assert words in prose
    assert "What this does not promise" in prose


def test_ids_are_unique_and_references_lead_somewhere(tmp_path: Path) -> None:
    page = _write(tmp_path, rows=[*ROWS, OWN])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    wanted = {
        attributes[key].lstrip("#")
        for _, attributes in page.tags
        for key in ("href", "aria-labelledby")
        if key in attributes
    }
    assert wanted <= set(ids)


def test_same_input_gives_the_same_bytes_and_an_older_report_is_replaced(tmp_path: Path) -> None:
    first = _write(tmp_path / "deep" / "folder").text
    (tmp_path / "report.html").write_text("old")
    assert _write(tmp_path).text == first


def test_answers_to_other_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one pair"):
        _write(tmp_path, pairs=[])
    with pytest.raises(ValueError, match="1 distortions for 3 pairs"):
        _write(tmp_path, distortion=[(None, 1.0)])
    with pytest.raises(ValueError, match="answers of zoo:mine are not those"):
        _write(tmp_path, pairs=[*PAIRS, PAIRS[0]], distortion=[(None, 1.0)] * 4)
    assert not list(tmp_path.iterdir())


def test_figures_are_of_all_photos_where_only_the_first_are_shown(tmp_path: Path) -> None:
    page = _write(tmp_path, pairs=PAIRS[:2], distortion=[(None, 1.0)] * 2).text
    assert "1 more pair was judged" in page
    assert "3 photos" in page
