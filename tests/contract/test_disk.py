"""The contract of the port `Disk`, held by the real disk and the fake alike."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from roost.core.errors import Busy, Failed, NotFound, RoostError
from roost.disk.faults import AlreadyThere
from roost.disk.port import Disk, FileKind
from roost.disk.posix import PosixDisk
from roost.disk.watched import WatchedDisk
from roost.testing.disk import MemoryDisk


@pytest.fixture(params=["posix", "memory", "watched"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    if request.param == "watched":
        return WatchedDisk(MemoryDisk(), lambda path, writing, error: None)
    return PosixDisk(tmp_path) if request.param == "posix" else MemoryDisk()


def write(disk: Disk, path: str, data: bytes) -> None:
    with contextlib.closing(disk.create(path)) as file:
        file.pwrite(data, 0)


def read(disk: Disk, path: str, *, follow: bool = False) -> bytes:
    with contextlib.closing(disk.open_read(path, follow=follow)) as file:
        into = memoryview(bytearray(file.info().size + 10))
        return bytes(into[: file.pread(into, 0)])


BAD_PATHS = ["/etc/passwd", "..", "a/../b", "../a", "a//b", "a/", "./a", "a/.", "a\0b", "/"]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_no_path_leads_out_of_the_root(disk: Disk, path: str) -> None:
    write(disk, "file", b"")
    calls: list[Callable[[], object]] = [
        lambda: disk.open_read(path),
        lambda: disk.open_read(path, follow=True),
        lambda: disk.create(path),
        lambda: disk.open_write(path),
        lambda: disk.rename(path, "x"),
        lambda: disk.rename("file", path),
        lambda: disk.unlink(path),
        lambda: disk.make_directory(path),
        lambda: disk.remove_directory(path),
        lambda: disk.list(path),
        lambda: disk.info(path),
        lambda: disk.exists(path),
        lambda: disk.symlink("file", path),
        lambda: disk.read_link(path),
        lambda: disk.set_mode(path, 0o600),
        lambda: disk.set_times(path, 0),
        lambda: disk.sync_directory(path),
        lambda: disk.lock(path),
    ]
    for call in calls:
        with pytest.raises(ValueError):
            call()
    assert disk.list("") == [("file", FileKind.FILE)]


def test_the_root_itself_is_only_looked_at_and_synced(disk: Disk) -> None:
    assert disk.list("") == []
    assert disk.info("").kind is FileKind.DIRECTORY
    disk.sync_directory("")
    for call in (disk.open_read, disk.create, disk.unlink, disk.remove_directory, disk.make_directory, disk.exists):
        with pytest.raises(ValueError):
            call("")


def test_what_is_written_is_read(disk: Disk) -> None:
    with contextlib.closing(disk.create("a", mode=0o640)) as file:
        file.pwrite(b"hello world", 0)
        file.pwrite(memoryview(b"HELLO"), 0)
        file.pwrite(bytearray(b"!"), 11)
        file.pwrite(b"", 3)
        file.begin_writeback(0, 12)
        file.sync()
        file.drop_cache(0, 12)
        assert file.info().size == 12
        into = bytearray(5)
        assert file.pread(memoryview(into), 6) == 5
        assert bytes(into) == b"world"
    assert read(disk, "a") == b"HELLO world!"
    info = disk.info("a")
    assert (info.kind, info.size, info.mode & 0o700) == (FileKind.FILE, 12, 0o600)


def test_a_read_is_short_only_at_the_end(disk: Disk) -> None:
    write(disk, "a", bytes(range(10)))
    with contextlib.closing(disk.open_read("a")) as file:
        into = memoryview(bytearray(6))
        assert file.pread(into, 0) == 6
        assert file.pread(into, 6) == 4
        assert bytes(into[:4]) == bytes(range(6, 10))
        assert file.pread(into, 10) == 0
        assert file.pread(into, 99) == 0
        assert file.pread(into[:0], 0) == 0
        file.drop_cache(0, 10)


def test_a_gap_reads_as_zeros(disk: Disk) -> None:
    with contextlib.closing(disk.create("a")) as file:
        file.pwrite(b"x", 5)
        file.truncate(8)
        assert read(disk, "a") == b"\0\0\0\0\0x\0\0"
        file.truncate(3)
        file.truncate(6)
    assert read(disk, "a") == bytes(6)


def test_create_takes_no_name_that_is_taken(disk: Disk) -> None:
    write(disk, "file", b"mine")
    disk.make_directory("directory")
    disk.symlink("nowhere", "link")
    for path in ("file", "directory", "link"):
        with pytest.raises(AlreadyThere) as caught:
            disk.create(path)
        assert path in caught.value.message
        assert caught.value.hint
    assert read(disk, "file") == b"mine"
    assert not disk.exists("nowhere")


def test_open_write_keeps_the_bytes(disk: Disk) -> None:
    write(disk, "a", b"12345")
    with contextlib.closing(disk.open_write("a")) as file:
        file.pwrite(b"x", 1)
        file.sync()
    assert read(disk, "a") == b"1x345"
    with pytest.raises(NotFound):
        disk.open_write("b")
    assert not disk.exists("b")


def test_what_is_missing_is_not_found(disk: Disk) -> None:
    calls: list[Callable[[], object]] = [
        lambda: disk.open_read("no/such"),
        lambda: disk.open_read("no", follow=True),
        lambda: disk.create("no/such"),
        lambda: disk.rename("no", "x"),
        lambda: disk.unlink("no"),
        lambda: disk.remove_directory("no"),
        lambda: disk.make_directory("no/such"),
        lambda: disk.list("no"),
        lambda: disk.info("no"),
        lambda: disk.symlink("x", "no/such"),
        lambda: disk.read_link("no"),
        lambda: disk.set_mode("no", 0o600),
        lambda: disk.set_times("no", 1),
        lambda: disk.sync_directory("no"),
        lambda: disk.lock("no/such"),
    ]
    for call in calls:
        with pytest.raises(NotFound) as caught:
            call()
        assert "no" in caught.value.message
        assert caught.value.hint
    assert not disk.exists("no")
    assert not disk.exists("no/such")


def test_a_file_is_no_directory_and_a_directory_no_file(disk: Disk) -> None:
    write(disk, "file", b"")
    disk.make_directory("directory")
    calls: list[Callable[[], object]] = [
        lambda: disk.open_read("file/x"),
        lambda: disk.create("file/x"),
        lambda: disk.list("file"),
        lambda: disk.remove_directory("file"),
        lambda: disk.sync_directory("file"),
        lambda: disk.open_read("directory"),
        lambda: disk.open_write("directory"),
        lambda: disk.unlink("directory"),
        lambda: disk.rename("file", "directory"),
        lambda: disk.rename("directory", "file"),
        lambda: disk.read_link("file"),
    ]
    for call in calls:
        with pytest.raises(Failed):
            call()
    assert not disk.exists("file/x")
    assert [name for name, _ in disk.list("")] == ["directory", "file"]


def test_rename_replaces_and_an_open_file_stays_readable(disk: Disk) -> None:
    write(disk, "old", b"old")
    write(disk, "new", b"new")
    with contextlib.closing(disk.open_read("old")) as file:
        disk.rename("new", "old")
        into = memoryview(bytearray(3))
        assert file.pread(into, 0) == 3
        assert bytes(into) == b"old"
    assert read(disk, "old") == b"new"
    assert not disk.exists("new")
    disk.rename("old", "old")
    assert read(disk, "old") == b"new"


def test_rename_of_directories(disk: Disk) -> None:
    disk.make_directory("a")
    write(disk, "a/file", b"1")
    disk.make_directory("empty")
    disk.make_directory("full")
    write(disk, "full/file", b"2")
    with pytest.raises(Failed):
        disk.rename("a", "full")
    with pytest.raises(RoostError):
        disk.rename("a", "a/inside")
    disk.rename("a", "empty")
    disk.rename("empty", "full/deep")
    assert read(disk, "full/deep/file") == b"1"
    assert disk.list("") == [("full", FileKind.DIRECTORY)]


def test_directories(disk: Disk) -> None:
    disk.make_directory("d", mode=0o700)
    disk.make_directory("d", exist_ok=True)
    with pytest.raises(AlreadyThere):
        disk.make_directory("d")
    write(disk, "file", b"")
    disk.symlink("d", "link")
    for path in ("file", "link"):
        with pytest.raises(AlreadyThere):
            disk.make_directory(path, exist_ok=True)
    write(disk, "d/inside", b"")
    with pytest.raises(Failed):
        disk.remove_directory("d")
    disk.unlink("d/inside")
    disk.sync_directory("d")
    disk.remove_directory("d")
    assert not disk.exists("d")


def test_list_is_sorted_and_knows_kinds(disk: Disk) -> None:
    for name in ("b", "a", "ü", "Z"):
        write(disk, name, b"")
    disk.make_directory("d")
    disk.symlink("d", "l")
    expected = [
        ("Z", FileKind.FILE),
        ("a", FileKind.FILE),
        ("b", FileKind.FILE),
        ("d", FileKind.DIRECTORY),
        ("l", FileKind.SYMLINK),
        ("ü", FileKind.FILE),
    ]
    assert disk.list("") == expected


def test_links_are_followed_only_when_asked(disk: Disk) -> None:
    disk.make_directory("d")
    write(disk, "d/file", b"data")
    disk.symlink("file", "d/link")
    disk.symlink("d", "dir")
    assert disk.read_link("d/link") == "file"
    assert disk.info("d/link").kind is FileKind.SYMLINK
    assert disk.info("d/link", follow=True).kind is FileKind.FILE
    assert read(disk, "dir/link", follow=True) == b"data"
    assert disk.list("dir", follow=True) == disk.list("d")
    calls: list[Callable[[], object]] = [
        lambda: disk.open_read("d/link"),
        lambda: disk.open_write("d/link"),
        lambda: disk.open_read("dir/file"),
        lambda: disk.open_write("dir/file"),
        lambda: disk.create("dir/new"),
        lambda: disk.make_directory("dir/new"),
        lambda: disk.unlink("dir/file"),
        lambda: disk.rename("dir/file", "x"),
        lambda: disk.rename("d/file", "dir/x"),
        lambda: disk.symlink("x", "dir/new"),
        lambda: disk.info("dir/file"),
        lambda: disk.list("dir"),
        lambda: disk.sync_directory("dir"),
        lambda: disk.set_mode("d/link", 0o777),
        lambda: disk.lock("d/link"),
    ]
    for call in calls:
        with pytest.raises(Failed) as caught:
            call()
        assert "link" in caught.value.hint
    assert not disk.exists("dir/file")
    assert [name for name, _ in disk.list("d")] == ["file", "link"]


def test_dangling_and_circular_links(disk: Disk) -> None:
    disk.symlink("nowhere", "dangling")
    disk.symlink("b", "a")
    disk.symlink("a", "b")
    assert disk.exists("dangling")
    with pytest.raises(NotFound):
        disk.open_read("dangling", follow=True)
    with pytest.raises(Failed):
        disk.open_read("a", follow=True)
    disk.unlink("dangling")
    assert not disk.exists("dangling")
    for target in ("", "a\0b"):
        with pytest.raises(ValueError):
            disk.symlink(target, "c")


def test_modes_and_times_are_exact(disk: Disk) -> None:
    disk.make_directory("d")
    disk.symlink("d", "l")
    with contextlib.closing(disk.create("a")) as file:
        file.set_mode(0o4751)
        file.set_times(1_234_567_890_123_456_000)
        file.sync()
    info = disk.info("a")
    assert (info.mode, info.mtime_ns) == (0o4751, 1_234_567_890_123_456_000)
    disk.set_mode("a", 0o444)
    disk.set_mode("d", 0o2750)
    disk.set_times("a", 0)
    disk.set_times("d", 5_000_000_000)
    disk.set_times("l", 7_000_000_000)
    assert (disk.info("a").mode, disk.info("a").mtime_ns) == (0o444, 0)
    assert (disk.info("d").mode, disk.info("d").mtime_ns) == (0o2750, 5_000_000_000)
    assert disk.info("l").mtime_ns == 7_000_000_000


def test_info_tells_files_apart_whatever_their_names(disk: Disk) -> None:
    write(disk, "a", b"")
    write(disk, "b", b"")
    before = disk.info("a")
    assert before.inode != disk.info("b").inode
    disk.rename("a", "c")
    after = disk.info("c")
    assert (after.inode, after.device) == (before.inode, before.device)


def test_a_change_moves_ctime_or_size(disk: Disk) -> None:
    write(disk, "a", b"1")
    before = disk.info("a")
    disk.set_mode("a", 0o640)
    assert disk.info("a") != before


def test_locks_exclude(disk: Disk) -> None:
    lock = disk.lock("lock")
    with pytest.raises(Busy) as caught:
        disk.lock("lock")
    assert "lock" in caught.value.message
    lock.release()
    lock.release()
    assert disk.exists("lock")
    again = disk.lock("lock")
    lock.release()
    with pytest.raises(Busy):
        disk.lock("lock")
    again.release()


def test_space(disk: Disk) -> None:
    space = disk.space()
    assert 0 <= space.free <= space.total


def test_closed_means_closed(disk: Disk) -> None:
    file = disk.create("a")
    file.close()
    file.close()
    for call in (lambda: file.pwrite(b"x", 0), file.sync, file.info, lambda: file.truncate(0)):
        with pytest.raises(ValueError):
            call()
