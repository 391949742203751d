"""The page in a real browser: photos go in, a run goes on, the files come out, and nothing goes anywhere else."""

import io
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from app_client import Client, page
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from onlymymodel.app.samples import samples
from onlymymodel.data.image_io import decode
from onlymymodel.data.portraits import render

PATIENCE = 15_000  # ms, for any one step: a page that hangs must not hold up the rest
RUN = 60_000
NAME = "jo's \N{LATIN SMALL LETTER U WITH DIAERESIS} #1 & 2.png"
PHOTO = samples()[1][1]  # a portrait that these few steps protect
STEPS = "8"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with page(allow_python=False) as url:
        yield url


class Visit:
    """A tab, and what it did."""

    def __init__(self, browser: Browser, url: str, width: int = 1280) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True)
        self.context.set_default_timeout(PATIENCE)
        self.url = url
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page = self.tab()

    def tab(self) -> Page:
        page = self.context.new_page()
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(self.url)
        page.wait_for_selector("body.ready")
        return page


@pytest.fixture
def visit(browser: Browser, url: str) -> Iterator[Visit]:
    visit = Visit(browser, url)
    yield visit
    visit.context.close()


def upload(page: Page, *files: tuple[str, bytes]) -> None:
    payloads: list[FilePayload] = [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files]
    page.locator("#files").set_input_files(payloads)


def start(page: Page, steps: str = STEPS) -> None:
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Steps of the optimizer").fill(steps)
    page.get_by_role("button", name="high").click()
    page.get_by_role("button", name="Protect").click()


def clip(picture: Locator) -> str:
    return str(picture.evaluate("one => getComputedStyle(one).clipPath"))


def saved(page: Page, link: Locator) -> tuple[str, bytes]:
    with page.expect_download() as download:
        link.click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


@pytest.fixture(scope="module")
def done(browser: Browser, url: str) -> Iterator[Visit]:
    """A tab in which one photo is protected; the tests leave it so."""
    visit = Visit(browser, url)
    upload(visit.page, (NAME, PHOTO))
    start(visit.page)
    expect(visit.page.get_by_role("progressbar")).to_be_visible()
    expect(visit.page.locator("#doing")).to_contain_text("Photo 1 of 1, step ", timeout=RUN)
    expect(visit.page.locator("#outcome")).to_have_text("1 of 1 photos protected.", timeout=RUN)
    yield visit
    visit.context.close()


def test_nothing_was_asked_of_any_other_place_and_the_policy_held(done: Visit) -> None:
    done.page.wait_for_load_state("networkidle")
    assert all(asked.startswith(done.url) for asked in done.asked)
    assert done.errors == []
    broken = "[...document.images].filter(one => one.src && (!one.complete || one.naturalWidth === 0)).length"
    assert done.page.evaluate(broken) == 0
    assert done.page.evaluate("[document.cookie, localStorage.length, sessionStorage.length].join()") == ",0,0"


def test_slider_moves_between_the_photos_by_mouse_and_keyboard(done: Visit) -> None:
    stage = done.page.locator(".stage:visible")
    after, slider = stage.get_by_alt_text(f"Protected photo of {NAME}"), stage.get_by_role("slider")
    expect(slider).to_have_accessible_name(f"Compare original and protected: {NAME}")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    done.page.mouse.move(box["x"] + box["width"] / 2, middle)
    done.page.mouse.down()
    done.page.mouse.move(box["x"] + box["width"] * 0.8, middle, steps=4)
    done.page.mouse.up()
    value = slider.input_value()
    assert int(value) == pytest.approx(80, abs=1)
    assert clip(after) == f"inset(0px 0px 0px {value}%)"
    slider.focus()
    for key, value in (("Home", "0"), ("End", "100"), ("ArrowLeft", "99")):
        done.page.keyboard.press(key)
        assert slider.input_value() == value
        assert clip(after) in {f"inset(0px 0px 0px {value}%)", "inset(0px)" * (value == "0")}
        assert slider.get_attribute("aria-valuetext") == f"{value}% original, {100 - int(value)}% protected"


