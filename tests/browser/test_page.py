"""The page of a healthy cluster, in a real browser: what it shows, to whom, and on which screens."""

import re
from collections.abc import Iterator

import pytest

from browser.conftest import Windows
from browser.window import PHONE, expect_accessible, find_axe
from e2e import trees
from e2e.cluster import Cluster, spread_cluster

expect = pytest.importorskip("playwright.sync_api", reason="no playwright here: ./test.sh --all installs it").expect
pytestmark = pytest.mark.browser

MORE = "discovery: {mdns: false, broadcast: false}\nwatch: [{path: ./watched, name: seen}]\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with spread_cluster(tmp_path_factory.mktemp("page") / "cluster", nodes=4, more=MORE) as cluster:
        for step in (1, 2):
            path = trees.write(cluster.root / f"step-{step}.safetensors", trees.model([300_000, 9_000_000], seed=step))
            cluster.done("store", path, "--name", f"qwen/step-{step}000")
        cluster.done("store", cluster.root / "step-1.safetensors", "--name", "gpt2/step-1")
        whole = trees.model([50_000], seed=9)
        trees.write(cluster.root / "watched/half.safetensors", whole[: len(whole) // 2])
        yield cluster


def test_a_healthy_cluster_says_so_and_shows_all_of_it(cluster: Cluster, windows: Windows) -> None:
    page = windows(cluster).open()
    expect(page.locator("h1")).to_have_text("All is well: 3 checkpoints, each with every copy asked, on 4 nodes.")
    expect(page.locator("body")).to_have_class("good")
    expect(page.locator("#doing")).to_be_hidden()
    expect(page.locator("#facts")).to_contain_text("2 copies each")
    expect(page.locator("#machines .card .pill")).to_have_text(["alive"] * 4)
    expect(page.locator("#machines .card").first).to_contain_text("free")
    expect(page.locator(".run summary .name").first).to_have_text("gpt2")
    expect(page.locator(".versions .pill")).to_have_text(["healthy"] * 3)
    expect(page.locator("#watching")).to_contain_text("half.safetensors")
    expect(page.locator("#watching dd")).not_to_be_empty()
    expect(page.locator("#events")).to_contain_text("d is in")
    page.get_by_role("button", name="Copies of qwen/step-2000").click()
    shown = page.locator(".where")
    expect(shown.get_by_role("listitem").first).to_have_attribute("aria-label", re.compile(r"has \d of \d chunks, .*"))
    expect(shown.locator(".saved")).to_contain_text("saved by compression")


def test_charts_are_drawn_and_said_in_words_and_numbers(cluster: Cluster, windows: Windows) -> None:
    page = windows(cluster).open()
    for name in ("throughput", "space", "failures"):
        expect(page.locator(f"#{name} canvas")).to_be_visible()
    expect(page.locator("#space-words")).to_contain_text("is the fullest with")
    expect(page.locator("#failures-words")).to_contain_text("None in this time")
    expect(page.get_by_role("img", name=re.compile("is the fullest with"))).to_be_visible()
    page.locator("#space summary").click()
    expect(page.locator("#space thead th.number")).to_have_count(4)
    expect(page.locator("#space tbody tr").first).to_contain_text("iB")
    page.get_by_label("The last").select_option("7 days")
    expect(page.locator("#space tbody tr").first).to_be_visible()


def test_the_list_is_filtered_as_one_types(cluster: Cluster, windows: Windows) -> None:
    page = windows(cluster).open()
    page.get_by_label("Find").fill("step-1000")
    expect(page.locator(".versions .version")).to_have_count(1)
    page.get_by_label("Find").fill("nothing like it")
    expect(page.locator("#runs")).to_have_text("No checkpoint has that in its name.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(cluster: Cluster, windows: Windows, scheme: str) -> None:
    axe = find_axe()
    window = windows(cluster)
    page = window.open(scheme=scheme)
    page.get_by_role("button", name="Copies of gpt2/step-1").click()
    expect(page.locator(".where .saved")).to_be_visible()
    page.locator("#space summary").click()
    expect_accessible(page, axe)
    page.get_by_role("button", name="Store a path…").click()
    expect_accessible(page, axe)
    page.goto(f"{window.url}docs")
    expect(page.get_by_role("heading", name="POST /api/v1/gather")).to_be_visible()
    expect_accessible(page, axe)


def test_all_is_reached_by_keyboard_and_nothing_takes_the_focus_away(cluster: Cluster, windows: Windows) -> None:
    page = windows(cluster).open()
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the checkpoints")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Find")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("summary:focus")).to_contain_text("gpt2")
    page.keyboard.press("Enter")
    expect(page.locator("details.run").first).not_to_have_attribute("open", "")
    page.keyboard.press("Enter")
    expect(page.locator("details.run").first.locator(".version")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Enter")
    expect(page.locator(":focus")).to_have_attribute("aria-expanded", "true")
    expect(page.locator(".where .saved")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Verify gpt2/step-1@")).to_be_visible()
    for _ in range(4):
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        )
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    for _ in range(2):  # it looks again, and shows what it saw before
        with page.expect_response("**/api/v1/status"):
            pass
    expect(page.locator("button:focus")).to_have_attribute("aria-label", re.compile("Verify… gpt2/step-1@"))
    expect(page.locator(".where .saved")).to_be_visible()


@pytest.mark.parametrize("width", [PHONE[0], 320])
def test_it_fits_a_phone(cluster: Cluster, windows: Windows, width: int) -> None:
    page = windows(cluster).open(size=(width, PHONE[1]))
    page.get_by_role("button", name="Copies of qwen/step-2000").click()
    expect(page.locator(".where .saved")).to_be_visible()
    expect(page.locator("#space canvas")).to_be_visible()
    page.get_by_role("button", name="Remove… qwen/step-2000").click()
    expect(page.get_by_role("dialog")).to_be_in_viewport()
    page.keyboard.press("Escape")
    wide = page.evaluate("""() => [...document.querySelectorAll('body *')]
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.scroll, .skip, .plot'))
        .map((one) => one.outerHTML.slice(0, 90))""")
    assert not wide
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = page.evaluate("""() => [...document.querySelectorAll('main button')]
        .map((one) => one.getBoundingClientRect()).filter((box) => box.height && box.height < 32).length""")
    assert not small, "buttons that no finger hits"
