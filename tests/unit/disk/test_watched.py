"""A watched disk tells of every fault of the disk that it stands before, and of nothing else."""

from collections.abc import Callable

import pytest

from roost.core.errors import DiskFault, NotFound
from roost.disk.port import ReadFile, WriteFile
from roost.disk.watched import WatchedDisk
from roost.testing.disk import MemoryDisk, PowerCut

Told = list[tuple[str, bool]]


def watched() -> tuple[MemoryDisk, WatchedDisk, Told]:
    """A disk with a file and a directory, the same one watched, and what is told of it."""
    inner = MemoryDisk()
    told: Told = []
    disk = WatchedDisk(inner, lambda path, writing, error: told.append((path, writing)))
    disk.make_directory("d")
    disk.create("d/f").close()
    disk.symlink("f", "d/link")
    return inner, disk, told


CALLS: list[tuple[Callable[[WatchedDisk], object], str, bool]] = [
    (lambda d: d.open_read("d/f"), "d/f", False),
    (lambda d: d.create("d/g"), "d/g", True),
    (lambda d: d.open_write("d/f"), "d/f", True),
    (lambda d: d.rename("d/f", "d/g"), "d/g", True),
    (lambda d: d.unlink("d/f"), "d/f", True),
    (lambda d: d.make_directory("d/e"), "d/e", True),
    (lambda d: d.remove_directory("d"), "d", True),
    (lambda d: d.list("d"), "d", False),
    (lambda d: d.info("d/f"), "d/f", False),
    (lambda d: d.exists("d/f"), "d/f", False),
    (lambda d: d.symlink("f", "d/l"), "d/l", True),
    (lambda d: d.read_link("d/link"), "d/link", False),
    (lambda d: d.set_mode("d/f", 0o600), "d/f", True),
    (lambda d: d.set_times("d/f", 1), "d/f", True),
    (lambda d: d.sync_directory("d"), "d", True),
    (lambda d: d.lock("d/lock"), "d/lock", True),
    (lambda d: d.space(), "", False),
]


@pytest.mark.parametrize(("call", "path", "writing"), CALLS)
def test_a_fault_is_told_and_raised(call: Callable[[WatchedDisk], object], path: str, writing: bool) -> None:
    inner, disk, told = watched()
    inner.failing.add("" if not path else "d")
    with pytest.raises(DiskFault):
        call(disk)
    assert told == [(path, writing)]


READS: list[Callable[[ReadFile | WriteFile], object]] = [
    lambda file: file.pread(memoryview(bytearray(1)), 0),
    lambda file: file.info(),
]
WRITES: list[Callable[[WriteFile], object]] = [
    lambda file: file.pwrite(b"x", 0),
    lambda file: file.truncate(0),
    lambda file: file.sync(),
    lambda file: file.set_mode(0o600),
    lambda file: file.set_times(1),
]


@pytest.mark.parametrize("use", READS)
def test_a_fault_of_an_open_file_is_told(use: Callable[[ReadFile | WriteFile], object]) -> None:
    inner, disk, told = watched()
    reading, writing = disk.open_read("d/f"), disk.open_write("d/f")
    inner.failing.add("d/f")
    for file in (reading, writing):
        with pytest.raises(DiskFault):
            use(file)
        file.close()
    assert told == [("d/f", False)] * 2


@pytest.mark.parametrize("use", WRITES)
def test_a_fault_of_a_file_that_is_written_is_told(use: Callable[[WriteFile], object]) -> None:
    inner, disk, told = watched()
    file = disk.open_write("d/f")
    inner.failing.add("d/f")
    with pytest.raises(DiskFault):
        use(file)
    file.begin_writeback(0, 1)
    file.drop_cache(0, 1)
    file.close()
    assert told == [("d/f", True)]


def test_what_is_no_fault_is_not_told() -> None:
    inner, disk, told = watched()
    with pytest.raises(NotFound):
        disk.open_read("nothing")
    inner.dead = True
    with pytest.raises(PowerCut):
        disk.info("d/f")
    assert told == []