def test_zoom_shows_pixels_and_keeps_the_middle(done: Visit) -> None:
    frame, stage = done.page.locator(".window:visible"), done.page.locator(".stage:visible")
    width = decode(PHOTO).pixels.shape[1]
    for zoom in (1, 2, 4):
        done.page.get_by_role("radio", name=f"{zoom}00%").check()
        box = stage.bounding_box()
        assert box is not None
        assert (box["width"], box["height"]) == pytest.approx((zoom * width, zoom * width), abs=0.5)
    left, inner, outer = frame.evaluate("one => [one.scrollLeft, one.scrollWidth, one.clientWidth]")
    assert left + outer / 2 == pytest.approx(inner / 2, abs=4)  # one pixel of the photo
    done.page.get_by_role("radio", name="Fit").check()
    assert stage.evaluate("one => one.clientWidth") == frame.evaluate("one => one.clientWidth")


def test_difference_is_shown_and_compare_comes_back(done: Visit) -> None:
    difference = done.page.get_by_alt_text("Difference, amplified")
    done.page.get_by_role("radio", name="Difference").check()
    expect(difference).to_be_visible()
    expect(difference).to_have_js_property("naturalWidth", decode(PHOTO).pixels.shape[1])
    expect(done.page.locator(".stage input")).to_be_hidden()
    done.page.get_by_role("radio", name="Compare").check()
    expect(difference).to_be_hidden()
    expect(done.page.locator(".stage input")).to_be_visible()


def test_answers_and_figures_are_there(done: Visit) -> None:
    rows = done.page.locator(".answers tbody tr")
    told = [" ".join(text.split()) for text in rows.all_inner_texts()]
    assert len(told) == 6
    assert told[0] == "zoo:identity-residual authorized Jonas Jonas ✓ still reads it"
    assert sum("stand-in" in text for text in told) == 3
    assert sum("judge" in text for text in told) == 2
    assert any("✓ misreads it" in text for text in told)
    expect(done.page.locator(".reason:visible")).to_contain_text("The authorized model still reads Jonas. Misled: ")
    expect(done.page.locator(".measures:visible")).to_contain_text("16/255")


def test_downloads_are_whole_and_bear_the_names_of_the_photos(done: Visit) -> None:
    name, data = saved(done.page, done.page.get_by_role("link", name=f"Save {NAME}, protected"))
    assert name == NAME
    change = decode(data).pixels.astype(int) - decode(PHOTO).pixels
    assert np.abs(change).max() == 16
    name, packed = saved(done.page, done.page.get_by_role("link", name="Save all as ZIP"))
    assert name == "protected.zip"
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.namelist() == [NAME, "omm-run.toml"]
        assert archive.read(NAME) == data
    name, toml = saved(done.page, done.page.get_by_role("link", name="Save the run file"))
    assert name == "omm-run.toml"
    run = tomllib.loads(toml.decode())
    assert (run["authorized"], run["epsilon"], run["recipe"]["steps"]) == ("zoo:identity-residual", 16, int(STEPS))
    assert run["heldout"] == ["zoo:identity-inception", "zoo:identity-mixer"]


def test_another_tab_sees_nothing_and_a_closed_tab_leaves_nothing(done: Visit, visit: Visit) -> None:
    other = visit.page
    expect(other.locator("#photos")).to_be_empty()
    upload(other, ("mine.png", PHOTO))
    expect(other.get_by_role("heading", name="mine.png")).to_be_visible()
    done.page.evaluate("0")
    assert done.page.get_by_role("heading", name="mine.png").count() == 0
    secret = next(asked for asked in reversed(visit.asked) if "/thumb.png" in asked).split("/photos/")[0]
    path = secret.removeprefix(visit.url)
    client = Client(visit.url)
    assert len(client.state(path)["photos"]) == 1
    other.close(run_before_unload=True)
    for _ in range(100):
        if client.raw("GET", f"{client.root}{path}/")[0] == 404:
            break
        done.page.wait_for_timeout(50)
    assert "reload" in client.refused("GET", f"{path}/")


