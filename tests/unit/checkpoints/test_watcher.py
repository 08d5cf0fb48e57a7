"""The watcher on virtual time: what is finished is stored once, what fails is tried again and holds up nobody."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from checkpoint_kits import noise, safetensors, write_file, write_tree
from roost.checkpoints.watcher import LOOK_EVERY_S, RETRY_FIRST_S, RETRY_MAX_S, Watcher
from roost.core.errors import Unreachable
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
    attempts: list[tuple[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    changes: int = 0

    def __post_init__(self) -> None:
        self.begun = self.runtime.now()
        self.watcher = Watcher(self.runtime, self.disk, self.keep, self.changed)

    async def keep(self, path: str) -> None:
        self.attempts.append((path, self.at))
        await asyncio.sleep(self.seconds)
        if path in self.failing:
            raise Unreachable("no node answers")
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
        watched.disk.open_write("a.safetensors").pwrite(MODEL[-1:], len(MODEL) - 1)
        await asyncio.sleep(2 * LOOK_EVERY_S)
        assert watched.names == ["a.safetensors"]
        assert watched.watcher.pending == []
        await asyncio.sleep(100)
        assert watched.names == ["a.safetensors"], "once"

    watch(scenario)


def test_any_other_file_is_stored_when_two_looks_ten_seconds_apart_are_equal() -> None:
    async def scenario(watched: Watched) -> None:
        write_file(watched.disk, "a.pt", b"1")
        for second in range(5):
            await asyncio.sleep(6)
            watched.disk.open_write("a.pt").pwrite(b"%d" % second, second)
        assert not watched.stored
        await asyncio.sleep(9)
        assert not watched.stored
        await asyncio.sleep(2 * LOOK_EVERY_S)
        assert watched.names == ["a.pt"]

    watch(scenario)


def test_a_file_that_is_rewritten_is_stored_again() -> None:
    async def scenario(watched: Watched) -> None:
        write_file(watched.disk, "a.safetensors", MODEL)
        write_file(watched.disk, "b.pt", b"1")
        await asyncio.sleep(30)
        assert sorted(watched.names) == ["a.safetensors", "b.pt"]
        write_file(watched.disk, "a.safetensors", safetensors({"w": noise(1000, 2)}))
        watched.disk.open_write("b.pt").pwrite(b"2", 0)
        await asyncio.sleep(30)
        assert sorted(watched.names) == ["a.safetensors", "a.safetensors", "b.pt", "b.pt"]

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
        assert watched.disk.info("run/link.safetensors").kind is FileKind.SYMLINK

    watch(scenario)


def test_a_store_that_fails_is_tried_again_with_growing_pauses_and_the_others_go_on() -> None:
    async def scenario(watched: Watched) -> None:
        watched.failing.add("bad.safetensors")
        write_file(watched.disk, "bad.safetensors", MODEL)
        await asyncio.sleep(3)
        for number in range(5):
            write_file(watched.disk, f"good{number}.safetensors", MODEL)
        await asyncio.sleep(6)
        assert len(watched.names) == 5
        [(path, reason)] = watched.watcher.pending
        assert path == "bad.safetensors"
        assert "no node answers; tried again in 10 s" in reason
        await asyncio.sleep(4000)
        times = [at for name, at in watched.attempts if name == "bad.safetensors"]
        pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
        wanted = [min(RETRY_MAX_S, RETRY_FIRST_S * 2**n) for n in range(len(pauses))]
        assert len(pauses) >= 9
        assert all(want <= pause <= want + 2 * LOOK_EVERY_S for want, pause in zip(wanted, pauses, strict=True))
        watched.failing.clear()
        await asyncio.sleep(RETRY_MAX_S + 5)
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
        await asyncio.sleep(5)
        assert watched.names == ["a.safetensors"]

    watch(scenario)


def test_the_newest_comes_first() -> None:
    async def scenario(watched: Watched) -> None:
        for name in ("c", "a", "b"):
            write_file(watched.disk, f"{name}.safetensors", MODEL)
        await asyncio.sleep(5)
        assert watched.names == ["b.safetensors", "a.safetensors", "c.safetensors"]

    watch(scenario)


def test_what_is_written_again_while_others_are_stored_is_not_stored_half() -> None:
    async def scenario(watched: Watched) -> None:
        watched.seconds = 60
        write_file(watched.disk, "b.pt", b"whole")
        write_file(watched.disk, "a.pt", b"whole")
        await asyncio.sleep(20)
        assert [name for name, _ in watched.attempts] == ["a.pt"]
        watched.disk.open_write("b.pt").pwrite(b"half", 0)
        await asyncio.sleep(55)
        assert watched.names == ["a.pt"]
        assert [name for name, _ in watched.attempts] == ["a.pt"], "it is judged anew"
        await asyncio.sleep(80)
        assert watched.names == ["a.pt", "b.pt"]

    watch(scenario)


def test_a_folder_that_cannot_be_read_holds_up_no_other_and_one_that_is_gone_comes_back() -> None:
    async def scenario(watched: Watched) -> None:
        write_tree(watched.disk, "locked", {"x.safetensors": MODEL})
        write_tree(watched.disk, "open", {"y.safetensors": MODEL})
        watched.disk.failing.add("locked")
        await asyncio.sleep(10)
        assert watched.names == ["open/y.safetensors"]
        watched.disk.failing = {""}
        await asyncio.sleep(10)
        assert watched.watcher.pending[0][0] == ""
        watched.disk.failing = set()
        await asyncio.sleep(10)
        assert watched.watcher.pending == []
        assert watched.names == ["open/y.safetensors", "locked/x.safetensors"]

    watch(scenario)


def test_a_file_that_is_gone_or_unreadable_is_no_error() -> None:
    async def scenario(watched: Watched) -> None:
        write_file(watched.disk, "a.safetensors", MODEL)
        watched.disk.failing.add("a.safetensors")
        await asyncio.sleep(10)
        assert not watched.stored
        watched.disk.failing.clear()
        write_file(watched.disk, "b.pt", b"1")
        await asyncio.sleep(5)
        watched.disk.unlink("b.pt")
        await asyncio.sleep(20)
        assert watched.names == ["a.safetensors"]
        assert watched.watcher.pending == []
        assert watched.changes > 0

    watch(scenario)
