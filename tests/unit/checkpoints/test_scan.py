"""A scan: what a file or folder holds, in the order of its bytes, and what no checkpoint holds refused by name."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from checkpoint_kits import Tree, write_tree
from roost.checkpoints.scan import Scan, scan
from roost.codec.manifest import FileEntry, tree_digest
from roost.codec.tree import tree_problem
from roost.core.checkpoint import CHECKPOINT_BYTES_MAX
from roost.core.errors import Failed, NotFound, UsageError
from roost.disk.port import FileInfo, FileKind
from roost.disk.posix import PosixDisk
from roost.testing.disk import MemoryDisk


def scanned(tree: Tree, *, follow: bool = False) -> Scan:
    disk = MemoryDisk()
    write_tree(disk, "top", tree)
    return scan(disk, "top", follow=follow)


def paths(found: Scan) -> list[str]:
    return [f.path for f in found.found]


def test_a_file_is_one_entry_under_its_own_name() -> None:
    disk = MemoryDisk()
    write_tree(disk, "model.pt", b"abc", mode=0o640)
    found = scan(disk, "model.pt")
    assert (found.shape, found.root, found.bytes, paths(found)) == ("file", None, 3, ["model.pt"])
    assert found.found[0].info.mode == 0o640


def test_a_folder_comes_in_the_order_of_its_bytes_with_its_own_stat() -> None:
    found = scanned({"b": b"2", "a": None, "a/z": b"1", "a-": b"", "ä": b"", "Z": b"", "日本": b"", "𝄞": b"", "ﬀ": b""})
    assert paths(found) == ["Z", "a", "a-", "a/z", "b", "ä", "日本", "ﬀ", "𝄞"]
    assert found.shape == "directory"
    assert found.root is not None
    assert found.root.mode == 0o755
    assert found.bytes == 2


def test_names_are_kept_as_they_are_composed_or_not() -> None:
    assert paths(scanned({"e\u0301": b"", "\u00e9": b"", "a\\b": b"", "new\nline": b""})) == [
        "a\\b", "e\u0301", "new\nline", "\u00e9",
    ]  # fmt: skip


def test_a_link_that_stays_inside_is_kept_even_a_dangling_one() -> None:
    found = scanned({"d": None, "d/x": b"1", "l": "d/x", "d/up": "../l", "gone": "nothing", "here": "."})
    assert {f.path: f.target for f in found.found if f.target} == {
        "l": "d/x", "d/up": "../l", "gone": "nothing", "here": ".",
    }  # fmt: skip
    assert [f.info.kind for f in found.found if f.path == "here"] == [FileKind.SYMLINK]
    entries = [
        FileEntry(f.path, {"file": "f", "directory": "d", "symlink": "l"}[f.info.kind], 0, 0, 0, b"", f.target)
        for f in found.found
        if f.info.kind is not FileKind.FILE
    ]
    assert tree_problem(entries, shape="directory") == ""
    assert tree_digest(entries, shape="directory")


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "d/../../secret", "/"])
def test_a_link_that_leaves_is_refused_by_name_with_follow_as_the_hint(target: str) -> None:
    with pytest.raises(UsageError, match="'away' leaves the folder") as caught:
        scanned({"d": None, "away": target})
    assert "--follow" in caught.value.hint


def test_links_that_can_only_be_followed_together_are_refused() -> None:
    with pytest.raises(UsageError, match="steps back") as caught:
        scanned({"d": None, "d/up": "..", "x": "d/up/../y"})
    assert "--follow" in caught.value.hint


def test_follow_takes_what_links_lead_to_files_and_folders() -> None:
    disk = MemoryDisk()
    write_tree(disk, "blobs", {"one": b"1234567", "more": None, "more/two": b"2"})
    write_tree(disk, "top", {"file": "../blobs/one", "folder": "../blobs/more", "own": "file"})
    found = scan(disk, "top", follow=True)
    assert paths(found) == ["file", "folder", "folder/two", "own"]
    assert [(f.info.kind, f.info.size) for f in found.found] == [
        (FileKind.FILE, 7), (FileKind.DIRECTORY, 0), (FileKind.FILE, 1), (FileKind.FILE, 7),
    ]  # fmt: skip
    assert not any(f.target for f in found.found)


@pytest.mark.parametrize("target", ["..", "../top", ".", "d/../../top/d"])
def test_follow_refuses_a_link_that_leads_back_above_itself(target: str) -> None:
    disk = MemoryDisk()
    write_tree(disk, "top", {"d": None, "back": target} if "d/" not in target else {"d": None, "d/back": "../../top"})
    with pytest.raises(UsageError, match="leads back into a folder above it"):
        scan(disk, "top", follow=True)


def test_follow_refuses_a_link_that_leads_nowhere() -> None:
    with pytest.raises(UsageError, match="'gone' leads nowhere"):
        scanned({"gone": "nothing"}, follow=True)


def test_the_top_may_be_a_link() -> None:
    disk = MemoryDisk()
    write_tree(disk, "real", {"x": b"1"})
    write_tree(disk, "model.pt", b"abc")
    disk.symlink("real", "folder")
    disk.symlink("model.pt", "file")
    assert paths(scan(disk, "folder", follow=True)) == ["x"]
    assert scan(disk, "file").found[0].info.size == 3


def test_what_is_not_there_is_not_found() -> None:
    disk = MemoryDisk()
    disk.symlink("nothing", "dangling")
    for name in ("absent", "dangling"):
        with pytest.raises(NotFound):
            scan(disk, name)


def test_sockets_pipes_and_names_without_utf_8_are_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    with pytest.raises(UsageError, match="'pipe' is a device, socket or pipe"):
        scan(PosixDisk(folder), "")
    (folder / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path has at most some 100 bytes
        try:
            server.bind("ear")
        finally:
            os.chdir(here)
        with pytest.raises(UsageError, match="'ear' is a device, socket or pipe"):
            scan(PosixDisk(folder), "")
        with pytest.raises(UsageError, match="neither a file nor a directory"):
            scan(PosixDisk(folder), "ear")
    (folder / "ear").unlink()
    (folder / "bad").symlink_to(os.fsdecode(b"../\xff"))
    with pytest.raises(UsageError, match="leaves the folder") as caught:
        scan(PosixDisk(folder), "")
    caught.value.message.encode()
    (folder / "bad").unlink()
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(UsageError, match="not UTF-8"):
        scan(PosixDisk(folder), "")


def test_a_very_deep_folder_is_found_to_its_end() -> None:
    disk = MemoryDisk()
    path = "top"
    disk.make_directory(path)
    for _ in range(1500):
        path += "/d"
        disk.make_directory(path)
    assert len(scan(disk, "top").found) == 1500


def test_a_name_too_long_for_a_checkpoint_is_refused() -> None:
    with pytest.raises(UsageError, match="longer than 255"):
        scanned({"é" * 128: b""})


def test_a_checkpoint_over_the_limit_is_refused_before_a_byte_is_read() -> None:
    class Huge(MemoryDisk):
        def info(self, path: str, *, follow: bool = False) -> FileInfo:
            info = super().info(path, follow=follow)
            return replace(info, size=CHECKPOINT_BYTES_MAX + 1) if info.kind is FileKind.FILE else info

    disk = Huge()
    write_tree(disk, "top", {"x": b"1"})
    for name in ("top", "top/x"):
        with pytest.raises(UsageError, match="16 TiB"):
            scan(disk, name)


def test_a_file_that_vanishes_under_the_scan_says_so() -> None:
    class Fleeting(MemoryDisk):
        def info(self, path: str, *, follow: bool = False) -> FileInfo:
            if path == "top/x":
                raise NotFound("gone")
            return super().info(path, follow=follow)

    disk = Fleeting()
    write_tree(disk, "top", {"x": b"1"})
    with pytest.raises(Failed, match="vanished"):
        scan(disk, "top")
