"""The live view without a terminal: what it says of clusters that are well and not, what its keys do, and its sizes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot

from roost.apps.tui.top import Top
from roost.client import FileRow
from roost.core.errors import Failed, Unreachable
from unit.apps.tui.showing import HEALTHY, RUNNING, Showing, lines, worse

SMALL, ROOMY = (80, 24), (160, 48)
LIMIT_S = 10.0
AGAIN_S = 0.1
Screen = Pilot[BaseException | None]


@asynccontextmanager
async def showing(source: Showing, size: tuple[int, int] = SMALL) -> AsyncIterator[tuple[Top, Screen]]:
    """The application on a terminal of that many columns and rows, which has looked once."""
    app = Top(source, every_s=AGAIN_S)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: source.looks > 0)
        yield app, pilot


async def until(pilot: Screen, holds: Callable[[], bool]) -> None:
    """Let the application go on until something holds."""
    async with asyncio.timeout(LIMIT_S):
        while not holds():
            await pilot.pause(AGAIN_S)


async def says(app: Top, pilot: Screen, text: str) -> bool:
    """Wait until `text` is on the screen; true then. TimeoutError when it does not come."""
    await until(pilot, lambda: is_on(app, text))
    return True


def is_on(app: Top, text: str) -> bool:
    return any(text in line for line in lines(app))


async def test_a_healthy_cluster_in_80_columns_and_24_rows() -> None:
    async with showing(Showing()) as (app, pilot):
        await says(app, pilot, "All is well: 3 checkpoints, each with every copy asked, on 2 nodes.")
        await says(app, pilot, "- qwen (3 checkpoints)")
        await says(app, pilot, "Quit")
        told = lines(app)
        steps = [line.split()[-1] for line in told if "step-" in line]
        assert steps == ["step-11", "step-10", "step-9"], "the newest first, as numbers"
        assert any("Checkpoints 3" in line and "Nodes 2" in line and "Waiting 1" in line for line in told)
        assert len(told) == 24
        assert max(map(len, told)) <= 80


@pytest.mark.parametrize(
    ("health", "said", "shown"),
    [
        ("degraded", "1 of 4 checkpoints has fewer copies than asked.", "degraded"),
        ("at-risk", "1 of them only one loss away", "at-risk"),
        ("lost", "1 of 4 checkpoints is LOST: no good copy of some part is left.", "LOST"),
    ],
)
async def test_a_cluster_that_is_not_well(health: str, said: str, shown: str) -> None:
    async with showing(Showing(worse(health, "pi-2 is down: not heard of for 3 min"))) as (app, pilot):
        await says(app, pilot, said.split(":")[0])
        await says(app, pilot, "! pi-2 is down: not heard of for 3 min")
        rows = [line for line in lines(app) if "gpt" in line]
        assert rows
        assert all(line.split()[0] == shown for line in rows), "in words, not by its colour alone"


async def test_many_problems_take_three_lines_and_a_key() -> None:
    source = Showing(worse("degraded", *(f"problem {number} {'x' * 100}" for number in range(9))))
    async with showing(source) as (app, pilot):
        await says(app, pilot, "! 7 more problems: press p")
        assert sum(line.startswith("!") for line in lines(app)) == 3
        await pilot.press("p")
        await says(app, pilot, "problem 8")
        await pilot.press("escape")
        await until(pilot, lambda: not is_on(app, "problem 8"))


async def test_a_cluster_that_cannot_be_reached_is_asked_again() -> None:
    source = Showing(error=Unreachable("none of 2 nodes answers", hint="are they on?"))
    async with showing(source) as (app, pilot):
        await says(app, pilot, "UNREACHABLE: none of 2 nodes answers. Trying again.")
        await says(app, pilot, "are they on?")
        source.error = None
        await says(app, pilot, "All is well")
        source.error = Unreachable("none of 2 nodes answers")
        await says(app, pilot, "What is below was known before.")
        assert is_on(app, "step-11")
        assert not is_on(app, "All is well"), "no verdict of before stands there as if it were of now"


async def test_an_error_that_nobody_expected_ends_it_and_is_told() -> None:
    app = Top(Showing(error=ValueError("a bug")), every_s=AGAIN_S)
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: app.return_value is not None)
    assert isinstance(app.return_value, ValueError)


async def test_enter_on_a_checkpoint_shows_its_files_and_the_map_of_its_copies() -> None:
    source = Showing()
    source.shown = replace(source.shown, files=(FileRow("evil\x1b[2J.bin", "f", 1, "cd" * 32),))
    async with showing(source) as (app, pilot):
        await says(app, pilot, "step-11")
        await pilot.press("down", "enter")
        await says(app, pilot, "evil\\x1b[2J.bin")
        assert source.asked == ["qwen/step-11@1-abcdef"]
        assert is_on(app, "1 of 1  [##########]  1.00 KiB")
        await pilot.press("escape")
        await until(pilot, lambda: not is_on(app, "1 of 1"))


async def test_a_checkpoint_that_cannot_be_shown_says_why() -> None:
    source = Showing()
    async with showing(source) as (app, pilot):
        await says(app, pilot, "step-11")
        source.error = Failed("it is gone", hint="see: roost ls")
        await pilot.press("down", "enter")
        await says(app, pilot, "it is gone")
        assert is_on(app, "see: roost ls")


async def test_enter_on_a_run_closes_and_opens_it() -> None:
    async with showing(Showing()) as (app, pilot):
        await says(app, pilot, "step-11")
        await pilot.press("enter")
        await until(pilot, lambda: not is_on(app, "step-11"))
        assert is_on(app, "+ qwen (3 checkpoints)")
        await pilot.press("enter")
        await says(app, pilot, "step-11")


async def test_the_filter() -> None:
    async with showing(Showing(worse("degraded"))) as (app, pilot):
        await says(app, pilot, "step-11")
        await pilot.press("slash", *"gpt")
        await until(pilot, lambda: not is_on(app, "step-11"))
        assert is_on(app, "gpt (1 checkpoint)")
        await pilot.press("enter", "q")  # in the table again, so that q is a key and not a letter
        await until(pilot, lambda: not app.is_running)


async def test_the_filter_that_matches_nothing_and_its_end() -> None:
    async with showing(Showing()) as (app, pilot):
        await pilot.press("slash", *"zzz")
        assert await says(app, pilot, "Nothing has that in it.")
        await pilot.press("escape")
        await says(app, pilot, "step-11")


async def test_every_panel_by_its_number() -> None:
    async with showing(Showing()) as (app, pilot):
        await pilot.press("2")
        await says(app, pilot, "2.00 MiB/s")
        await pilot.press("3")
        await says(app, pilot, "50 % of")
        assert is_on(app, "pi-1 does not answer"), "why it failed"
        await pilot.press("4")
        await says(app, pilot, "is still being written")
        await pilot.press("5")
        await says(app, pilot, "qwen/step-4 is stored")
        await pilot.press("enter")
        await says(app, pilot, "Back")
        await pilot.press("escape", "tab")
        await says(app, pilot, "qwen (3 checkpoints)")


async def test_enter_on_a_node_tells_all_of_it() -> None:
    async with showing(Showing()) as (app, pilot):
        await says(app, pilot, "step-11")
        await pilot.press("2", "enter")
        await says(app, pilot, "192.168.1.2:7400")
        assert is_on(app, "0" * 32)


async def test_elsewhere_than_at_the_coordinator() -> None:
    status = replace(HEALTHY.status, page="", coordinator_running=False, watching=())
    source = Showing(type(HEALTHY)(status, HEALTHY.checkpoints, HEALTHY.at))
    async with showing(source) as (app, pilot):
        await says(app, pilot, "no coordinator on this machine")
        for key in "345":
            await pilot.press(key)
            assert await says(app, pilot, "run roost top on its machine")


async def test_a_roomy_terminal_shows_everything_and_may_shrink() -> None:
    async with showing(Showing(), ROOMY) as (app, pilot):
        for text in ("step-11", "pi-2", "50 % of", "is still being written", "qwen/step-4 is stored"):
            await says(app, pilot, text)
        await pilot.resize_terminal(*SMALL)
        await until(pilot, lambda: not is_on(app, "50 % of"))
        assert is_on(app, "step-11")
        assert is_on(app, "Quit")


async def test_the_cursor_stays_on_its_row_while_rows_come() -> None:
    source = Showing()
    async with showing(source) as (app, pilot):
        await says(app, pilot, "step-11")
        await pilot.press("down", "down")
        source.snapshot = worse("degraded")  # a run more, above the others or below
        await says(app, pilot, "gpt")
        await pilot.press("enter")
        await until(pilot, lambda: source.asked != [])
        assert source.asked == ["qwen/step-10@1-abcdef"]


async def test_a_panel_that_was_empty_has_the_keys_once_it_has_rows() -> None:
    source = Showing(type(HEALTHY)(HEALTHY.status, (), HEALTHY.at))
    async with showing(source, ROOMY) as (app, pilot):
        await says(app, pilot, "Nothing is stored yet")
        source.snapshot = HEALTHY
        await says(app, pilot, "step-11")
        await says(app, pilot, "Open")
        await pilot.press("down", "enter")
        await until(pilot, lambda: source.asked != [])
        assert source.asked == ["qwen/step-11@1-abcdef"]


async def test_what_runs_is_drawn_anew_in_its_row() -> None:
    source = Showing()
    async with showing(source) as (app, pilot):
        await pilot.press("3")
        await says(app, pilot, "50 % of")
        moved = replace(RUNNING, bytes_done=750)
        source.snapshot = type(HEALTHY)(HEALTHY.status, HEALTHY.checkpoints, HEALTHY.at, (moved,))
        assert await says(app, pilot, "75 % of")


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_the_keys_that_quit(key: str) -> None:
    async with showing(Showing()) as (app, pilot):
        await pilot.press("question_mark")
        await says(app, pilot, "It changes nothing.")
        await pilot.press(key)
        await until(pilot, lambda: not app.is_running)
        assert app.return_value is None


async def test_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with showing(Showing(worse("lost"))) as (app, pilot):
        await says(app, pilot, "LOST")
        colours = {
            (style.color, style.bgcolor)
            for strip in app.screen._compositor.render_strips()
            for _, style, _ in strip.apply_filter(app._filters[-1], app.screen.background_colors[1])
            if style is not None
        }
        grey = [c for pair in colours for c in pair if c is not None and c.triplet is not None]
        assert all(c.triplet is not None and len(set(c.triplet)) == 1 for c in grey)
        assert app.no_color
