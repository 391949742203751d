"""Report page: names are escaped, nothing is requested, and its size is limited."""

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from weakref import ref

import pytest
from results_toys import HOSTILE, Page, alone, hostile_results, toy_page, toy_picture, toy_pictures, toy_results

from onlymymodel.evaluate import report_photos
from onlymymodel.evaluate.harness import Pair
from onlymymodel.evaluate.report import HEAT_COLORS, heat_steps, render_report, write_report


@pytest.fixture(scope="module")
def page() -> Page:
    return toy_page(toy_results())


@pytest.fixture(scope="module")
def hostile_page() -> Page:
    return toy_page(hostile_results())


@pytest.mark.parametrize("scheme", list(HEAT_COLORS))
def test_heat_is_legible_at_every_step(scheme: str) -> None:
    steps = heat_steps(scheme)
    assert len({background for background, _ in steps}) == 21
    for background, ink in steps:
        dark, bright = sorted((_luminance(background), _luminance(ink)))
        assert (bright + 0.05) / (dark + 0.05) >= 4.5


def _luminance(color: str) -> float:
    """Relative luminance of a CSS color, by the formula of WCAG 2.2."""
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    parts = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_hostile_names_stay_text(page: Page, hostile_page: Page) -> None:
    for tag in ("script", "img", "b", "style", "svg", "meta", "input"):
        # one kind of failure instead of two
        assert len(hostile_page.all(tag)) == len(page.all(tag)), tag
    assert not [name for _, attributes in hostile_page.tags for name in attributes if name.startswith("on")]
    assert " ".join(HOSTILE.split()) in hostile_page.prose()


@pytest.mark.slow
def test_undecodable_names_are_replaced(tmp_path: Path) -> None:
    results = hostile_results()
    write_report(tmp_path / "report.html", render_report(results, toy_pictures(results), title="caf\udce9", summary=""))
    prose = Page((tmp_path / "report.html").read_text(encoding="utf-8")).prose()
    assert "caf?.png" in prose


@pytest.mark.parametrize("name", ["page", "hostile_page"])
def test_page_requests_nothing(name: str, request: pytest.FixtureRequest) -> None:
    page: Page = request.getfixturevalue(name)
    assert not re.search(r"https?:|@import|url\(", page.text)
    for _, attributes in page.tags:
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("srcset", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("#")
    assert not page.all("link")


@pytest.mark.parametrize("name", ["page", "hostile_page"])
def test_policy_allows_only_this_style_and_script(name: str, request: pytest.FixtureRequest) -> None:
    page: Page = request.getfixturevalue(name)
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for tag in ("style", "script"):
        (content,) = [data for inside, data in page.words if inside == tag]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not [attributes for _, attributes in page.tags if "style" in attributes]


@pytest.mark.slow
def test_photos_stop_at_their_limits_and_the_rest_is_counted(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(page.all("article")) == 4
    assert "to keep this page small" not in page.prose()
    toy = alone(toy_results())
    assert "2 more photos were evaluated" in toy_page(toy, toy_pictures(toy)[:2]).prose()
    monkeypatch.setattr(report_photos, "MAX_PICTURES", 3)
    few = toy_page(toy)
    assert len(few.all("article")) == 3
    assert "1 more photo was evaluated and counted; the first 3 are shown" in few.prose()


@pytest.mark.slow
def test_pictures_are_taken_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All decoded photos of a page take gigabytes: each is released before the next but one is read, and photos that
    are not shown are not read."""
    toy = alone(toy_results())
    given: list[ref[Pair]] = []
    alive = []

    def pictures() -> Iterator[Pair]:
        for name in toy.photos:
            picture = toy_picture(name, ["eps8"])
            given.append(ref(picture))
            alive.append(sum(picture() is not None for picture in given))
            yield picture
            del picture

    assert toy_page(toy, pictures()).text == toy_page(toy).text
    assert alive == [1, 2, 2, 2]
    monkeypatch.setattr(report_photos, "MAX_PICTURES", 3)
    unread = pictures()
    toy_page(toy, unread)
    assert next(unread).name == toy.photos[3]


@pytest.mark.parametrize("name", ["page", "hostile_page"])
def test_ids_are_unique_and_references_resolve(name: str, request: pytest.FixtureRequest) -> None:
    page: Page = request.getfixturevalue(name)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    wanted = {
        attributes[key].lstrip("#")
        for _, attributes in page.tags
        for key in ("href", "aria-labelledby")
        if key in attributes
    }
    assert wanted <= set(ids)


@pytest.mark.slow
def test_report_is_reproducible_and_replaces_an_older_one(page: Page, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    results = toy_results()
    for path in (tmp_path / "report.html", tmp_path / "deep" / "folder" / "report.html"):
        write_report(
            path, render_report(results, toy_pictures(results), title="A <title>", summary="4 of 4 photos & no more.")
        )
        assert path.read_bytes() == page.text.encode()


@pytest.mark.slow
def test_pictures_of_other_results_are_refused(tmp_path: Path) -> None:
    toy = toy_results()
    shown = toy_pictures(toy)
    for pictures, words in (
        ([], "at least one picture"),
        (shown[1:], "not those of the first photos"),
        ([*shown, shown[0]], "not those of the first photos"),
        ([toy_picture("one.png", ["eps8"])], "one.png are not of these runs"),
        ([replace(shown[0], original=shown[0].original[:-1])], "one.png are not of one size"),
    ):
        with pytest.raises(ValueError, match=words):
            write_report(tmp_path / "report.html", render_report(toy, pictures, title="", summary=""))
    assert not list(tmp_path.iterdir())
