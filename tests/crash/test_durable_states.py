"""Promise 1 at the disk: after a power cut at any instant, in every state it may leave, what was acknowledged is
there, whole. Planted mistakes show that these tests would notice."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from roost.disk.durable import (
    DurableFile,
    make_directory_durably,
    rename_durably,
    sync_tree,
    unlink_durably,
    write_durably,
)
from roost.disk.port import Disk
from roost.testing.disk import MemoryDisk, PowerCut

OLD, NEW = b"old content", b"new, and longer, content"
Setup = Callable[[MemoryDisk], None]
Action = Callable[[Disk], None]


def outcomes(setup: Setup, action: Action) -> Iterator[tuple[bool, MemoryDisk]]:
    """Whether `action` was acknowledged, and what came back: each state, for a power cut after each of its changes."""

    def prepared() -> MemoryDisk:
        disk = MemoryDisk(block_bytes=8)
        setup(disk)
        return disk

    disk = prepared()
    before = disk.operations
    action(disk)
    changes = disk.operations - before
    assert changes > 0
    for count in range(changes):
        disk = prepared()
        disk.stop_after = disk.operations + count
        with pytest.raises(PowerCut):
            action(disk)
        yield from ((False, state) for state in disk.crash_states())
    disk = prepared()
    action(disk)
    yield from ((True, state) for state in disk.crash_states())


def with_old(disk: MemoryDisk) -> None:
    make_directory_durably(disk, "d")
    write_durably(disk, "d/a", OLD)


def with_directory(disk: MemoryDisk) -> None:
    make_directory_durably(disk, "d")


def holds(disk: MemoryDisk, path: str) -> bytes | str | None:
    return disk.contents().get(path)


def violations(setup: Setup, action: Action, *, old: bytes | None) -> list[tuple[bool, object]]:
    """The outcomes that break the promise for d/a: acknowledged and not NEW, or neither `old` nor NEW."""
    return [
        (acknowledged, holds(state, "d/a"))
        for acknowledged, state in outcomes(setup, action)
        if holds(state, "d/a") not in ((NEW,) if acknowledged else (old, NEW))
    ]


def test_write_durably_replaces_all_or_nothing() -> None:
    assert violations(with_old, lambda disk: write_durably(disk, "d/a", NEW), old=OLD) == []
    seen = {holds(state, "d/a") for _, state in outcomes(with_old, lambda disk: write_durably(disk, "d/a", NEW))}
    assert seen == {OLD, NEW}


def test_write_durably_makes_all_or_nothing() -> None:
    assert violations(with_directory, lambda disk: write_durably(disk, "d/a", NEW), old=None) == []


def test_a_streamed_file_is_all_or_nothing_also_from_another_directory() -> None:
    def setup(disk: MemoryDisk) -> None:
        with_old(disk)
        make_directory_durably(disk, "t")

    def action(disk: Disk) -> None:
        with DurableFile(disk, "t/x") as file:
            file.write(NEW[:9])
            file.write(NEW[9:])
            file.commit("d/a")

    assert violations(setup, action, old=OLD) == []


def without_sync(disk: Disk) -> None:
    with contextlib.closing(disk.create("d/x")) as file:
        file.pwrite(NEW, 0)
    disk.rename("d/x", "d/a")
    disk.sync_directory("d")


def without_directory_sync(disk: Disk) -> None:
    with contextlib.closing(disk.create("d/x")) as file:
        file.pwrite(NEW, 0)
        file.sync()
    disk.rename("d/x", "d/a")


def with_rename_before_sync(disk: Disk) -> None:
    with contextlib.closing(disk.create("d/x")) as file:
        file.pwrite(NEW, 0)
        disk.rename("d/x", "d/a")
        file.sync()
    disk.sync_directory("d")


def with_sync_before_write(disk: Disk) -> None:
    with contextlib.closing(disk.create("d/x")) as file:
        file.sync()
        file.pwrite(NEW, 0)
    disk.rename("d/x", "d/a")
    disk.sync_directory("d")


def with_directory_synced_before_rename(disk: Disk) -> None:
    with contextlib.closing(disk.create("d/x")) as file:
        file.pwrite(NEW, 0)
        file.sync()
    disk.sync_directory("d")
    disk.rename("d/x", "d/a")


def in_place(disk: Disk) -> None:
    with contextlib.closing(disk.open_write("d/a")) as file:
        file.truncate(0)
        file.pwrite(NEW, 0)
        file.sync()


@pytest.mark.parametrize(
    ("mistake", "setup", "old", "acknowledged", "shows"),
    [
        (without_sync, with_old, OLD, True, "torn"),
        (without_directory_sync, with_old, OLD, True, "stale"),
        (without_directory_sync, with_directory, None, True, "absent"),
        (with_rename_before_sync, with_old, OLD, False, "torn"),
        (with_sync_before_write, with_directory, None, True, "torn"),
        (with_directory_synced_before_rename, with_directory, None, True, "absent"),
        (in_place, with_old, OLD, False, "torn"),
    ],
)
def test_planted_mistakes_are_caught(
    mistake: Action, setup: Setup, old: bytes | None, acknowledged: bool, shows: str
) -> None:
    found = [held for was, held in violations(setup, mistake, old=old) if was is acknowledged]
    kinds = {"absent" if held is None else "stale" if held == OLD else "torn" for held in found}
    assert shows in kinds


def test_a_directory_made_durably_stays_with_what_is_put_in_it() -> None:
    def action(disk: Disk) -> None:
        make_directory_durably(disk, "d/e/f")
        write_durably(disk, "d/e/f/a", NEW)

    for acknowledged, state in outcomes(lambda disk: None, action):
        assert holds(state, "d/e/f/a") in ((NEW,) if acknowledged else (None, NEW))


def test_a_directory_made_plainly_does_not() -> None:
    def action(disk: Disk) -> None:
        disk.make_directory("d")
        write_durably(disk, "d/a", NEW)

    assert (True, None) in violations(lambda disk: None, action, old=None)


def test_a_whole_tree_appears_at_once() -> None:
    """How a gathered directory gets its name: files synced as written, then the tree, then one rename."""

    def action(disk: Disk) -> None:
        disk.make_directory("t")
        disk.make_directory("t/sub")
        for path in ("t/one", "t/sub/two"):
            with contextlib.closing(disk.create(path)) as file:
                file.pwrite(NEW, 0)
                file.sync()
        sync_tree(disk, "t")
        rename_durably(disk, "t", "a")

    whole = {"a/": "", "a/one": NEW, "a/sub/": "", "a/sub/two": NEW}
    for acknowledged, state in outcomes(lambda disk: None, action):
        found = {path: held for path, held in state.contents().items() if path.startswith("a/")}
        assert found in ((whole,) if acknowledged else ({}, whole))


def test_a_move_between_directories_never_loses_the_file() -> None:
    def setup(disk: MemoryDisk) -> None:
        with_old(disk)
        make_directory_durably(disk, "quarantine")

    for acknowledged, state in outcomes(setup, lambda disk: rename_durably(disk, "d/a", "quarantine/a")):
        held = (holds(state, "d/a"), holds(state, "quarantine/a"))
        assert held in (((None, OLD),) if acknowledged else ((OLD, None), (OLD, OLD), (None, OLD)))


def test_a_file_unlinked_durably_does_not_come_back() -> None:
    for acknowledged, state in outcomes(with_old, lambda disk: unlink_durably(disk, "d/a")):
        assert holds(state, "d/a") in ((None,) if acknowledged else (OLD, None))


def killed_before_the_directory_sync(make: Action, *, at: str) -> MemoryDisk:
    """The disk as a second process finds it when the first was killed just before its last `at`."""
    disk = MemoryDisk(block_bytes=8)
    with_directory(disk)
    before = disk.operations
    make(disk)
    assert disk.journal[-1].what == at
    count = disk.operations - 1
    assert count > before
    disk = MemoryDisk(block_bytes=8, stop_after=count)
    with_directory(disk)
    with pytest.raises(PowerCut):
        make(disk)
    return disk.kill()


def test_names_left_by_a_killed_process_are_not_durable_until_the_tree_is_synced() -> None:
    after = killed_before_the_directory_sync(lambda disk: write_durably(disk, "d/a", NEW), at="sync directory")
    assert holds(after, "d/a") == NEW, "the second process sees it"
    assert None in {holds(state, "d/a") for state in after.crash_states()}, "and must not vouch for it yet"
    sync_tree(after, "")
    assert {holds(state, "d/a") for state in after.crash_states()} == {NEW}


def test_a_directory_left_by_a_killed_process_becomes_durable_when_made_again() -> None:
    after = killed_before_the_directory_sync(lambda disk: make_directory_durably(disk, "d/e"), at="sync directory")
    assert "d/e/" in after.contents()
    make_directory_durably(after, "d/e")
    write_durably(after, "d/e/a", NEW)
    assert {holds(state, "d/e/a") for state in after.crash_states()} == {NEW}
