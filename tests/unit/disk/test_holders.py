"""Who has a file open for writing: asked of the system, with a real process that holds one."""

import subprocess
import sys
from pathlib import Path

import pytest

from roost.disk import holders
from roost.disk.holders import Holders
from roost.disk.port import FileInfo, FileKind
from roost.disk.posix import PosixDisk

OPEN = """
import sys
file = open(sys.argv[1], sys.argv[2])
print("open", flush=True)
input()
file.close()
print("closed", flush=True)
input()
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open")


@linux
@pytest.mark.parametrize(("mode", "held"), [("wb", True), ("ab", True), ("r+b", True), ("rb", False)])
def test_a_process_that_writes_holds_its_file_until_it_closes_it(tmp_path: Path, mode: str, held: bool) -> None:
    path, other = tmp_path / "x", tmp_path / "y"
    path.touch()
    other.touch()
    with subprocess.Popen(
        [sys.executable, "-c", OPEN, str(path), mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        disk = PosixDisk(tmp_path)
        for said, holds in ((b"open\n", held), (b"closed\n", False)):
            assert process.stdout.readline() == said
            found = holders.look()
            assert found is not None
            assert found.holds(disk.info("x")) is holds
            assert found.holds(disk.info("y")) is False
            process.stdin.write(b"\n")
            process.stdin.flush()


@linux
def test_it_is_not_the_name_but_the_file_that_is_held(tmp_path: Path) -> None:
    path = tmp_path / "x.tmp"
    with path.open("wb"):
        path.rename(tmp_path / "x")
        found = holders.look()
        assert found is not None
        assert found.holds(PosixDisk(tmp_path).info("x"))


@pytest.mark.parametrize(("user", "owner", "holds"), [(None, 7, False), (7, 7, False), (7, 8, None), (7, 0, None)])
def test_of_the_files_of_others_an_ordinary_user_knows_nothing(
    user: int | None, owner: int, holds: bool | None
) -> None:
    info = FileInfo(FileKind.FILE, 1, 0o644, 1, 1, inode=5, device=6, user=owner)
    assert Holders(frozenset(), user).holds(info) is holds
    assert Holders(frozenset({(6, 5)}), user).holds(info) is True


def test_a_system_that_does_not_tell_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert holders.look() is None
