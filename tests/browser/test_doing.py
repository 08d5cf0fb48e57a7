"""Each thing that can be done on the page, through its question, and what becomes of it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser.conftest import Windows
from e2e import trees
from e2e.cluster import Cluster, spread_cluster

if TYPE_CHECKING:
    from playwright.sync_api import Page

expect = pytest.importorskip("playwright.sync_api", reason="no playwright here: ./test.sh --all installs it").expect
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("doing") / "cluster"
    with spread_cluster(root, nodes=4, more="discovery: {mdns: false, broadcast: false}\n") as cluster:
        yield cluster


def stored(cluster: Cluster, name: str, *, seed: int) -> Path:
    path = trees.write(cluster.root / f"{seed}.safetensors", trees.model([200_000], seed=seed))
    cluster.done("store", path, "--name", name)
    return path


def press(page: "Page", name: str) -> None:
    page.get_by_role("button", name=name).first.click()
    expect(page.get_by_role("dialog")).to_be_visible()


def agree(page: "Page", name: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_store_and_gather_with_a_path_each(cluster: Cluster, windows: Windows, tmp_path: Path) -> None:
    source = trees.write(tmp_path / "new.safetensors", trees.model([200_000], seed=11))
    page = windows(cluster).open()
    press(page, "Store a path…")
    page.get_by_label("Path on that machine").fill(str(source))
    page.get_by_label("Name, like").fill("work/paths-1")
    agree(page, "Store")
    expect(page.locator("#notices")).to_contain_text(re.compile(r"Store work/paths-1: stored as .*, 2 copies"))
    press(page, "Gather… work/paths-1")
    page.get_by_label("Folder on that machine").fill(str(tmp_path / "back"))
    agree(page, "Gather")
    expect(page.locator("#notices li.good").first).to_contain_text(str(tmp_path / "back"))
    assert trees.tree_of(tmp_path / "back/new.safetensors") == trees.tree_of(source)


def test_what_cannot_be_done_is_said_and_goes_when_it_was_read(
    cluster: Cluster, windows: Windows, tmp_path: Path
) -> None:
    source = stored(cluster, "work/refused-1", seed=12)
    trees.write(tmp_path / source.name, b"somebody else's")
    page = windows(cluster).open()
    press(page, "Gather… work/refused-1")
    page.get_by_label("Folder on that machine").fill(str(tmp_path))
    agree(page, "Gather")
    notice = page.locator("#notices li.bad")
    expect(notice).to_contain_text("exists")
    assert (tmp_path / source.name).read_bytes() == b"somebody else's"
    notice.get_by_role("button").click()
    expect(page.locator("#notices li")).to_have_count(0)


def test_verify_reads_every_copy_back(cluster: Cluster, windows: Windows) -> None:
    stored(cluster, "work/verified-1", seed=13)
    page = windows(cluster).open()
    expect(page.locator(".version", has_text="verified-1")).to_contain_text("not verified yet")
    press(page, "Verify… work/verified-1")
    expect(page.get_by_label("Read every copy back")).to_be_checked()
    agree(page, "Verify")
    expect(page.locator("#notices")).to_contain_text("1 checkpoint healthy")
    expect(page.get_by_role("listitem").filter(has=page.get_by_label("Verify… work/verified-1"))).to_contain_text(
        "verified just now"
    )
    press(page, "Verify all…")
    agree(page, "Verify")
    expect(page.locator("#notices li").first).to_contain_text(re.compile(r"[2-9] checkpoints healthy"))


def test_nothing_is_done_without_a_yes(cluster: Cluster, windows: Windows) -> None:
    stored(cluster, "work/kept-1", seed=14)
    page = windows(cluster).open()
    for button in ("Remove… work/kept-1", "Drain… b", "Repair now…"):
        press(page, button)
        expect(page.locator("#dialog-more")).not_to_contain_text("Looking at what that means")
        page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("dialog")).to_be_hidden()
    press(page, "Gather… work/kept-1")
    page.get_by_role("dialog").get_by_role("button", name="Gather", exact=True).click()
    expect(page.get_by_role("dialog")).to_be_visible()  # a folder is required
    page.keyboard.press("Escape")
    expect(page.locator("#notices li")).to_have_count(0)
    assert "work/kept-1" in {row["name"] for row in cluster.done("ls")["checkpoints"]}
    assert {row["state"] for row in cluster.rows().values()} == {"alive"}


def test_remove_and_undelete(cluster: Cluster, windows: Windows) -> None:
    stored(cluster, "work/removed-1", seed=15)
    page = windows(cluster).open()
    press(page, "Remove… work/removed-1")
    expect(page.locator("#dialog-more")).to_contain_text("Kept for 7 d; then")
    agree(page, "Remove")
    expect(page.locator("#notices")).to_contain_text("can be brought back for 7 d")
    expect(page.get_by_label("Remove… work/removed-1")).to_have_count(0)
    assert "work/removed-1" not in {row["name"] for row in cluster.done("ls")["checkpoints"]}
    page.locator("#removed-section summary").click()
    press(page, "Undelete… work/removed-1")
    expect(page.locator("#dialog-more")).to_contain_text("2 copies of everything are still there")
    agree(page, "Undelete")
    expect(page.locator("#notices li.good").first).to_contain_text("back as work/removed-1@2-")
    expect(page.get_by_label("Remove… work/removed-1")).to_have_count(1)
    assert "work/removed-1" in {row["name"] for row in cluster.done("ls")["checkpoints"]}


def test_drain_empties_a_machine(cluster: Cluster, windows: Windows) -> None:
    stored(cluster, "work/drained-1", seed=16)
    page = windows(cluster).open()
    press(page, "Drain… d")
    expect(page.locator("#dialog-more")).to_contain_text("to copy")
    agree(page, "Drain")
    expect(page.locator("#notices")).to_contain_text("Drain d: it is left")
    expect(page.get_by_role("article", name="d").locator(".pill")).to_have_text("left")
    expect(page.locator("h1")).to_contain_text("All is well")
    assert cluster.rows()[cluster.nodes["d"].id]["state"] == "left"
