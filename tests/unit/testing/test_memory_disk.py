"""The fake disk: its faults, and that its crash states are exactly those of the model it describes."""

import contextlib
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.errors import Busy, DiskFault, NoSpace, RoostError
from roost.testing.disk import MemoryDisk, PowerCut
from roost.testing.lies import Lies

Contents = frozenset[tuple[str, bytes | str]]


def contents(disk: MemoryDisk) -> Contents:
    return frozenset(disk.contents().items())


def states(disk: MemoryDisk) -> set[Contents]:
    return {contents(state) for state in disk.crash_states()}


def tree(**files: bytes) -> Contents:
    return frozenset(files.items())


def durable(disk: MemoryDisk, path: str, data: bytes) -> None:
    with contextlib.closing(disk.create(path)) as file:
        file.pwrite(data, 0)
        file.sync()
    disk.sync_directory("")


def test_synced_bytes_without_a_synced_name_may_be_gone() -> None:
    disk = MemoryDisk()
    with contextlib.closing(disk.create("a")) as file:
        file.pwrite(b"data", 0)
        file.sync()
    assert states(disk) == {tree(), tree(a=b"data")}
    disk.sync_directory("")
    assert states(disk) == {tree(a=b"data")}


def test_a_synced_name_without_synced_bytes_may_hold_any_part() -> None:
    disk = MemoryDisk(block_bytes=2)
    file = disk.create("a")
    disk.sync_directory("")
    file.pwrite(b"1234", 0)
    zeros = {tree(a=data) for data in (b"", b"\0\0\0\0", b"12\0\0", b"\0\x0034", b"1234")}
    assert states(disk) == zeros


def test_overwritten_blocks_are_old_or_new_each_alone_and_never_torn() -> None:
    disk = MemoryDisk(block_bytes=2)
    durable(disk, "a", b"aabb")
    disk.open_write("a").pwrite(b"AABB", 0)
    assert states(disk) == {tree(a=data) for data in (b"aabb", b"AAbb", b"aaBB", b"AABB")}


def test_a_block_may_be_as_after_any_write_since_the_sync() -> None:
    disk = MemoryDisk(block_bytes=4)
    durable(disk, "a", b"0000")
    file = disk.open_write("a")
    file.pwrite(b"1", 0)
    file.pwrite(b"2", 1)
    assert states(disk) == {tree(a=data) for data in (b"0000", b"1000", b"1200")}
    file.sync()
    assert states(disk) == {tree(a=b"1200")}


def test_growing_keeps_what_is_durable() -> None:
    disk = MemoryDisk(block_bytes=2)
    durable(disk, "a", b"abc")
    file = disk.open_write("a")
    file.truncate(6)
    assert states(disk) == {tree(a=b"abc"), tree(a=b"abc\0\0\0")}


def test_unsynced_attributes_are_old_or_new() -> None:
    disk = MemoryDisk()
    durable(disk, "a", b"x")
    disk.set_mode("a", 0o644)
    disk.set_times("a", 5)
    found = {(state.info("a").mode, state.info("a").mtime_ns == 5) for state in disk.crash_states()}
    assert found == {(0o600, False), (0o644, True)}


def test_names_change_in_any_order() -> None:
    disk = MemoryDisk()
    durable(disk, "a", b"1")
    disk.unlink("a")
    disk.create("b").close()
    disk.create("c").close()
    expected = {
        frozenset({**first, **second, **third}.items())
        for first in ({}, {"a": b"1"})
        for second in ({}, {"b": b""})
        for third in ({}, {"c": b""})
    }
    assert states(disk) == expected


def test_rename_is_atomic_for_the_target_and_loses_nothing() -> None:
    disk = MemoryDisk()
    durable(disk, "a", b"old")
    durable(disk, "b", b"new")
    disk.rename("b", "a")
    assert states(disk) == {tree(a=b"old", b=b"new"), tree(a=b"new", b=b"new"), tree(a=b"new")}
    disk.sync_directory("")
    assert states(disk) == {tree(a=b"new")}


