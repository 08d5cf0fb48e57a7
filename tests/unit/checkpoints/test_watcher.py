"""The watcher on virtual time: what is finished is stored once, what fails is tried again and holds up nobody."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from checkpoint_kits import noise, safetensors, write_file, write_tree
from roost.checkpoints.holding import Changed
from roost.checkpoints.watch_memory import WatchMemory
from roost.checkpoints.watcher import LOOK_APART_S, LOOK_EVERY_S, RETRY_FIRST_S, RETRY_MAX_S, RETRY_UNREACHED_S, Watcher
from roost.core.errors import NoSpace, RoostError, Unreachable
from roost.disk.holders import Holders
from roost.disk.port import FileKind
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime

MODEL = safetensors({"w": noise(1000)})


@dataclass
class Watched:
    """A watched folder, and what was stored from it and when."""

    runtime: SimRuntime
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    stored: list[tuple[str, float]] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    error: RoostError = field(default_factory=lambda: NoSpace("no node has room"))
    held: set[tuple[int, int]] = field(default_factory=set)
    told: "asyncio.Queue[None]" = field(default_factory=asyncio.Queue)
    memory: WatchMemory | None = None
    attempts: list[tuple[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    changes: int = 0
    refused: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.begun = self.runtime.now()
        self.watcher = self.another()

    def another(self) -> Watcher:
        """A watcher as a new start would make it."""
        return Watcher(
            self.runtime, self.disk, self.keep, self.changed, holders=lambda: Holders(frozenset(self.held)),
            events=self.events, memory=self.memory, refused=lambda path, error: self.refused.add((path, error.message)),
        )  # fmt: skip

    async def events(self) -> AsyncIterator[object]:
        while True:
            await self.told.get()
            yield None

    def hold(self, path: str) -> None:
        """A program has the file open for writing from now on."""
        info = self.disk.info(path)
        self.held.add((info.device, info.inode))

    async def keep(self, path: str) -> None:
        self.attempts.append((path, self.at))
        await asyncio.sleep(self.seconds)
        if path in self.failing:
            raise self.error
        self.stored.append((path, self.at))

    def changed(self) -> None:
        self.changes += 1

    @property
    def at(self) -> float:
        return round(self.runtime.now() - self.begun, 0)

    @property
    def names(self) -> list[str]:
        return [path for path, _ in self.stored]


def watch(scenario: Callable[[Watched], Awaitable[None]]) -> None:
    async def main() -> None:
        watched = Watched(SimRuntime(random.Random(1)))
        watched.memory = WatchMemory(MemoryDisk(), "stored.json")
        watched.watcher = watched.another()
        running = asyncio.create_task(watched.watcher.run())
        await scenario(watched)
        assert not running.done()
        running.cancel()

    run_simulated(main(), seconds_max=10_000)


def test_a_safetensors_file_is_stored_as_soon_as_its_size_fits_its_header() -> None:
    async def scenario(watched: Watched) -> None:
        write_file(watched.disk, "a.safetensors", MODEL[:-1])
        await asyncio.sleep(60)
        assert not watched.stored
        [(path, reason)] = watched.watcher.pending
        assert path == "a.safetensors"
        assert "does not fit its header yet" in reason
        assert 40 < watched.watcher.oldest_s <= 60
        watched.disk.open_write("a.safetensors").pwrite(MODEL[-1:], len(MODEL) - 1)
        await asyncio.sleep(2 * LOOK_EVERY_S)
        assert watched.names == ["a.safetensors"]
        assert watched.watcher.pending == []
        assert watched.watcher.oldest_s == 0
        await asyncio.sleep(100)
        assert watched.names == ["a.safetensors"], "once"

    watch(scenario)


def test_any_other_file_is_stored_when_two_looks_ten_seconds_apart_are_equal() -> None:
    async def scenario(watched: Watched) -> None:
        write_file(watched.disk, "a.bin", b"1")
        for second in range(5):
            await asyncio.sleep(6)
            watched.disk.open_write("a.bin").pwrite(b"%d" % second, second)
        assert not watched.stored
        await asyncio.sleep(9)
        assert not watched.stored
        await asyncio.sleep(2 * LOOK_EVERY_S)
        assert watched.names == ["a.bin"]

    watch(scenario)


def test_a_file_that_is_rewritten_is_stored_again() -> None:
    async def scenario(watched: Watched) -> None:
        write_file(watched.disk, "a.safetensors", MODEL)
        write_file(watched.disk, "b.bin", b"1")
        await asyncio.sleep(30)
        assert sorted(watched.names) == ["a.safetensors", "b.bin"]
        write_file(watched.disk, "a.safetensors", safetensors({"w": noise(1000, 2)}))
        watched.disk.open_write("b.bin").pwrite(b"2", 0)
        await asyncio.sleep(30)
        assert sorted(watched.names) == ["a.safetensors", "a.safetensors", "b.bin", "b.bin"]

    watch(scenario)


def test_files_in_folders_are_found_and_names_of_unfinished_ones_and_links_are_not() -> None:
    async def scenario(watched: Watched) -> None:
        write_tree(
            watched.disk, "run",
            {"step-1": None, "step-1/m.safetensors": MODEL, ".hidden": None, ".hidden/x.safetensors": MODEL,
             "x.safetensors.tmp": MODEL, "link.safetensors": "step-1/m.safetensors"},
        )  # fmt: skip
        await asyncio.sleep(40)
        assert watched.names == ["run/step-1/m.safetensors"]
        assert watched.watcher.pending == []
        assert watched.disk.info("run/link.safetensors").kind is FileKind.SYMLINK

    watch(scenario)


def test_a_store_that_fails_is_tried_again_with_growing_pauses_and_the_others_go_on() -> None:
    async def scenario(watched: Watched) -> None:
        watched.failing.add("bad.safetensors")
        write_file(watched.disk, "bad.safetensors", MODEL)
        await asyncio.sleep(3)
        for number in range(5):
            write_file(watched.disk, f"good{number}.safetensors", MODEL)
        watched.told.put_nowait(None)
        await asyncio.sleep(3)
        assert len(watched.names) == 5
        [(path, reason)] = watched.watcher.pending
        assert path == "bad.safetensors"
        assert reason == "no node has room; tried again in 10 s"
        await asyncio.sleep(4000)
        times = [at for name, at in watched.attempts if name == "bad.safetensors"]
        pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
        wanted = [min(RETRY_MAX_S, RETRY_FIRST_S * 2**n) for n in range(len(pauses))]
        assert len(pauses) >= 9
        assert all(
            want <= pause <= want + LOOK_EVERY_S + LOOK_APART_S for want, pause in zip(wanted, pauses, strict=True)
        )
        watched.failing.clear()
        await asyncio.sleep(RETRY_MAX_S + LOOK_EVERY_S)
        assert "bad.safetensors" in watched.names
        assert watched.watcher.pending == []

    watch(scenario)


def test_a_failure_is_forgotten_when_the_file_changes() -> None:
    async def scenario(watched: Watched) -> None:
        watched.failing.add("a.safetensors")
        write_file(watched.disk, "a.safetensors", MODEL)
        await asyncio.sleep(100)
        watched.failing.clear()
        write_file(watched.disk, "a.safetensors", MODEL)
        await asyncio.sleep(LOOK_EVERY_S + 1)
        assert watched.names == ["a.safetensors"]

    watch(scenario)


def test_the_newest_comes_first() -> None:
    async def scenario(watched: Watched) -> None:
        for name in ("c", "a", "b"):
            write_file(watched.disk, f"{name}.safetensors", MODEL)
        await asyncio.sleep(5)
        assert watched.names == ["b.safetensors", "a.safetensors", "c.safetensors"]

    watch(scenario)


def test_what_is_newer_goes_before_those_that_wait_already() -> None:
    async def scenario(watched: Watched) -> None:
        watched.seconds = 60
        for name in ("c", "a", "b"):
            write_file(watched.disk, f"{name}.safetensors", MODEL)
        await asyncio.sleep(70)
        write_file(watched.disk, "new.safetensors", MODEL)
        await asyncio.sleep(200)
        assert watched.names == [f"{name}.safetensors" for name in ("b", "a", "new", "c")]

    watch(scenario)


def test_what_is_written_again_while_others_are_stored_is_not_stored_half() -> None:
    async def scenario(watched: Watched) -> None:
        watched.seconds = 60
        write_file(watched.disk, "b.bin", b"whole")
        write_file(watched.disk, "a.bin", b"whole")
        await asyncio.sleep(25)
        assert [name for name, _ in watched.attempts] == ["a.bin"]
        watched.disk.open_write("b.bin").pwrite(b"half", 0)
        await asyncio.sleep(55)
        assert watched.names == ["a.bin"]
        assert [name for name, _ in watched.attempts] == ["a.bin"], "it is judged anew"
        await asyncio.sleep(90)
        assert watched.names == ["a.bin", "b.bin"]

    watch(scenario)


def test_what_changes_between_the_look_and_the_store_is_not_stored() -> None:
    async def scenario(watched: Watched) -> None:
        write_file(watched.disk, "a.safetensors", MODEL)
        is_still = watched.watcher._is_still

        def written_meanwhile(unit: str, files: Any, stamp: str) -> bool:
            watched.watcher._is_still = is_still  # type: ignore[method-assign]
            watched.disk.open_write("a.safetensors").pwrite(b"?", 0)
            return is_still(unit, files, stamp)

        watched.watcher._is_still = written_meanwhile  # type: ignore[method-assign]
        await asyncio.sleep(60)
        assert not watched.attempts

    watch(scenario)


def test_a_file_that_a_program_has_open_for_writing_waits_however_whole_it_looks() -> None:
    async def scenario(watched: Watched) -> None:
        write_file(watched.disk, "a.safetensors", MODEL)  # the size was allocated, the bytes come later
        watched.hold("a.safetensors")
        await asyncio.sleep(300)
        assert not watched.stored
        assert watched.watcher.pending == [("a.safetensors", "a program has it open for writing")]
        watched.held.clear()
        await asyncio.sleep(LOOK_EVERY_S + 1)
        assert watched.names == ["a.safetensors"]

    watch(scenario)


def test_bytes_that_come_within_one_tick_of_the_files_clock_are_seen() -> None:
    async def scenario(watched: Watched) -> None:
        write_file(watched.disk, "a.safetensors", bytes(len(MODEL)))
        mtime_ns = watched.disk.info("a.safetensors").mtime_ns
        await asyncio.sleep(15)
        assert "header" in watched.watcher.pending[0][1]
        file = watched.disk.open_write("a.safetensors")
        file.pwrite(MODEL, 0)
        file.set_times(mtime_ns)
        await asyncio.sleep(LOOK_EVERY_S + 1)
        assert watched.names == ["a.safetensors"]

    watch(scenario)


def test_an_event_wakes_it_and_a_flood_of_them_does_not_keep_it_busy() -> None:
    async def scenario(watched: Watched) -> None:
        await asyncio.sleep(2)
        write_file(watched.disk, "a.safetensors", MODEL)
        watched.told.put_nowait(None)
        await asyncio.sleep(LOOK_APART_S + 0.5)
        assert watched.names == ["a.safetensors"]
        looks = 0
        look = watched.watcher.look

        async def counted() -> bool:
            nonlocal looks
            looks += 1
            return await look()

        watched.watcher.look = counted  # type: ignore[method-assign]
        for _ in range(1000):
            watched.told.put_nowait(None)
            await asyncio.sleep(0.01)
        assert 1 <= looks <= 11

    watch(scenario)


def test_events_that_end_or_fail_leave_the_looks() -> None:
    async def scenario(watched: Watched) -> None:
        for error in (OSError("too many watches"), RuntimeError("inside"), None):

            async def events(error: Exception | None = error) -> AsyncIterator[object]:
                yield None
                if error is not None:
                    raise error

            again = watched.another()
            again.events = events
            running = asyncio.create_task(again.run())
            await asyncio.sleep(1)
            assert not running.done()
            running.cancel()

    watch(scenario)


def test_a_cluster_that_is_away_is_asked_again_soon_and_all_is_caught_up() -> None:
    async def scenario(watched: Watched) -> None:
        watched.error = Unreachable("no node answers")
        watched.failing = {"a.safetensors", "b.safetensors"}
        for name in sorted(watched.failing):
            write_file(watched.disk, name, MODEL)
        await asyncio.sleep(3000)
        assert not watched.stored
        watched.failing.clear()
        await asyncio.sleep(RETRY_UNREACHED_S + LOOK_EVERY_S + 1)
        assert watched.names == ["b.safetensors", "a.safetensors"]
        assert watched.watcher.pending == []

    watch(scenario)


def test_files_that_changed_while_they_were_read_are_judged_anew_soon_and_hold_up_nobody() -> None:
    async def scenario(watched: Watched) -> None:
        watched.error = Changed("a.safetensors")
        watched.failing.add("a.safetensors")
        write_file(watched.disk, "a.safetensors", MODEL)
        write_file(watched.disk, "b.safetensors", MODEL)
        watched.failing.add("b.safetensors")
        write_file(watched.disk, "good.safetensors", MODEL)
        watched.disk.set_times("good.safetensors", 1)
        await asyncio.sleep(120)
        assert watched.names == ["good.safetensors"]
        times = [at for name, at in watched.attempts if name == "a.safetensors"]
        assert len(times) >= 5, "the pauses do not grow"
        assert [path for path, _ in watched.watcher.pending] == ["a.safetensors", "b.safetensors"]
        assert "changed while it was read" in watched.watcher.pending[0][1]

    watch(scenario)


def test_a_new_start_stores_nothing_again_and_finds_what_came_meanwhile() -> None:
    async def scenario(watched: Watched) -> None:
        for name in ("a", "b", "gone"):
            write_file(watched.disk, f"{name}.safetensors", MODEL)
        await asyncio.sleep(60)
        watched.stored.clear()
        watched.disk.unlink("gone.safetensors")
        write_file(watched.disk, "b.safetensors", safetensors({"w": noise(1000, 2)}))
        write_file(watched.disk, "c.safetensors", MODEL)
        assert watched.memory is not None
        assert watched.memory.load().keys() == {"a.safetensors", "b.safetensors", "gone.safetensors"}
        again, stored = watched.another(), []

        async def keep(path: str) -> None:
            stored.append(path)

        again.keep = keep
        running = asyncio.create_task(again.run())
        await asyncio.sleep(5)
        running.cancel()
        assert sorted(stored) == ["b.safetensors", "c.safetensors"]
        assert watched.memory.load().keys() == {"a.safetensors", "b.safetensors", "c.safetensors"}

    watch(scenario)


def test_a_memory_that_is_damaged_or_cannot_be_written_costs_only_time() -> None:
    async def scenario(watched: Watched) -> None:
        disk = MemoryDisk()
        write_file(disk, "stored.json", b"[1,")
        watched.memory = WatchMemory(disk, "stored.json")
        disk.failing.add("stored.json")
        write_file(watched.disk, "a.safetensors", MODEL)
        running = asyncio.create_task(watched.another().run())
        await asyncio.sleep(30)
        running.cancel()
        assert "a.safetensors" in watched.names

    watch(scenario)


def test_a_folder_of_a_format_is_one_checkpoint_and_is_stored_again_when_it_is_overwritten() -> None:
    async def scenario(watched: Watched) -> None:
        state = b'{"global_step": 10}'
        write_tree(watched.disk, "out", {"checkpoint-10": None, "checkpoint-10/model.safetensors": MODEL})
        await asyncio.sleep(60)
        assert watched.watcher.pending == [("out/checkpoint-10", "trainer_state.json is not there yet")]
        write_file(watched.disk, "out/checkpoint-10/trainer_state.json", state)
        await asyncio.sleep(2 * LOOK_EVERY_S)
        assert watched.names == ["out/checkpoint-10"]
        write_file(watched.disk, "out/checkpoint-10/model.safetensors", safetensors({"w": noise(1000, 2)}))
        await asyncio.sleep(60)
        assert watched.names == ["out/checkpoint-10"], "the state is that of the earlier save"
        write_file(watched.disk, "out/checkpoint-10/trainer_state.json", state)
        await asyncio.sleep(2 * LOOK_EVERY_S)
        assert watched.names == ["out/checkpoint-10"] * 2
        assert watched.watcher.pending == []

    watch(scenario)


def test_a_folder_that_cannot_be_read_holds_up_no_other_and_one_that_is_gone_comes_back() -> None:
    async def scenario(watched: Watched) -> None:
        write_tree(watched.disk, "locked", {"x.safetensors": MODEL})
        write_tree(watched.disk, "open", {"y.safetensors": MODEL})
        watched.disk.failing.add("locked")
        await asyncio.sleep(10)
        assert watched.names == ["open/y.safetensors"]
        watched.disk.failing = {""}
        await asyncio.sleep(20)
        assert watched.watcher.pending[0][0] == ""
        watched.disk.failing = set()
        await asyncio.sleep(20)
        assert watched.watcher.pending == []
        assert watched.names == ["open/y.safetensors", "locked/x.safetensors"]

    watch(scenario)


def test_a_file_that_is_gone_or_unreadable_is_no_error() -> None:
    async def scenario(watched: Watched) -> None:
        write_file(watched.disk, "a.safetensors", MODEL)
        watched.disk.failing.add("a.safetensors")
        await asyncio.sleep(20)
        assert not watched.stored
        [(path, why)] = watched.refused
        assert path == "a.safetensors"
        assert watched.watcher.pending[0][1].startswith(why)
        watched.disk.failing.clear()
        watched.refused.clear()
        write_file(watched.disk, "b.bin", b"1")
        await asyncio.sleep(5)
        watched.disk.unlink("b.bin")
        await asyncio.sleep(20)
        assert not watched.refused, "what is gone is no trouble"
        assert watched.names == ["a.safetensors"]
        assert watched.watcher.pending == []
        assert watched.changes > 0

    watch(scenario)
