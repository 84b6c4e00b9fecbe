"""The browser that pages are looked at in: the Chromium of the system, without a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from tests.tools import chromium


@contextmanager
def chromium_running() -> Iterator[Browser]:
    """The browser, which costs a second to start: one for all tests of a process (the fixture `browser`)."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield running
        running.close()


@contextmanager
def page_of(browser: Browser, file: Path, **options: Any) -> Iterator[Page]:
    """The file in a window. A request for anything else, an error of the page or a word on its console fails the test.

    `options`: as playwright's `new_page` takes them (viewport, color_scheme, ...).
    """
    said: list[str] = []
    page = browser.new_page(**options)
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith("file:") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.goto(file.absolute().as_uri())
    try:
        yield page
    finally:
        page.close()
    assert said == []


def accessibility_violations(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.1 A and AA: rule and element."""
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": tags}}).response["violations"]
    return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]
