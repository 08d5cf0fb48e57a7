"""The recipes of `roost.disk.durable` when nothing crashes, and when the disk refuses."""

import contextlib

import pytest

from roost.core.errors import Busy, DiskFault, Failed, NoSpace, NotFound, RoostError
from roost.disk.durable import (
    DurableFile,
    is_temporary,
    make_directory_durably,
    publish,
    read_small,
    rename_durably,
    sweep_temporaries,
    sync_tree,
    temporary_name,
    unlink_durably,
    write_durably,
)
from roost.disk.faults import AlreadyThere
from roost.testing.disk import MemoryDisk


def steps(disk: MemoryDisk) -> list[tuple[str, str]]:
    found = [(operation.what, operation.path) for operation in disk.journal]
    disk.journal.clear()
    return found


def test_write_durably_takes_exactly_these_steps() -> None:
    disk = MemoryDisk()
    disk.make_directory("d")
    disk.journal.clear()
    write_durably(disk, "d/a", b"data")
    assert steps(disk) == [
        ("create", "d/a.tmp-0"),
        ("write", "d/a.tmp-0"),
        ("sync", "d/a.tmp-0"),
        ("rename", "d/a.tmp-0"),
        ("sync directory", "d"),
    ]
    assert disk.contents() == {"d/": "", "d/a": b"data"}
    assert disk.info("d/a").mode == 0o600


def test_temporaries_beside_the_root_and_their_names() -> None:
    assert temporary_name("d/a", "Z-9_x") == "d/a.tmp-Z-9_x"
    assert is_temporary("a.tmp-0")
    for name in ("a", "a.tmp", "a.tmp-", ".tmp-0", "a.tmp-0.b", "a.tmp-\n"):
        assert not is_temporary(name)
    for token in ("", "a/b", "..", "x" * 65, "\0"):
        with pytest.raises(ValueError):
            temporary_name("a", token)


def test_two_writers_of_one_path_do_not_share_a_temporary() -> None:
    disk = MemoryDisk()
    disk.create("a.tmp-0").close()
    write_durably(disk, "a", b"mine")
    assert disk.contents() == {"a": b"mine", "a.tmp-0": b""}
    assert sweep_temporaries(disk, "") == 1
    assert disk.contents() == {"a": b"mine"}
    for number in range(16):
        disk.create(f"a.tmp-{number}").close()
    with pytest.raises(Busy) as caught:
        write_durably(disk, "a", b"more")
    assert "a.tmp-" in caught.value.hint


def test_sweep_leaves_all_else() -> None:
    disk = MemoryDisk()
    disk.make_directory("d")
    disk.make_directory("d/x.tmp-0")
    for name in ("a", "a.tmp-0", "b.tmp-token"):
        disk.create(f"d/{name}").close()
    assert sweep_temporaries(disk, "d") == 2
    assert [name for name, _ in disk.list("d")] == ["a", "x.tmp-0"]


@pytest.mark.parametrize("fault", ["full", "read-only", "failing"])
def test_a_refused_write_leaves_the_old_file_and_no_temporary(fault: str) -> None:
    disk = MemoryDisk()
    write_durably(disk, "a", b"old")
    expected: type[RoostError] = DiskFault
    if fault == "full":
        disk.bytes_max = 5
        expected = NoSpace
    elif fault == "read-only":
        disk.read_only = True
    else:
        disk.failing.add("a.tmp-0")
    with pytest.raises(expected):
        write_durably(disk, "a", b"newer")
    disk.bytes_max, disk.read_only = None, False
    disk.failing.clear()
    assert read_small(disk, "a", bytes_max=3) == b"old"
    if fault != "failing":
        assert disk.contents() == {"a": b"old"}


def test_a_target_that_cannot_be_replaced_leaves_no_temporary() -> None:
    disk = MemoryDisk()
    disk.make_directory("a")
    with pytest.raises(Failed):
        write_durably(disk, "a", b"x")
    with pytest.raises(NotFound):
        write_durably(disk, "missing/a", b"x")
    assert disk.contents() == {"a/": ""}


