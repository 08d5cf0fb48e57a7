"""What a process that serves a home says of itself there, and how it is known whether one does."""

from pathlib import Path
from typing import Never

import pytest

from roost.client.run_state import RunState, is_served, read_run_state, serving, take_home, write_run_state
from roost.core.errors import Busy, NoSpace
from roost.disk.posix import PosixDisk
from roost.settings.paths import Home

STATE = RunState(4711, "127.0.0.1:7400", [("/runs", [("step-1", "a write")])])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_home_is_served_by_who_holds_its_lock(home: Home) -> None:
    disk = PosixDisk(home.root)
    assert not is_served(disk, home)
    assert serving(home) is None
    lock = take_home(disk, home)
    assert is_served(disk, home)
    assert serving(home) is None, "it has not said anything yet"
    write_run_state(disk, home, STATE)
    assert serving(home) == STATE
    with pytest.raises(Busy, match="process 4711"):
        take_home(PosixDisk(home.root), home)
    lock.release()
    assert not is_served(disk, home)
    assert serving(home) is None, "what the file says counts only while the lock is held"
    assert read_run_state(disk, home) == STATE
    take_home(disk, home).release()
    assert read_run_state(disk, home) == RunState(0, STATE.address), "who takes it leaves only where it was served"


def test_the_process_of_an_earlier_life_is_never_taken_for_the_one_that_serves(home: Home) -> None:
    disk = PosixDisk(home.root)
    write_run_state(disk, home, STATE)
    lock = take_home(disk, home)
    assert serving(home) is None
    with pytest.raises(Busy, match="another process"):
        take_home(disk, home)
    lock.release()


@pytest.mark.parametrize("refused", ["create", "create unlink"])
def test_a_disk_that_takes_nothing_does_not_keep_a_home_from_being_served_again(
    home: Home, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    disk = PosixDisk(home.root)
    write_run_state(disk, home, STATE)
    take_home(disk, home).release()
    write_run_state(disk, home, STATE)

    def refuse(path: str, **_: object) -> Never:
        raise NoSpace(f"cannot write {path!r}")

    for method in refused.split():
        monkeypatch.setattr(disk, method, refuse)
    lock = take_home(disk, home)
    assert is_served(disk, home)
    if "unlink" not in refused:
        assert read_run_state(disk, home) is None, "a full disk at least forgets"
    lock.release()


def test_who_serves_without_saying_so_is_another_process(home: Home) -> None:
    disk = PosixDisk(home.root)
    lock = take_home(disk, home)
    with pytest.raises(Busy, match="another process"):
        take_home(disk, home)
    lock.release()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"\xff",
        b"{}",
        b'{"pid": 1, "address": "nowhere"}',
        b'{"pid": 1, "address": "h:' + b"9" * 5000 + b'"}',
        b'{"pid": "1", "address": "h:1"}',
        b" " * (2 << 20),
    ],
    ids=["empty", "nonsense", "no UTF-8", "no fields", "no address", "a huge port", "no pid", "too long"],
)
def test_a_damaged_file_says_nothing(home: Home, data: bytes) -> None:
    disk = PosixDisk(home.root)
    home.run_state.write_bytes(data)
    assert read_run_state(disk, home) is None
    lock = take_home(disk, home)
    assert serving(home) is None
    lock.release()
