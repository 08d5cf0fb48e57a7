"""What moves is seen as it moves: a store of another process, from its beginning to its end, without a reload."""

import re
from collections.abc import Iterator

import pytest

from browser.conftest import Windows
from e2e import trees
from e2e.cluster import Cluster, spread_cluster

expect = pytest.importorskip("playwright.sync_api", reason="no playwright here: ./test.sh --all installs it").expect
pytestmark = pytest.mark.browser

MEGABYTES = 240


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("live") / "cluster"
    with spread_cluster(root, nodes=3, more="discovery: {mdns: false, broadcast: false}\n") as cluster:
        yield cluster


def test_a_store_elsewhere_is_seen_from_its_beginning_to_its_end(cluster: Cluster, windows: Windows) -> None:
    path = cluster.root / "big.bin"
    with path.open("wb") as file:
        for number in range(MEGABYTES // 8):
            file.write(trees.noise(8_000_000, seed=number))
    page = windows(cluster).open()
    expect(page.locator("#idle")).to_be_visible()
    loads = page.evaluate("performance.getEntriesByType('navigation').length")
    program = cluster.begin("store", path, "--name", "live/big")
    row = page.locator("#running .transfer", has_text="live/big")
    expect(row).to_contain_text(re.compile(r"iB of 229 MiB.*[1-9][\d.]* [KM]iB/s"))
    expect(row).to_contain_text("waiting for")
    expect(row.locator(".bar")).to_have_attribute("aria-label", re.compile(r"\d+ % of live/big"))
    victim = cluster.nodes["a"].handle
    victim.freeze()  # so that it stands still long enough to be seen waiting
    expect(row).to_contain_text("waiting for a")
    victim.resume()
    assert program.wait(120).code == 0
    expect(row).to_have_count(0)
    expect(page.locator("#idle")).to_be_visible()
    ended = page.locator("#ended li", has_text="live/big")
    expect(ended).to_contain_text(re.compile(r"done Store live/big from .*: 229 MiB in [\d.]+ s"))
    expect(page.locator(".run", has_text="live")).to_be_visible()
    expect(page.locator("#throughput-words")).to_contain_text(re.compile(r"(most was|Now) [\d.]+ [KM]iB/s"))
    expect(page.locator("#machines .moves").first).to_contain_text("/s")
    assert page.evaluate("performance.getEntriesByType('navigation').length") == loads


def test_what_failed_elsewhere_says_why(cluster: Cluster, windows: Windows) -> None:
    path = trees.write(cluster.root / "small.bin", trees.noise(100_000, seed=3))
    cluster.done("store", path, "--name", "live/small")
    page = windows(cluster).open()
    expect(page.locator("#ended li", has_text="Store live/small")).to_contain_text("done")
    trees.write(cluster.root / "taken/small.bin", b"somebody else's")
    assert cluster.cli("gather", "live/small", "--to", cluster.root / "taken").code != 0
    failed = page.locator("#ended li", has_text="Gather live/small")
    expect(failed.locator(".pill.bad")).to_have_text("failed")
    expect(failed).to_contain_text("exists")
