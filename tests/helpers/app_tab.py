"""A tab of the page in a real browser."""

from patience import PATIENCE
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from onlymymodel.app.samples import samples

PHOTO = samples()[1][1]  # a portrait that these few steps protect
STEPS = "40"


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


def upload(page: Page, *files: tuple[str, bytes]) -> None:
    payloads: list[FilePayload] = [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files]
    page.locator("#files").set_input_files(payloads)


def start(page: Page, steps: str = STEPS, choice: str = "Rendered portraits") -> None:
    # a photo that is still being added moves what is below it, and a click would miss
    expect(page.locator("#photos .card").first).to_be_visible(timeout=1000 * PATIENCE)
    page.get_by_role("radio", name=choice).check()
    page.get_by_text("More settings", exact=True).click()
    page.get_by_label("Steps of the optimizer").fill(steps)
    page.get_by_label("Largest change of a pixel").fill("16")
    page.get_by_role("button", name="Protect").click()


def clip(picture: Locator) -> str:
    return str(picture.evaluate("one => getComputedStyle(one).clipPath"))
