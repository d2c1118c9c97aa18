"""Tests that open every page of the site in Chromium, on a desktop and on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from playwright.sync_api import Browser, Page

from tests.site.conftest import SITE

PAGES = sorted(
    f"/{path.parent.relative_to(SITE).as_posix()}/".replace("/./", "/")
    for path in SITE.rglob("index.html")
)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(base_url=address, viewport=request.param)
    yield context.new_page()
    context.close()


def test_site_has_the_pages_of_docs() -> None:
    assert len(PAGES) > 70


def test_every_page_loads_without_errors_and_fits_the_screen(page: Page, address: str) -> None:
    faults: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: faults.append(f"{message.type} {message.text}"))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    for path in PAGES:
        response = page.goto(path)

        assert response is not None
        assert response.ok, path
        assert page.locator("h1").first.inner_text(), path
        overflow = page.evaluate("document.scrollingElement.scrollWidth - window.innerWidth")
        assert overflow <= 0, f"{path} is {overflow} pixels too wide"

    assert [each for each in requests if not each.startswith(address)] == []
    assert faults == []


def test_every_link_of_every_page_leads_to_a_page_and_to_its_heading(
    browser: Browser, address: str
) -> None:
    page = browser.new_page(base_url=address)
    links: dict[str, str] = {}
    headings: dict[str, set[str]] = {}
    for path in PAGES:
        page.goto(path)
        headings[path] = set(page.eval_on_selector_all("[id]", "all => all.map(e => e.id)"))
        for link in page.eval_on_selector_all("a[href]", "all => all.map(e => e.href)"):
            if link.startswith(address):
                links.setdefault(link.removeprefix(address), path)
    page.close()

    dead = [
        f"{link} on {source}"
        for link, source in links.items()
        if not _leads_somewhere(link, headings)
    ]

    assert len(links) > 2000
    assert dead == []


def _leads_somewhere(link: str, headings: dict[str, set[str]]) -> bool:
    target, fragment = urldefrag(link)
    if target in headings:
        return not fragment or unquote(fragment) in headings[target]
    return not fragment and Path(f"{SITE}{unquote(target)}").is_file()


def test_mode_can_be_switched_to_dark(page: Page) -> None:
    page.goto("/")
    body, seen = page.locator("body"), set()
    for _ in range(3):
        page.locator("label.md-header__button[title^='Switch']:visible").first.click()
        seen.add(body.get_attribute("data-md-color-scheme"))

    assert seen == {"default", "slate"}


def test_reader_walks_from_the_home_page_to_the_last_page_by_the_links_to_the_next(
    browser: Browser, address: str
) -> None:
    page = browser.new_page(base_url=address)
    page.goto("/")
    steps = 1
    while (link := page.locator("a.md-footer__link--next")).count():
        with page.expect_navigation():
            link.click()
        steps += 1
    page.close()

    decisions = [path for path in PAGES if re.match(r"/adr/.", path)]
    assert steps == len(PAGES) - len(decisions)


def test_search_finds_a_page_by_a_word(browser: Browser, address: str) -> None:
    page = browser.new_page(base_url=address)
    page.goto("/")
    page.keyboard.press("Control+k")
    page.keyboard.type("inbox")

    page.get_by_text("Outbox and inbox").last.wait_for()
    page.close()