def test_bad_uploads_are_told_in_sentences_and_good_ones_beside_them_stay(visit: Visit, tmp_path: Path) -> None:
    tab = visit.page
    good = io.BytesIO()
    Image.fromarray(render(2, 0, 5, 64)).save(good, "JPEG")
    upload(tab, ("notes.png", b"just text"), ("<img src=x onerror=alert(1)>.png", b""), ("good.jpg", good.getvalue()))
    alerts = tab.locator(".alert p")
    told = ["notes.png: not a picture, whatever its name says", "img src=x onerror=alert(1).png: an empty file"]
    expect(alerts).to_have_text(told)
    expect(tab.locator(".card h3")).to_have_text(["good.jpg"])
    tab.get_by_role("button", name="Dismiss").first.click()
    expect(alerts).to_have_text(told[1:])
    (tmp_path / "big.png").write_bytes(b"0" * 20_000_001)
    tab.locator("#files").set_input_files(tmp_path / "big.png")
    expect(alerts).to_have_text(["big.png: too large; the page takes files up to 20 MB"])
    tab.get_by_role("button", name="Remove good.jpg").click()
    expect(tab.locator(".card")).to_have_count(0)
    expect(tab.get_by_role("button", name="Protect")).to_be_disabled()


def test_photos_can_be_dropped_anywhere(visit: Visit) -> None:
    transfer = visit.page.evaluate_handle(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.png"));
            return data;
        }""",
        list(PHOTO),
    )
    visit.page.dispatch_event("h1", "drop", {"dataTransfer": transfer})
    expect(visit.page.get_by_role("heading", name="dropped.png")).to_be_visible()
    assert visit.errors == []


def test_a_model_that_is_not_there_is_a_sentence_and_stop_stops(visit: Visit) -> None:
    tab = visit.page
    tab.get_by_role("button", name="Try it").click()
    expect(tab.locator(".card")).to_have_count(2)
    tab.get_by_label("Authorized model").select_option("A model of my own …")
    tab.get_by_label("Its URI").fill("python:os:getcwd")
    start(tab, "1000")
    expect(tab.locator(".alert p")).to_contain_text("add --allow-python if you trust it")
    tab.get_by_label("Its URI").fill("https://example.org/v2/models/net")
    tab.get_by_role("button", name="Protect").click()
    expect(tab.locator(".alert p")).to_contain_text("sends photos nowhere")
    tab.get_by_label("Authorized model").select_option("zoo:emotion-vit")
    assert tab.locator("[data-uri]:visible").count() == 5
    tab.get_by_role("button", name="Protect").click()
    expect(tab.locator("#doing")).to_contain_text("Photo 1 of 2, step ", timeout=RUN)
    expect(tab.locator(".alert")).to_have_count(0)
    expect(tab.get_by_role("button", name="Remove portrait-dario.png")).to_be_disabled()
    tab.get_by_role("button", name="Stop").click()
    expect(tab.locator("#outcome")).to_have_text("Stopped. 0 of 2 photos protected.")
    expect(tab.get_by_role("button", name="Protect")).to_be_enabled()
    expect(tab.locator(".pill")).to_have_text(["ready", "ready"])


def test_strength_is_told_in_words_and_moved_by_keys(visit: Visit) -> None:
    slider, words = visit.page.get_by_label("Strength"), visit.page.locator("#meaning")
    expect(words).to_have_text("Faint patterns in flat areas")
    slider.focus()
    for key, level, told in (
        ("Home", "1/255", "Less than low"), ("ArrowRight", "2/255", "Less than low"),
        ("End", "32/255", "More than high"), ("ArrowLeft", "31/255", "More than high"),
    ):  # fmt: skip
        visit.page.keyboard.press(key)
        expect(visit.page.locator("#levels")).to_have_text(level)
        expect(words).to_contain_text(told)
    visit.page.get_by_role("button", name="low").press("Enter")
    expect(words).to_have_text("Hardest to see, weakest protection")
    expect(visit.page.get_by_role("button", name="low")).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_narrow_screen_and_its_words_can_be_read(browser: Browser, url: str, scheme: str) -> None:
    visit = Visit(browser, url, width=400)
    visit.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for summary in visit.page.locator("summary").all():
        summary.click()
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 400
    faint = visit.page.evaluate(CONTRAST, ["h1", ".hint", "legend", ".drop small", "summary", ".chips button", "th"])
    assert faint == []
    visit.context.close()


# the elements whose text has less contrast with the page than WCAG's 4.5
CONTRAST = """names => {
  const channels = color => color.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = color => channels(color).map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return names.filter(name => {
    const ink = light(getComputedStyle(document.querySelector(name)).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05) < 4.5;
  });
}"""
