"""The page in a real browser: upload, run, download, and no request to another host."""

import io
import re
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from app_client import Client, page
from patience import PATIENCE, RUN_PATIENCE, wait_until
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from onlymymodel.app.samples import samples
from onlymymodel.app.server import REDIRECT_PAGE
from onlymymodel.data.image_io import decode
from onlymymodel.data.portraits import render
from onlymymodel.protect.budget.strengths import STRENGTHS

RUN = 1000 * RUN_PATIENCE  # ms
NAME = "jo's \N{LATIN SMALL LETTER U WITH DIAERESIS} #1 & 2.png"
PHOTO = samples()[1][1]  # a portrait that these few steps protect
STEPS = "40"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with page(allow_python=False) as url:
        yield url


class Visit:
    """A tab, and what it did."""

    def __init__(self, browser: Browser, url: str, width: int = 1280, height: int = 900) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
        self.context.set_default_timeout(1000 * PATIENCE)
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
        self.home = page.url
        return page


@pytest.fixture
def visit(browser: Browser, url: str) -> Iterator[Visit]:
    visit = Visit(browser, url)
    yield visit
    visit.context.close()


def upload(page: Page, *files: tuple[str, bytes]) -> None:
    payloads: list[FilePayload] = [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files]
    page.locator("#files").set_input_files(payloads)


def start(page: Page, steps: str = STEPS, choice: str = "Rendered portraits") -> None:
    page.get_by_role("radio", name=choice).check()
    page.get_by_text("More settings", exact=True).click()
    page.get_by_label("Steps of the optimizer").fill(steps)
    page.get_by_label("Largest change of a pixel").fill("16")
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
    expect(visit.page.locator("#outcome")).to_have_text("1 of 1 photos protected.", timeout=RUN)
    yield visit
    visit.context.close()


def test_no_other_host_was_requested_and_the_policy_held(done: Visit) -> None:
    done.page.wait_for_load_state("networkidle")
    first, *others = done.asked
    assert first == done.url
    assert all(asked.startswith(done.home) for asked in others)
    assert done.page.url == done.home
    assert urlsplit(done.url).path.strip("/") not in done.page.evaluate("[location.href, document.referrer].join()")
    assert done.errors == []
    done.page.wait_for_function("[...document.images].every(one => !one.src || (one.complete && one.naturalWidth > 0))")
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
    difference = done.page.get_by_alt_text(f"Difference, amplified, of {NAME}")
    done.page.get_by_role("radio", name="Difference").check()
    expect(difference).to_be_visible()
    expect(difference).to_have_js_property("naturalWidth", decode(PHOTO).pixels.shape[1])
    expect(done.page.locator("#photos .stage input")).to_be_hidden()
    done.page.get_by_role("radio", name="Compare").check()
    expect(difference).to_be_hidden()
    expect(done.page.locator("#photos .stage input")).to_be_visible()


def test_answers_and_figures_are_there(done: Visit) -> None:
    rows = done.page.locator("#photos .answers tbody tr")
    told = [" ".join(text.split()) for text in rows.all_inner_texts()]
    assert len(told) == 6
    assert told[0] == "zoo:identity-residual authorized Jonas Jonas ✓ still reads it"
    assert sum("stand-in" in text for text in told) == 3
    assert sum("judge" in text for text in told) == 2
    assert any("✓ misreads it" in text for text in told)
    expect(done.page.locator(".reason:visible")).to_contain_text("The authorized model still reads Jonas. Misled: ")
    expect(done.page.locator(".measures:visible")).to_contain_text("16/255")


def test_chips_show_what_models_read_through_each_channel(done: Visit) -> None:
    path = next(asked for asked in done.asked if "/photos/" in asked).split("/photos/")[0].removeprefix(done.home)
    (photo,) = Client(done.url).state(path)["photos"]
    rows = done.page.locator("#photos .answers tbody tr")
    assert [channel["title"] for channel in photo["channels"]] == ["As written", "JPEG 75", "Half size"]
    for channel in reversed(photo["channels"]):
        done.page.get_by_role("radio", name=channel["title"]).check()
        told = [" ".join(text.split()) for text in rows.all_inner_texts()]
        for text, answer in zip(told, channel["answers"], strict=True):
            assert text.startswith(answer["model"])
            assert text.endswith(answer["verdict"])
            assert f" {answer['before']} {answer['after']} " in text


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
    with other.expect_request("**/thumb.png") as thumb:
        upload(other, ("mine.png", PHOTO))
    expect(other.get_by_role("heading", name="mine.png")).to_be_visible()
    done.page.evaluate("0")
    assert done.page.get_by_role("heading", name="mine.png").count() == 0
    path = thumb.value.url.split("/photos/")[0].removeprefix(visit.home)
    client = Client(visit.url)
    assert len(client.state(path)["photos"]) == 1
    other.close(run_before_unload=True)

    def is_gone() -> bool:
        done.page.wait_for_timeout(50)  # in which Playwright answers what the page asks before it closes
        return client.raw("GET", f"{client.root}{path}/")[0] == 404

    wait_until(is_gone)
    assert "reload" in client.refused("GET", f"{path}/")


