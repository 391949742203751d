"""Report page in a real browser: its policy holds, its controls work, and it fits a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE
from playwright.sync_api import Browser, BrowserContext, Locator, Page
from results_toys import hostile_results, toy_pictures, toy_results, with_gallery

from onlymymodel.evaluate.report import render_report, write_report
from onlymymodel.evaluate.results import Results


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy's page, one with a gallery, and the page of hostile names."""
    folder = tmp_path_factory.mktemp("pages")
    _write(folder / "toy.html", toy_results())
    _write(folder / "gallery.html", with_gallery(toy_results()))
    _write(folder / "hostile.html", hostile_results())
    return folder


def _write(path: Path, results: Results) -> None:
    pictures = toy_pictures(results, (80, 120, 3))
    write_report(path, render_report(results, pictures, title="onlymymodel", summary="4 photos."))


class Visit:
    """A page that was opened, and what it did."""

    def __init__(self, context: BrowserContext, path: Path) -> None:
        context.set_default_timeout(1000 * PATIENCE)
        self.page: Page = context.new_page()
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.add_init_script(
            "document.addEventListener('securitypolicyviolation', event => console.error(event.violatedDirective))"
        )
        self.page.goto(path.as_uri())


@pytest.fixture
def visit(browser: Browser, pages: Path) -> Iterator[Visit]:
    """The toy's page on a wide screen."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield Visit(context, pages / "toy.html")


def _clip(picture: Locator) -> str:
    return str(picture.evaluate("one => getComputedStyle(one).clipPath"))


@pytest.mark.parametrize("name", ["toy.html", "gallery.html", "hostile.html"])
def test_policy_holds_and_page_sends_no_request(browser: Browser, pages: Path, name: str) -> None:
    with browser.new_context() as context:
        visit = Visit(context, pages / name)
        for details in visit.page.locator("summary").all():
            details.click()
        for choice in visit.page.get_by_role("radio").all():
            choice.check()
        visit.page.wait_for_load_state("networkidle")
        assert visit.errors == []
        assert [url for url in visit.asked if not url.startswith("data:")] == [(pages / name).as_uri()]
        visit.page.wait_for_function("[...document.images].every(one => one.complete && one.naturalWidth > 0)")


def test_foreign_style_is_refused(visit: Visit) -> None:
    visit.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">x</p>')")
    assert any("style-src" in error for error in visit.errors)


def test_slider_moves_by_mouse(visit: Visit) -> None:
    stage = visit.page.locator(".stage:visible").first
    after = stage.locator("img").nth(1)
    assert _clip(after) == "inset(0px 0px 0px 50%)"
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    visit.page.mouse.move(box["x"] + box["width"] / 2, middle)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + box["width"] * 0.8, middle, steps=5)
    value = stage.get_by_role("slider").input_value()
    assert int(value) == pytest.approx(80, abs=1)
    assert _clip(after) == f"inset(0px 0px 0px {value}%)"  # while it is dragged, too
    visit.page.mouse.up()
    assert _clip(after) == f"inset(0px 0px 0px {value}%)"


def test_slider_moves_by_keyboard_and_announces_its_position(visit: Visit) -> None:
    stage = visit.page.locator(".stage:visible").first
    slider = stage.get_by_role("slider", name="Compare original and protected: Protected photo of sub/two.jpg, eps8")
    slider.focus()
    for key, value in (("ArrowRight", "51"), ("Home", "0"), ("End", "100"), ("ArrowLeft", "99")):
        visit.page.keyboard.press(key)
        assert slider.input_value() == value
        assert _clip(stage.locator("img").nth(1)) in {f"inset(0px 0px 0px {value}%)", "inset(0px)" * (value == "0")}
        assert slider.get_attribute("aria-valuetext") == f"{value}% original, {100 - int(value)}% protected"


def test_compared_pictures_overlap_and_the_handle_is_on_the_border(visit: Visit) -> None:
    stage = visit.page.locator(".stage:visible").first
    below, above, slider = (stage.locator(part).bounding_box() for part in ("img >> nth=0", "img >> nth=1", "input"))
    assert below is not None
    assert below == above
    assert slider is not None
    # the thumb is 32 wide: its middle meets either edge
    assert (slider["x"], slider["width"]) == pytest.approx((below["x"] - 16, below["width"] + 32), abs=0.5)


def test_choice_of_a_version_swaps_pictures_and_answers(visit: Visit) -> None:
    article = visit.page.get_by_role("article", name="sub/two.jpg")
    shown = article.locator(".protected img:visible >> nth=1")
    assert shown.get_attribute("alt") == "Protected photo of sub/two.jpg, eps8"
    assert article.locator(".stage:visible").count() == 1
    before = shown.get_attribute("src")
    cousin = article.get_by_role("row").filter(has_text="zoo:cousin")
    answers = [" ".join(text.split()) for text in cousin.locator("td:visible").all_inner_texts()]
    assert answers == ["✓ right: Ben & Co", "✓ right: Ben & Co"]
    visit.page.get_by_label("eps16", exact=True).check()
    assert shown.get_attribute("alt") == "Protected photo of sub/two.jpg, eps16"
    assert shown.get_attribute("src") != before
    assert article.locator(".difference:visible").count() == 0
    article.get_by_text("Difference and figures").click()
    assert article.locator(".difference:visible").count() == 1
    assert "16/255" in article.locator(".measures:visible").inner_text()
    assert article.get_by_role("columnheader").all_inner_texts()[-1] == "eps16"


def test_first_photo_is_on_the_first_screen(browser: Browser, pages: Path) -> None:
    for width, height in ((1280, 900), (390, 844)):
        with browser.new_context(viewport={"width": width, "height": height}) as context:
            visit = Visit(context, pages / "toy.html")
            box = visit.page.locator(".first .stage:visible").bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= height


def test_an_opened_photo_takes_the_whole_row(visit: Visit) -> None:
    article = visit.page.get_by_role("article", name="three.png")
    closed = article.bounding_box()
    article.get_by_text("Answers and difference").press("Enter")
    opened, row = article.bounding_box(), visit.page.locator(".grid").first.bounding_box()
    assert closed is not None
    assert opened is not None
    assert row is not None
    assert closed["width"] < opened["width"] == row["width"]
    assert article.get_by_role("row").count() == 7
    assert article.locator(".difference:visible").count() == 1


def test_paper_shows_the_settings_and_both_pictures(visit: Visit) -> None:
    settings = visit.page.get_by_role("table", name="Settings")
    assert not settings.is_visible()
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert settings.is_visible()
    visit.page.emulate_media(media="print")
    article = visit.page.get_by_role("article", name="three.png")
    assert article.locator("img:visible").count() == 2
    assert article.locator("summary:visible").count() == 0
    visit.page.emulate_media(media="screen")
    visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not settings.is_visible()


def test_heat_map_colors_deepen_with_the_figures(visit: Visit) -> None:
    table = visit.page.get_by_role("table", name="Share read right by model and version")
    for row in toy_results().rows:
        cells = table.get_by_role("row").filter(has_text=row.model).get_by_role("cell")
        for cell, version in zip(cells.all(), ("clean", "eps8", "eps16"), strict=True):
            score = row.score(version)
            low, high = score.interval
            assert cell.locator("b").inner_text() == f"{score.share:.1%}"
            title = f"{score.right} of 4, 95% interval {low:.1%} \N{EN DASH} {high:.1%}"
            assert (cell.get_attribute("title") or "").startswith(title)
    depth = "cell => getComputedStyle(cell).backgroundColor.match(/\\d+/g).reduce((sum, part) => sum + +part, 0)"
    judge = table.get_by_role("row").filter(has_text="zoo:judge").get_by_role("cell")
    clean, weak, strong = (cell.evaluate(depth) for cell in judge.all())
    assert clean < weak < strong  # 100 %, 25 %, 0 %: the less, the lighter


def test_gallery_table_has_heads_and_figures(browser: Browser, pages: Path) -> None:
    with browser.new_context() as context:
        visit = Visit(context, pages / "gallery.html")
        table = visit.page.get_by_role("table", name="Who is recognized by model and version")
        assert table.get_by_role("columnheader").count() == 6
        weak = table.get_by_role("row").filter(has=visit.page.get_by_role("rowheader", name="eps8"))
        assert [cell.split()[0] for cell in weak.get_by_role("cell").all_inner_texts()] == [
            "66.7%",
            "33.3%",
            "none",
            "33.3%",
        ]


def test_plots_follow_the_color_scheme(visit: Visit) -> None:
    current = "document.querySelector('.plots img').currentSrc"
    light = visit.page.evaluate(current)
    visit.page.emulate_media(color_scheme="dark")
    visit.page.wait_for_function(f"before => {current} !== before", arg=light)
    visit.page.emulate_media(media="print")
    visit.page.wait_for_function(f"before => {current} === before", arg=light)


@pytest.mark.parametrize("name", ["toy.html", "gallery.html", "hostile.html"])
@pytest.mark.parametrize("script", [True, False])
def test_page_fits_a_narrow_screen(browser: Browser, pages: Path, name: str, script: bool) -> None:
    with browser.new_context(viewport={"width": 400, "height": 800}, java_script_enabled=script) as context:
        visit = Visit(context, pages / name)
        for box in visit.page.locator("main > *, .pair > *:visible, .grid, .plots img").all():
            bounds = box.bounding_box()
            assert bounds is None or bounds["x"] + bounds["width"] <= 400
        if script:
            assert visit.page.evaluate("document.documentElement.scrollWidth") == 400


def test_without_scripts_all_pictures_are_side_by_side(browser: Browser, pages: Path) -> None:
    with browser.new_context(viewport={"width": 1280, "height": 900}, java_script_enabled=False) as context:
        visit = Visit(context, pages / "toy.html")
        article = visit.page.get_by_role("article", name="sub/two.jpg")
        original, protected = article.locator("img").first, article.locator(".protected img:visible")
        assert protected.count() == 1  # the choice of a version works without scripts, too
        left, right = original.bounding_box(), protected.bounding_box()
        assert left is not None
        assert right is not None
        assert (left["y"], left["width"]) == pytest.approx((right["y"], right["width"]), abs=0.5)
        assert left["x"] + left["width"] <= right["x"]
        assert visit.page.get_by_role("slider").count() == 0
        visit.page.get_by_label("eps16", exact=True).check()
        assert protected.get_attribute("alt") == "Protected photo of sub/two.jpg, eps16"