def test_a_rename_between_directories_becomes_durable_with_either() -> None:
    def moved() -> MemoryDisk:
        disk = MemoryDisk()
        disk.make_directory("d")
        durable(disk, "a", b"x")
        disk.rename("a", "d/a")
        return disk

    here, there = frozenset({("a", b"x"), ("d/", "")}), frozenset({("d/a", b"x"), ("d/", "")})
    assert states(moved()) == {here, here | there, there}
    by_target = moved()
    by_target.sync_directory("d")
    assert states(by_target) == {here | there, there}
    by_source = moved()
    by_source.sync_directory("")
    assert states(by_source) == {there}


def test_chained_renames_lose_nothing() -> None:
    disk = MemoryDisk()
    durable(disk, "a", b"x")
    disk.rename("a", "b")
    disk.rename("b", "c")
    assert all(b"x" in dict(state).values() for state in states(disk))
    assert tree(c=b"x") in states(disk)


def test_directory_renames_happen_whole_and_in_order() -> None:
    disk = MemoryDisk()
    disk.make_directory("a")
    disk.make_directory("a/b")
    disk.sync_directory("")
    disk.sync_directory("a")
    disk.rename("a/b", "b")
    disk.rename("a", "b/a")
    assert states(disk) == {
        frozenset({("a/", ""), ("a/b/", "")}),
        frozenset({("a/", ""), ("b/", "")}),
        frozenset({("b/", ""), ("b/a/", "")}),
    }


def test_what_lies_in_an_unsynced_directory_goes_with_it() -> None:
    disk = MemoryDisk()
    disk.make_directory("d")
    with contextlib.closing(disk.create("d/a")) as file:
        file.pwrite(b"x", 0)
        file.sync()
    disk.sync_directory("d")
    whole = frozenset({("d/", ""), ("d/a", b"x")})
    assert states(disk) == {frozenset(), whole}


def test_too_many_states_are_refused_before_the_first() -> None:
    disk = MemoryDisk(block_bytes=1)
    disk.create("a").pwrite(b"x" * 30, 0)
    with pytest.raises(ValueError, match="more than the 1000 allowed"):
        disk.crash_states(states_max=1000)
    names = MemoryDisk()
    for number in range(20):
        names.create(str(number)).close()
    with pytest.raises(ValueError, match="names"):
        names.crash_states(states_max=1000)
    few = MemoryDisk()
    few.create("a").close()
    assert len(list(few.crash_states(states_max=2))) == 2


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["create", "write", "sync", "cut", "rename", "unlink", "mkdir", "rmdir", "sync directory", "mode"]
        ),
        st.sampled_from(["a", "b", "d", "d/a", "d/d", "e"]),
        st.sampled_from(["a", "b", "d", "d/a", "d/d", "e"]),
    ),
    min_size=3,
    max_size=14,
)
START = [("mkdir", "d", ""), ("create", "a", ""), ("write", "a", ""), ("create", "d/a", "")]


def play(disk: MemoryDisk, steps: list[tuple[str, str, str]]) -> None:
    for number, (what, path, other) in enumerate(steps):
        with contextlib.suppress(RoostError):
            if what == "create":
                disk.create(path).close()
            elif what in ("write", "sync", "cut"):
                with contextlib.closing(disk.open_write(path)) as file:
                    if what == "write":
                        file.pwrite(bytes([65 + number]) * 3, number % 3)
                    elif what == "cut":
                        file.truncate(number % 5)
                    else:
                        file.sync()
            elif what == "rename":
                disk.rename(path, other)
            elif what == "unlink":
                disk.unlink(path)
            elif what == "mkdir":
                disk.make_directory(path)
            elif what == "rmdir":
                disk.remove_directory(path)
            elif what == "sync directory":
                disk.sync_directory("" if path == "e" else path)
            else:
                disk.set_mode(path, 0o640 + number)


