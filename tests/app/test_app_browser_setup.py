"""The page in a real browser before a run: uploads, the first screen, preview, visibility, and narrow screens."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from app_client import coded
from app_tab import PHOTO, Visit, clip, upload
from PIL import Image
from playwright.sync_api import Browser, expect

from onlymymodel.app.samples import samples
from onlymymodel.data.portraits import render
from onlymymodel.protect.budget.strengths import STRENGTHS


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


def test_the_preview_follows_the_region(visit: Visit) -> None:
    tab = visit.page
    ground = np.asarray(Image.effect_noise((512, 256), 60).convert("RGB")).copy()
    ground[:, :256] = np.asarray(Image.open(io.BytesIO(samples()[0][1])).convert("RGB").resize((256, 256)))
    upload(tab, ("portrait.png", coded(ground)))
    told, canvas = tab.locator("#preview-told"), tab.locator("#preview canvas")
    expect(told).to_contain_text("Colored: where the photo may change")
    whole = canvas.evaluate(COLORED)
    tab.get_by_text("More settings").click()
    tab.get_by_role("radio", name=re.compile("^Faces only")).check()
    expect(told).to_contain_text("in the faces alone")
    assert 0 < canvas.evaluate(COLORED) < whole
    upload(tab, ("plain.png", coded(ground[:, 300:])))
    tab.get_by_role("button", name="Preview plain.png").click()
    expect(told).to_have_text("No face was found: with this region the photo is skipped.")
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


def test_a_folder_that_is_dropped_is_named_and_the_photo_beside_it_is_added(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "one.png").write_bytes(PHOTO)
    files = [str(tmp_path / name) for name in ("holiday", "one.png")]
    devtools = visit.context.new_cdp_session(visit.page)  # a script cannot drop a folder
    for event in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": files, "dragOperationsMask": 1}
        devtools.send("Input.dispatchDragEvent", {"type": event, "x": 200, "y": 200, "data": data})
    told = "holiday: it cannot be read; of a folder, drop the photos in it"
    expect(visit.page.locator(".alert p")).to_have_text([told])
    expect(visit.page.locator("#photos h3")).to_have_text(["one.png"])


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
