"""What only the real disk can show: pipes, planted links, short writes, failing syncs, locks between processes."""

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from roost.core.errors import Busy, DiskFault, Failed, NoSpace, NotFound
from roost.disk.port import FileKind
from roost.disk.posix import PosixDisk


def test_a_pipe_or_socket_neither_hangs_nor_opens(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    disk = PosixDisk(tmp_path)
    assert disk.list("") == [("pipe", FileKind.OTHER)]
    assert disk.info("pipe").kind is FileKind.OTHER
    for follow in (False, True):
        with pytest.raises(Failed, match="regular"):
            disk.open_read("pipe", follow=follow)
    with pytest.raises(Failed, match="regular"):
        disk.open_write("pipe")


def test_a_planted_link_leads_no_write_out(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "victim").write_bytes(b"precious")
    (inside / "directory").symlink_to(outside)
    (inside / "file").symlink_to(outside / "victim")
    disk = PosixDisk(inside)
    for path in ("directory/victim", "file"):
        with pytest.raises(Failed):
            disk.open_write(path)
        with pytest.raises(Failed):
            disk.create(path)
        with pytest.raises(Failed):
            disk.lock(path)
    with pytest.raises(Failed):
        disk.unlink("directory/victim")
    disk.rename("file", "renamed")
    disk.unlink("renamed")
    assert (outside / "victim").read_bytes() == b"precious"


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    disk = PosixDisk(tmp_path / "link")
    disk.create("a").close()
    assert disk.list("") == [("a", FileKind.FILE)]
    disk.sync_directory("")


def test_a_missing_root_is_not_found(tmp_path: Path) -> None:
    disk = PosixDisk(tmp_path / "unmounted")
    for call in (disk.space, lambda: disk.list(""), lambda: disk.create("a"), lambda: disk.sync_directory("")):
        with pytest.raises(NotFound, match="unmounted"):
            call()


def test_make_makes_the_root_and_is_repeatable(tmp_path: Path) -> None:
    for _ in range(2):
        disk = PosixDisk.make(tmp_path / "a" / "b" / "c")
        assert disk.list("") == []
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Failed):
        PosixDisk.make(tmp_path / "file" / "x")


def test_pwrite_and_pread_go_on_after_short_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_pwrite, real_preadv = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real_pwrite(fd, data[:3], offset))
    monkeypatch.setattr(os, "preadv", lambda fd, views, offset: real_preadv(fd, [views[0][:2]], offset))
    with contextlib.closing(PosixDisk(tmp_path).create("a")) as file:
        file.pwrite(b"0123456789", 0)
        into = bytearray(12)
        assert file.pread(memoryview(into), 0) == 10
    assert bytes(into[:10]) == b"0123456789"
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_a_failed_sync_never_succeeds_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, "")

    with contextlib.closing(PosixDisk(tmp_path).create("a")) as file:
        file.pwrite(b"x", 0)
        with monkeypatch.context() as patch:
            patch.setattr("roost.disk.posix_file.sync_down", failing)
            with pytest.raises(DiskFault, match="sync"):
                file.sync()
        with pytest.raises(DiskFault, match="earlier sync failed"):
            file.sync()


def test_a_write_that_finds_no_room_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: memoryview, offset: int) -> int:
        raise OSError(errno.EDQUOT, "")

    with contextlib.closing(PosixDisk(tmp_path).create("a")) as file:
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(NoSpace) as caught:
            file.pwrite(b"x", 0)
    assert str(tmp_path / "a") in caught.value.message


def test_no_descriptor_is_left_open_or_handed_to_children(tmp_path: Path) -> None:
    disk = PosixDisk(tmp_path)
    before = set(os.listdir("/dev/fd"))
    disk.make_directory("d")
    file = disk.create("d/a")
    lock = disk.lock("d/lock")
    opened = [int(fd) for fd in set(os.listdir("/dev/fd")) - before]
    assert not any(os.get_inheritable(fd) for fd in opened if _is_open(fd))
    disk.list("d")
    disk.info("d/a")
    disk.exists("d/a")
    disk.sync_directory("d")
    for failing in (lambda: disk.create("d/a"), lambda: disk.open_read("d"), lambda: disk.lock("d/lock")):
        with pytest.raises((Failed, Busy)):
            failing()
    file.close()
    lock.release()
    assert len(os.listdir("/dev/fd")) == len(before)


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    disk = PosixDisk(tmp_path)
    program = (
        "import sys; from roost.disk.posix import PosixDisk; lock = PosixDisk(sys.argv[1]).lock('lock');"
        "print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(Busy):
            disk.lock("lock")
    finally:
        child.kill()
        child.communicate(timeout=10)
    disk.lock("lock").release()


def test_names_that_are_not_utf8_are_listed_and_reachable(tmp_path: Path) -> None:
    disk = PosixDisk(tmp_path)
    name = os.fsdecode(b"caf\xe9")
    try:
        disk.create(name).close()
    except DiskFault:
        pytest.skip("this file system takes only UTF-8 names")
    assert disk.list("") == [(name, FileKind.FILE)]
    disk.unlink(name)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
