"""A real browser before a coordinator's page, that remembers every request and everything said on the console."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

DESK = (1200, 900)
PHONE = (390, 844)
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
LIMIT_MS = 30_000
GRAVE = ("serious", "critical")


def find_chromium() -> str:
    """The browser of this machine. Skips the test where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium here: apt-get install chromium")


def find_axe() -> str:
    """The text of axe-core, which `./test.sh --all` brings. Skips the test where it is not."""
    place = Path(os.environ.get("ROOST_AXE") or Path(sys.prefix, "axe-core", "package", "axe.min.js"))
    if not place.exists():
        pytest.skip(f"no axe-core at {place}: ./test.sh --all brings it by npm")
    return place.read_text()


class Window:
    """Pages of one coordinator, at `url`. What a page asks of another host, or complains of, is in `strange` and
    `complaints`."""

    def __init__(self, browser: "Browser", url: str) -> None:
        self.url = url
        self.strange: list[str] = []
        self.complaints: list[str] = []
        self.requests = 0
        self._browser = browser

    def open(self, *, size: tuple[int, int] = DESK, scheme: Any = "light") -> "Page":
        """A page of its own, once it shows the machines."""
        width, height = size
        context = self._browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce", locale="en-GB"
        )
        context.set_default_timeout(LIMIT_MS)
        context.on("request", self._asked)
        page = context.new_page()
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.url)
        page.wait_for_selector("#machines .card h3")
        return page

    def _asked(self, request: "Request") -> None:
        self.requests += 1
        place = urlsplit(request.url)
        if place.scheme != "data" and place.netloc != urlsplit(self.url).netloc:
            self.strange.append(request.url)

    def _said(self, message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def expect_quiet(self) -> None:
        """Nothing was asked of another host, and nothing complained of."""
        assert self.requests, "no request was seen, so nothing was looked at"
        assert not self.strange, f"asked of other hosts: {self.strange}"
        assert not self.complaints, f"said on the console: {self.complaints}"


def expect_accessible(page: "Page", axe: str) -> None:
    """axe-core finds nothing serious or critical in the page as it is now."""
    page.evaluate(axe)
    found: Mapping[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert found["passes"] or found["incomplete"], "axe looked at nothing"
    bad = [
        f"{each['id']} ({each['impact']}): {each['help']}: {[node['target'] for node in each['nodes']][:5]}"
        for each in found["violations"]
        if each["impact"] in GRAVE
    ]
    assert not bad, "\n".join(bad)