def test_bad_uploads_are_reported_and_good_ones_are_kept(visit: Visit, tmp_path: Path) -> None:
    tab = visit.page
    good = io.BytesIO()
    Image.fromarray(render(2, 0, 5, 64)).save(good, "JPEG")
    upload(tab, ("notes.png", b"just text"), ("<img src=x onerror=alert(1)>.png", b""), ("good.jpg", good.getvalue()))
    alerts = tab.locator(".alert p")
    told = ["notes.png: not a picture, whatever its name says", "img src=x onerror=alert(1).png: an empty file"]
    expect(alerts).to_have_text(told)
    expect(tab.locator("#photos h3")).to_have_text(["good.jpg"])
    tab.get_by_role("button", name="Dismiss").first.click()
    expect(alerts).to_have_text(told[1:])
    (tmp_path / "big.png").write_bytes(b"0" * 20_000_001)
    tab.locator("#files").set_input_files(tmp_path / "big.png")
    expect(alerts).to_have_text(["big.png: too large; the page takes files up to 20 MB"])
    tab.get_by_role("button", name="Remove good.jpg").click()
    expect(tab.locator("#photos .card")).to_have_count(0)
    expect(tab.get_by_role("button", name="Protect")).to_be_disabled()


def test_protect_says_why_it_is_disabled(visit: Visit) -> None:
    tab = visit.page
    button = tab.get_by_role("button", name="Protect")
    expect(button).to_be_disabled()
    expect(button).to_have_accessible_description("Add a photo first.")
    upload(tab, ("one.png", PHOTO))
    expect(button).to_be_enabled()
    expect(tab.locator("#why")).to_be_hidden()
    tab.get_by_role("radio", name="People in photos").check()
    expect(button).to_have_accessible_description("Name the folder of people first.")
    tab.get_by_label("Folder of people").fill("/nowhere")
    expect(button).to_be_enabled()
    button.click()
    expect(tab.locator(".alert p")).to_contain_text("There is no gallery folder /nowhere")
    tab.get_by_role("radio", name="Models of my own").check()
    expect(button).to_have_accessible_description("Name the authorized model first.")
    tab.get_by_label("Authorized model").fill("zoo:identity-vit")
    expect(button).to_have_accessible_description("Name at least one stand-in first.")
    tab.get_by_label("Stand-ins (surrogates)").fill("zoo:identity-plain")
    expect(button).to_be_enabled()


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_the_first_screen_shows_an_example_that_can_be_compared(
    browser: Browser, url: str, width: int, height: int
) -> None:
    visit = Visit(browser, url, width, height)
    stage = visit.page.locator("#example .stage")
    box = stage.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= height
    stage.get_by_role("slider").focus()
    visit.page.keyboard.press("Home")
    assert clip(stage.locator(".after")) in {"inset(0px)", "inset(0px 0px 0px 0%)"}
    expect(visit.page.locator("#example .answers tbody tr").first).to_contain_text("still reads it")
    upload(visit.page, ("one.png", PHOTO))
    expect(visit.page.locator("#example")).to_be_hidden()
    visit.context.close()


def test_the_preview_follows_the_slider_before_the_work(visit: Visit) -> None:
    tab = visit.page
    upload(tab, ("one.png", PHOTO), ("two.png", samples()[0][1]))
    told, canvas = tab.locator("#preview-told"), tab.locator("#preview canvas")
    expect(tab.locator("#preview .of")).to_have_text("one.png")
    expect(told).to_contain_text("Colored: where the photo may change")
    colored = []
    for key in ("Home", "End"):
        tab.get_by_role("slider", name="Visibility").press(key)
        colored.append(canvas.evaluate(COLORED))
    assert 0 <= colored[0] < colored[1]
    tab.get_by_role("radio", name="The photo").check()
    expect(told).to_have_text("The photo as it is.")
    tab.get_by_role("radio", name="How a change looks").check()
    expect(told).to_contain_text("Random noise of that size")
    expect(canvas).to_have_accessible_name(re.compile("^one.png. Random noise"))
    tab.get_by_role("button", name="Preview two.png").click()
    expect(tab.locator("#preview .of")).to_have_text("two.png")
    assert visit.errors == []


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