def test_durable_file_streams_and_commits_once() -> None:
    disk = MemoryDisk()
    disk.make_directory("d")
    disk.make_directory("t")
    with DurableFile(disk, "t/x", mode=0o640) as file:
        file.write(b"one ")
        file.write(memoryview(b"two"))
        assert file.written == 7
        disk.journal.clear()
        file.commit("d/a")
        with pytest.raises(ValueError):
            file.write(b"three")
        with pytest.raises(ValueError):
            file.commit("d/b")
    assert steps(disk) == [("sync", "t/x"), ("rename", "t/x"), ("sync directory", "d"), ("sync directory", "t")]
    assert disk.contents() == {"d/": "", "d/a": b"one two", "t/": ""}
    assert disk.info("d/a").mode == 0o640


def test_durable_file_left_early_leaves_nothing() -> None:
    disk = MemoryDisk()
    with pytest.raises(RuntimeError), DurableFile(disk, "x") as file:
        file.write(b"half")
        raise RuntimeError
    file.discard()
    assert disk.contents() == {}
    with DurableFile(disk, "x"), pytest.raises(AlreadyThere):
        DurableFile(disk, "x")


def test_a_file_whose_directory_cannot_be_synced_keeps_its_name_but_is_not_acknowledged() -> None:
    disk = MemoryDisk()
    disk.make_directory("d")
    with DurableFile(disk, "x") as file:
        file.write(b"data")
        disk.make_directory("other")
        real = disk.sync_directory

        def failing(path: str) -> None:
            raise DiskFault(f"cannot sync {path}")

        disk.sync_directory = failing  # type: ignore[method-assign]
        with pytest.raises(DiskFault):
            file.commit("d/a")
        disk.sync_directory = real  # type: ignore[method-assign]
    assert disk.contents() == {"d/": "", "d/a": b"data", "other/": ""}


def test_read_small_has_a_bound() -> None:
    disk = MemoryDisk()
    write_durably(disk, "a", b"12345")
    assert read_small(disk, "a", bytes_max=5) == b"12345"
    before = disk.cost_bytes
    with pytest.raises(Failed, match="longer than the 4 bytes"):
        read_small(disk, "a", bytes_max=4)
    assert disk.cost_bytes == before
    write_durably(disk, "empty", b"")
    assert read_small(disk, "empty", bytes_max=0) == b""
    with pytest.raises(NotFound):
        read_small(disk, "b", bytes_max=5)


def test_directories_are_durable_level_by_level_also_those_that_were_there() -> None:
    disk = MemoryDisk()
    disk.make_directory("a")
    disk.journal.clear()
    make_directory_durably(disk, "a/b/c")
    assert steps(disk) == [
        ("sync directory", ""),
        ("make directory", "a/b"),
        ("sync directory", "a"),
        ("make directory", "a/b/c"),
        ("sync directory", "a/b"),
    ]
    with pytest.raises(ValueError):
        make_directory_durably(disk, "")


def test_rename_and_unlink_sync_the_directories_they_change() -> None:
    disk = MemoryDisk()
    disk.make_directory("d")
    write_durably(disk, "a", b"x")
    disk.journal.clear()
    rename_durably(disk, "a", "d/a")
    unlink_durably(disk, "d/a")
    assert steps(disk) == [
        ("rename", "a"),
        ("sync directory", "d"),
        ("sync directory", ""),
        ("remove", "d/a"),
        ("sync directory", "d"),
    ]


def test_publish_closes_the_file_whatever_happens() -> None:
    disk = MemoryDisk()
    file = disk.create("x")
    disk.failing.add("x")
    with pytest.raises(DiskFault):
        publish(disk, file, "x", "a")
    disk.failing.clear()
    with pytest.raises(ValueError, match="closed"):
        file.sync()
    again = disk.open_write("x")
    publish(disk, again, "x", "a")
    assert disk.contents() == {"a": b""}


def test_sync_tree_goes_deepest_first_and_follows_no_link() -> None:
    disk = MemoryDisk()
    make_directory_durably(disk, "t/a/b")
    disk.symlink("..", "t/a/up")
    disk.journal.clear()
    sync_tree(disk, "t")
    assert steps(disk) == [("sync directory", "t/a/b"), ("sync directory", "t/a"), ("sync directory", "t")]


def test_large_writes_ask_for_early_write_back() -> None:
    disk = MemoryDisk()
    asked: list[tuple[int, int]] = []
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(DurableFile(disk, "x"))
        inner = file._open()
        inner.begin_writeback = lambda offset, length: asked.append((offset, length))  # type: ignore[method-assign]
        for _ in range(5):
            file.write(bytes(512 * 1024))
    assert asked == [(0, 1024 * 1024), (1024 * 1024, 1024 * 1024)]