def sync_everything(disk: MemoryDisk) -> None:
    for path in disk.contents():
        if path.endswith("/"):
            disk.sync_directory(path[:-1])
        else:
            with contextlib.closing(disk.open_write(path)) as file:
                file.sync()
    disk.sync_directory("")


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 1000))
def test_whatever_happened_the_states_agree_with_the_model(steps: list[tuple[str, str, str]], seed: int) -> None:
    disk = MemoryDisk(block_bytes=2)
    play(disk, START)
    if seed % 2:
        sync_everything(disk)
    play(disk, steps)
    try:
        possible = states(disk)
    except ValueError:
        return
    assert contents(disk) in possible, "nothing may be lost"
    seen = list(disk.crash_states())
    assert all(states(state) == {contents(state)} for state in seen), "what came back is durable"
    drawn = disk.kill()
    assert states(drawn) == possible, "kill -9 loses nothing and makes nothing durable"
    chance = random.Random(seed)
    for _ in range(3):
        drawn = drawn.kill()
        assert contents(drawn.crash(chance)) in possible
    survivor = drawn.kill()
    sync_everything(survivor)
    assert states(survivor) == {contents(survivor)}


def test_drawing_reaches_every_state() -> None:
    disk = MemoryDisk(block_bytes=2)
    durable(disk, "a", b"old!")
    disk.create("b").pwrite(b"new!", 0)
    disk.rename("b", "a")
    chance = random.Random(7)
    drawn = set()
    for _ in range(2000):
        disk = disk.kill()
        drawn.add(contents(disk.crash(chance)))
    assert drawn == states(disk)


def test_the_power_goes_after_the_given_number_of_changes() -> None:
    disk = MemoryDisk(stop_after=2)
    file = disk.create("a")
    file.pwrite(b"x", 0)
    assert disk.exists("a")
    with pytest.raises(PowerCut):
        file.sync()
    assert disk.dead
    assert not isinstance(PowerCut(), Exception)


def test_a_dead_disk_does_nothing_more() -> None:
    disk = MemoryDisk()
    durable(disk, "a", b"x")
    file, lock = disk.open_write("a"), disk.lock("lock")
    after = disk.kill()
    calls: list[Callable[[], object]] = [
        lambda: file.pwrite(b"y", 0),
        lambda: file.pread(memoryview(bytearray(1)), 0),
        file.sync,
        file.info,
        lambda: file.begin_writeback(0, 1),
        lambda: disk.open_read("a"),
        lambda: disk.unlink("a"),
        lambda: disk.exists("a"),
        lambda: disk.list(""),
        disk.space,
        lambda: disk.lock("lock"),
    ]
    for call in calls:
        with pytest.raises(PowerCut):
            call()
    file.close()
    after.lock("lock")
    lock.release()
    with pytest.raises(Busy):
        after.lock("lock")
    assert after.contents() == {"a": b"x", "lock": b""}


def test_a_full_disk_refuses_writes_and_new_names() -> None:
    disk = MemoryDisk(bytes_max=4)
    file = disk.create("a")
    with pytest.raises(NoSpace):
        file.pwrite(b"123456", 0)
    assert disk.contents() == {"a": b"1234"}
    assert disk.space().free == 0
    for make in (lambda: disk.create("b"), lambda: disk.make_directory("d"), lambda: disk.symlink("a", "l")):
        with pytest.raises(NoSpace):
            make()
    with pytest.raises(NoSpace):
        file.truncate(5)
    file.pwrite(b"xy", 0)
    disk.unlink("a")
    assert disk.space().free == 0, "an open file keeps its bytes"
    file.close()
    assert disk.space().free == 4
    disk.create("b").close()


