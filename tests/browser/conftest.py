"""A browser for each test, and the questions every page has to answer at the end of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from browser.window import FLAGS, LIMIT_MS, Window, find_chromium
from e2e.cluster import Cluster

Windows = Callable[[Cluster], Window]


@pytest.fixture
def windows() -> Iterator[Windows]:
    """Makes windows before the pages of clusters. In the end none of them may have asked anything of another host, or
    have said anything on the console."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here: ./test.sh --all installs it")
    sync_api.expect.set_options(timeout=LIMIT_MS)
    path = find_chromium()
    made: list[Window] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))

        def window(cluster: Cluster) -> Window:
            made.append(Window(browser, cluster.page()))
            return made[-1]

        yield window
        browser.close()
    for each in made:
        each.expect_quiet()


@pytest.fixture
def pictures(request: pytest.FixtureRequest) -> Path:
    """Where pictures for the documentation go. Skips the test unless they were asked for."""
    folder = request.config.getoption("--pictures")
    if folder is None:
        pytest.skip("makes pictures for docs/images: --pictures docs/images")
    return Path(folder)
