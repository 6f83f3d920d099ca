"""The page in a real browser: drawn whole, in every light and size, without a word on the console."""

from __future__ import annotations

import pytest
from test_report import examples, lock, runs

from curate.report import layout
from curate.report.facts import facts

SEEN = """
const box = e => e.getBoundingClientRect();
return {
  figures: [...document.querySelectorAll("svg")].filter(e => !e.closest("details:not([open])"))
    .map(e => [box(e).width, box(e).height, e.querySelectorAll("path, rect").length]),
  page: [document.documentElement.scrollWidth, window.innerWidth],
  paper: getComputedStyle(document.body).backgroundColor,
  requests: performance.getEntriesByType("resource").map(e => e.name),
  unlabelled: [...document.querySelectorAll("svg, nav, [role=region]")].filter(e => !e.getAttribute("aria-label")).length,
};
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return layout.write(folder, facts(lock(), runs(folder / "runs"), examples()))


def look(browser, page, scheme: str = "light", width: int = 1200) -> dict:
    shown = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shown)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(page.as_uri())
    return browser.execute_script(SEEN)


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn_and_nothing_is_wider_than_the_screen(browser, page, scheme, width):
    seen = look(browser, page, scheme, width)
    assert len(seen["figures"]) >= 4
    assert all(w > 200 and h > 40 and shapes > 3 for w, h, shapes in seen["figures"])
    assert seen["page"][0] <= seen["page"][1]
    assert seen["unlabelled"] == 0


def test_dark_is_dark_and_light_is_light(browser, page):
    paper = [look(browser, page, scheme)["paper"] for scheme in ("light", "dark")]
    light, dark = (sum(map(int, colour.strip("rgb()").split(","))) for colour in paper)
    assert light > 600
    assert dark < 200


def test_the_console_is_silent_and_nothing_is_asked_of_the_network(browser, page):
    browser.get_log("browser")
    seen = look(browser, page)
    assert [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]] == []
    assert seen["requests"] == []


def test_the_page_can_be_walked_with_the_keyboard(browser, page):
    from selenium.webdriver.common.keys import Keys

    look(browser, page)
    reached = set()
    for _ in range(60):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.add(browser.switch_to.active_element.tag_name)
    assert {"a", "summary", "div"} <= reached


def test_a_page_with_its_documents_stays_small(page):
    assert page.stat().st_size < 6e6