def test_a_disk_turned_read_only_is_still_read() -> None:
    disk = MemoryDisk()
    durable(disk, "a", b"x")
    file = disk.open_write("a")
    disk.read_only = True
    calls: list[Callable[[], object]] = [
        lambda: file.pwrite(b"y", 0),
        file.sync,
        lambda: disk.create("b"),
        lambda: disk.open_write("a"),
        lambda: disk.rename("a", "b"),
        lambda: disk.unlink("a"),
        lambda: disk.sync_directory(""),
    ]
    for call in calls:
        with pytest.raises(DiskFault):
            call()
    into = memoryview(bytearray(1))
    assert disk.open_read("a").pread(into, 0) == 1


def test_failing_paths_fail_with_all_below_them() -> None:
    disk = MemoryDisk()
    disk.make_directory("d")
    disk.create("d/a").close()
    disk.create("dx").close()
    file = disk.open_read("d/a")
    disk.failing.add("d")
    for call in (lambda: file.pread(memoryview(bytearray(1)), 0), lambda: disk.list("d"), lambda: disk.info("d/a")):
        with pytest.raises(DiskFault):
            call()
    with pytest.raises(DiskFault):
        disk.rename("dx", "d/x")
    disk.open_read("dx").close()
    disk.failing = {""}
    with pytest.raises(DiskFault):
        disk.open_read("dx")


def test_a_fault_is_told_of_when_it_is_felt_and_not_before() -> None:
    disk = MemoryDisk()
    felt: list[str] = []
    disk.on_fault = felt.append
    durable(disk, "a", b"x")
    file = disk.open_write("a")
    disk.bytes_max, disk.read_only = 1, True
    disk.failing.add("elsewhere")
    assert felt == []
    for call in (lambda: disk.unlink("a"), lambda: disk.info("elsewhere")):
        with pytest.raises(DiskFault):
            call()
    assert felt == ["read-only", "disk error"]
    disk.read_only = False
    with pytest.raises(NoSpace):
        file.pwrite(b"yz", 0)
    disk.bytes_max, disk.lies = None, Lies(random.Random(1), rate=1.0, folders=("a",))
    file.pwrite(b"yz", 0)
    assert felt == ["read-only", "disk error", "full", "lies"]
    assert disk.kill().on_fault is disk.on_fault, "a fault outlives the process"


def test_after_a_failed_sync_no_later_one_makes_the_bytes_durable() -> None:
    disk = MemoryDisk()
    durable(disk, "a", b"old")
    file = disk.open_write("a")
    file.pwrite(b"new", 0)
    disk.failing.add("a")
    with pytest.raises(DiskFault):
        file.sync()
    disk.failing.clear()
    with pytest.raises(DiskFault, match="earlier sync failed"):
        file.sync()
    with contextlib.closing(disk.open_write("a")) as another:
        another.sync()
    assert states(disk) == {tree(a=b"old"), tree(a=b"new")}


def test_flip_turns_one_bit_for_good() -> None:
    disk = MemoryDisk()
    durable(disk, "a", b"\x00\x00")
    before = disk.info("a")
    disk.flip("a", 1, 7)
    assert disk.info("a") == before
    assert states(disk) == {tree(a=b"\x00\x80")}


def test_costs_are_counted() -> None:
    disk = MemoryDisk()
    file = disk.create("a")
    file.pwrite(b"12345", 0)
    file.sync()
    disk.sync_directory("")
    file.pread(memoryview(bytearray(3)), 0)
    assert (disk.cost_bytes, disk.cost_syncs) == (8, 2)


def test_the_same_steps_make_the_same_disk() -> None:
    def played() -> list[object]:
        disk = MemoryDisk()
        play(disk, [("create", "a", "b"), ("write", "a", "b"), ("rename", "a", "b"), ("mode", "b", "b")])
        after = disk.crash(random.Random(3))
        return [after.contents(), [after.info(name) for name, _ in after.list("")]]

    assert played() == played()
