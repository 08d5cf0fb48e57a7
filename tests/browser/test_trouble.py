"""The page when a machine is away, when copies are gone, and when nobody answers."""

import re
from collections.abc import Iterator

import pytest

from browser.conftest import Windows
from browser.window import expect_accessible, find_axe
from e2e import trees
from e2e.cluster import Cluster, flip, spread_cluster

expect = pytest.importorskip("playwright.sync_api", reason="no playwright here: ./test.sh --all installs it").expect
pytestmark = pytest.mark.browser

SEEN_MS = 60_000
"""Until a machine counts as down, and the coordinator has looked."""


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("trouble") / "cluster"
    with spread_cluster(root, nodes=4, more="discovery: {mdns: false, broadcast: false}\n") as cluster:
        for name, redundancy in (("two/step-1", "2"), ("three/step-1", "3")):
            path = trees.write(cluster.root / f"{redundancy}.bin", trees.noise(300_000, seed=int(redundancy)))
            cluster.done("store", path, "--name", name, "--redundancy", redundancy)
        yield cluster


def holders(cluster: Cluster, name: str) -> list[str]:
    """The nodes that have all chunks of a checkpoint of one chunk."""
    [chunk] = cluster.done("show", name)["chunks"]
    return sorted(chunk["nodes"])


def test_a_machine_that_goes_is_told_with_what_is_done_and_repair_now_mends_it(
    cluster: Cluster, windows: Windows
) -> None:
    page = windows(cluster).open()
    expect(page.locator("h1")).to_contain_text("All is well: 2 checkpoints")
    gone = next(iter(set(holders(cluster, "two/step-1")) & set(holders(cluster, "three/step-1"))))
    cluster.nodes[gone].handle.kill()
    expect(page.locator("h1")).to_contain_text("2 of 2 checkpoints have fewer copies than asked", timeout=SEEN_MS)
    expect(page.locator("h1")).to_contain_text("1 of them only one loss away from being lost")
    expect(page.locator("body")).to_have_class("bad")
    expect(page.locator("#doing")).to_contain_text(f"Waiting 10 min for {gone} to come back")
    expect(page.locator("#problems")).to_contain_text(f"{gone} is down")
    expect(page.locator("#machines .card", has_text=f"{gone}").filter(has_text="down")).to_be_visible()
    expect(page.locator(".run", has_text="three").locator(".versions .pill")).to_have_text("degraded")
    expect(page.locator(".run", has_text="two").locator(".versions .pill")).to_have_text("one loss from lost")
    page.get_by_role("button", name="Repair now…").click()
    expect(page.locator("#dialog-more")).to_contain_text("2 copies to make")
    page.get_by_role("dialog").get_by_role("button", name="Repair", exact=True).click()
    expect(page.locator("#notices")).to_contain_text("2 copies made", timeout=SEEN_MS)
    expect(page.locator("h1")).to_contain_text("what is stored has all its copies", timeout=2 * SEEN_MS)
    expect(page.locator("#doing")).to_be_hidden()
    expect(page.locator("#failures-words")).to_contain_text("1 failure")


def test_it_is_said_to_everybody(cluster: Cluster, windows: Windows) -> None:
    axe = find_axe()
    page = windows(cluster).open(scheme="dark")
    cluster.nodes["a"].handle.kill()
    expect(page.locator("#problems")).to_contain_text("a is down", timeout=SEEN_MS)
    expect_accessible(page, axe)


def test_what_is_lost_is_said_first(cluster: Cluster, windows: Windows) -> None:
    page = windows(cluster).open()
    expect(page.locator("h1")).to_contain_text("All is well: 2 checkpoints")
    [chunk] = cluster.done("show", "two/step-1")["chunks"]
    copies = cluster.copies(chunk["id"])
    assert len(copies) == 2
    for path in copies.values():
        flip(path, offset=100)
    page.get_by_role("button", name="Verify… two/step-1").click()
    page.get_by_role("dialog").get_by_role("button", name="Verify", exact=True).click()
    expect(page.locator("#notices")).to_contain_text("two/step-1 lost; 2 bad copies found")
    expect(page.locator("h1")).to_have_text("1 of 2 checkpoints is LOST: no good copy of some part is left.")
    expect(page.locator("body")).to_have_class("bad")
    expect(page).to_have_title(re.compile("^! Roost"))
    expect(page.locator("#doing")).to_contain_text("store it again from the source")
    expect(page.locator(".run", has_text="two").locator(".versions .pill")).to_have_text("lost")
    expect(page.locator("#machines .trouble").first).to_contain_text("1 bad copy found")
    page.get_by_role("button", name="Copies of two/step-1").click()
    expect(page.locator(".where .trouble")).to_have_text("1 chunk on no machine that answered")


def test_a_coordinator_that_ended_is_told_with_what_to_do(cluster: Cluster, windows: Windows) -> None:
    window = windows(cluster)
    page = window.open()
    cluster.stop()
    expect(page.locator("h1")).to_contain_text("The coordinator does not answer")
    expect(page.locator("#doing")).to_contain_text("roost start")
    expect(page.locator("body")).to_have_class("bad")
    window.complaints = [said for said in window.complaints if "ERR_" not in said]