def test_a_missing_model_is_reported_and_stop_stops(visit: Visit) -> None:
    tab = visit.page
    tab.get_by_role("button", name="Try it").click()
    expect(tab.locator("#photos .card")).to_have_count(2)
    expect(tab.get_by_role("radio", name="Rendered portraits")).to_be_checked()
    tab.get_by_role("radio", name="Models of my own").check()
    tab.get_by_label("Authorized model").fill("python:os:getcwd")
    tab.get_by_label("Stand-ins (surrogates)").fill("zoo:emotion-plain\nzoo:emotion-depthwise")
    start(tab, "1000", "Models of my own")
    expect(tab.locator(".alert p")).to_contain_text("add --allow-python if you trust it")
    tab.get_by_label("Authorized model").fill("https://example.org/v2/models/net")
    tab.get_by_role("button", name="Protect").click()
    expect(tab.locator(".alert p")).to_contain_text("sends photos nowhere")
    tab.get_by_label("Authorized model").fill("zoo:emotion-vit")
    tab.get_by_role("button", name="Protect").click()
    expect(tab.get_by_role("list", name="Stages of a photo").get_by_role("listitem")).to_have_count(4)
    expect(tab.locator("#doing")).to_contain_text("Photo 1 of 2, step ", timeout=RUN)
    expect(tab.get_by_role("progressbar")).to_be_visible()
    expect(tab.locator(".alert")).to_have_count(0)
    expect(tab.get_by_role("button", name="Remove portrait-dario.png")).to_be_disabled()
    tab.get_by_role("button", name="Stop").click()
    expect(tab.locator("#outcome")).to_have_text("Stopped. 0 of 2 photos protected.")
    expect(tab.get_by_role("button", name="Protect")).to_be_enabled()
    expect(tab.locator("#photos .pill")).to_have_text(["ready", "ready"])


def test_visibility_is_described_in_words_and_moved_by_keys(visit: Visit) -> None:
    slider, words = visit.page.get_by_role("slider", name="Visibility"), visit.page.locator("#meaning")
    expect(words).to_have_text(sentence(STRENGTHS["medium"].meaning))
    for key, level, told in (
        ("Home", "SSIM \N{GREATER-THAN OR EQUAL TO} 0.99", "Less than low"),
        ("ArrowRight", "SSIM \N{GREATER-THAN OR EQUAL TO} 0.98", sentence(STRENGTHS["low"].meaning)),
        ("ArrowRight", "SSIM \N{GREATER-THAN OR EQUAL TO} 0.97", "Between low"),
        ("End", "SSIM \N{GREATER-THAN OR EQUAL TO} 0.85", "More than high"),
    ):
        slider.press(key)
        expect(visit.page.locator("#limit")).to_have_text(level)
        expect(words).to_contain_text(told)
    visit.page.get_by_role("button", name="high").press("Enter")
    expect(words).to_have_text(sentence(STRENGTHS["high"].meaning))
    expect(visit.page.get_by_role("button", name="high")).to_have_attribute("aria-pressed", "true")
    expect(slider).to_have_attribute("aria-valuetext", "high, SSIM \N{GREATER-THAN OR EQUAL TO} 0.90")
    visit.page.get_by_role("radio", name="Rendered portraits").check()
    expect(visit.page.get_by_role("button", name="medium")).to_have_attribute("aria-pressed", "true")


def sentence(text: str) -> str:
    return text[0].upper() + text[1:]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_narrow_screen_and_its_words_can_be_read(browser: Browser, url: str, scheme: str) -> None:
    visit = Visit(browser, url, width=400)
    visit.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for summary in visit.page.locator("summary").all():
        summary.click()
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 400
    faint = visit.page.evaluate(
        CONTRAST, ["h1", ".hint", "legend", ".drop small", "summary", ".chips button", "th", ".choices small", "#why"]
    )
    assert faint == []
    visit.context.close()


# how many pixels of a canvas are as red as the map of the bound, and hardly any other is
COLORED = """canvas => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let at = 0; at < data.length; at += 4) count += data[at] - data[at + 2] > 100;
  return count;
}"""
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


def test_the_file_that_opens_the_browser_leads_to_the_page(browser: Browser, url: str, tmp_path: Path) -> None:
    """To a browser the file is another site, after which it sends no strict cookie."""
    path = tmp_path / "open.html"
    path.write_text(REDIRECT_PAGE.format(url=url), encoding="utf-8")
    context = browser.new_context()
    context.set_default_timeout(1000 * PATIENCE)
    tab = context.new_page()
    tab.goto(path.as_uri())
    tab.wait_for_selector("body.ready")
    assert urlsplit(url).path not in tab.url
    tab.reload()
    tab.wait_for_selector("body.ready")
    context.close()
