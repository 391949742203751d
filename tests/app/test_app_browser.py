"""The page in a real browser: upload, run, download, and no request to another host."""

import io
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from app_client import Client
from app_tab import PHOTO, STEPS, Visit, clip, start, upload
from patience import PATIENCE, RUN_PATIENCE, wait_until
from playwright.sync_api import Browser, Locator, Page, expect

from onlymymodel.app.server import REDIRECT_PAGE
from onlymymodel.data.image_io import decode

RUN = 1000 * RUN_PATIENCE  # ms
NAME = "jo's \N{LATIN SMALL LETTER U WITH DIAERESIS} #1 & 2.png"


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
