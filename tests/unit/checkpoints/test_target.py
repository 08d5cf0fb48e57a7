"""The target: what is at DEST is whole or as it was; partial work is resumed; names, modes, times and links return."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from checkpoint_kits import KIB, Tree, attributes, noise, read_file, subtree, write_file, write_tree
from roost.checkpoints.cutting import Cutter
from roost.checkpoints.holding import Holding
from roost.checkpoints.scan import scan
from roost.checkpoints.target import Target
from roost.codec.manifest import Chunk, ChunkTable, FileEntry, Manifest
from roost.codec.records import encode_record, record_id
from roost.codec.tree import tree_digest
from roost.core.errors import Busy, DiskFault, Failed, NoSpace, NotFound
from roost.core.ids import object_id
from roost.disk.port import Disk, FileKind
from roost.disk.posix import PosixDisk
from roost.testing.disk import MemoryDisk

TREE: Tree = {
    "a.json": noise(100, 1), "empty": b"", "sub": None, "sub/deep": None, "sub/deep/w.bin": noise(9 * KIB, 2),
    "sub/link": "../a.json", "z.bin": noise(3 * KIB, 3),
}  # fmt: skip
DEST = "back"


class Stored:
    """A checkpoint as it was stored: its manifest and the plain bytes of its chunks."""

    def __init__(self, tree: Tree | bytes, *, name: str = "out", modes: dict[str, int] | None = None) -> None:
        self.source = MemoryDisk()
        write_tree(self.source, name, tree, mode=0o640)
        for path, mode in (modes or {}).items():
            self.source.set_mode(f"{name}/{path}" if path else name, mode)
        found = scan(self.source, name)
        cutter = Cutter(Holding(self.source, found), found, chunk_max=4 * KIB)
        buffer = memoryview(bytearray(64 * KIB))
        self.chunks: list[bytes] = []
        while cuts := cutter.next_window(buffer):
            self.chunks += [bytes(cut.plain) for cut in cuts]
        self.manifest = manifest_of(
            cutter.entries, self.chunks, shape=found.shape,
            root=(found.root.mode, found.root.mtime_ns) if found.root else (0, 0),
        )  # fmt: skip
        self.id = record_id(encode_record(self.manifest))

    def target(self, disk: Disk, dest: str = DEST, *, force: bool = False, only: str | None = None) -> Target:
        return Target(disk, dest, self.manifest, self.id, force=force, only=only)

    def gather(self, disk: Disk, dest: str = DEST, *, force: bool = False, only: str | None = None) -> None:
        """All that a gather does with its target."""
        target = self.target(disk, dest, force=force, only=only)
        if target.finished_already():
            return
        try:
            target.prepare()
            for chunk in target.chunks:
                target.write(chunk, memoryview(self.chunks[chunk]))
            target.finish()
        finally:
            target.close()


def manifest_of(
    entries: list[FileEntry], chunks: list[bytes], *, shape: str = "directory", root: tuple[int, int] = (0o755, 7)
) -> Manifest:
    return Manifest(
        name="run/step-1", seq=1, stored_at=1, redundancy="2", shape=shape, source="here:/out",
        tree=tree_digest(entries, shape=shape), root_mode=root[0], root_mtime_ns=root[1], files=entries,
        chunks=ChunkTable.of(Chunk(object_id(c), object_id(c), len(c), len(c), 0) for c in chunks),
    )  # fmt: skip


FOLDER = Stored(TREE)
FILE = Stored(noise(9 * KIB, 4), name="model.pt")


def leftovers(disk: MemoryDisk) -> list[str]:
    return [path for path in disk.contents() if ".roost-" in path]


def test_a_folder_returns_with_names_modes_times_and_links() -> None:
    disk = MemoryDisk()
    FOLDER.gather(disk)
    assert subtree(disk, DEST) == subtree(FOLDER.source, "out")
    assert attributes(disk, DEST) == attributes(FOLDER.source, "out")
    assert leftovers(disk) == []


def test_a_file_returns_below_dest_which_is_made() -> None:
    disk = MemoryDisk()
    FILE.gather(disk)
    assert read_file(disk, "back/model.pt") == noise(9 * KIB, 4)
    assert attributes(disk, "back/model.pt") == attributes(FILE.source, "model.pt")
    assert disk.info("back").mode == 0o777, "less the umask"
    write_file(disk, "back/other", b"stays")
    FILE.gather(disk, force=True)
    assert subtree(disk, DEST)["other"] == b"stays"
    assert leftovers(disk) == []


@pytest.mark.parametrize("stored", [FOLDER, FILE])
def test_what_is_there_already_is_done_and_not_touched(stored: Stored) -> None:
    disk = MemoryDisk()
    stored.gather(disk)
    before = disk.operations
    assert stored.target(disk).finished_already()
    assert stored.target(disk, force=True).finished_already()
    assert disk.operations == before


def test_the_partial_work_has_the_name_that_people_look_for() -> None:
    for stored, path in ((FOLDER, ".back.roost-"), (FILE, "back/.model.pt.roost-")):
        assert stored.target(MemoryDisk()).partial == path + stored.id.hex()[:8]


@pytest.mark.parametrize("name", ["n" * 255, "日" * 85, "é" * 127])
def test_a_name_as_long_as_a_file_system_allows_can_be_gathered(name: str, tmp_path: Path) -> None:
    Stored(b"123", name=name).gather(PosixDisk(tmp_path))
    assert (tmp_path / DEST / name).read_bytes() == b"123"
    Stored({"x": b"1"}).gather(PosixDisk(tmp_path), name)
    assert (tmp_path / name / "x").read_bytes() == b"1"


# What stands in the way


Block = Callable[[MemoryDisk], object]


@pytest.mark.parametrize(
    ("stored", "block"),
    [
        (FOLDER, lambda disk: write_tree(disk, DEST, {"other": b"mine"})),
        (FOLDER, lambda disk: write_tree(disk, DEST, {**TREE, "a.json": b"another"})),
        (FOLDER, lambda disk: write_file(disk, DEST, b"a file")),
        (FOLDER, lambda disk: disk.symlink("elsewhere", DEST)),
        (FILE, lambda disk: write_tree(disk, DEST, {"model.pt": b"another"})),
        (FILE, lambda disk: write_tree(disk, DEST, {"model.pt": None})),
        (FILE, lambda disk: write_tree(disk, DEST, {"model.pt": "elsewhere"})),
        (FILE, lambda disk: write_file(disk, DEST, b"a file")),
    ],
)
def test_something_else_there_is_refused_and_untouched(stored: Stored, block: Block) -> None:
    disk = MemoryDisk()
    block(disk)
    before = disk.contents()
    with pytest.raises(Failed) as caught:
        stored.gather(disk)
    assert caught.value.hint
    assert disk.contents() == before


@pytest.mark.parametrize("stored", [FOLDER, FILE])
def test_something_that_appears_there_meanwhile_is_not_replaced_without_force(stored: Stored) -> None:
    disk = MemoryDisk()
    target = stored.target(disk)
    assert not target.finished_already()
    target.prepare()
    for chunk in target.chunks:
        target.write(chunk, memoryview(stored.chunks[chunk]))
    write_tree(disk, DEST, {"model.pt": b"mine", "a.json": b"mine too"})
    with pytest.raises(Failed, match="exists"):
        target.finish()
    target.close()
    assert {path: data for path, data in subtree(disk, DEST).items() if ".roost-" not in path} == {
        "model.pt": b"mine", "a.json": b"mine too",
    }  # fmt: skip


def test_an_empty_folder_is_no_obstacle() -> None:
    disk = MemoryDisk()
    disk.make_directory(DEST)
    FOLDER.gather(disk)
    assert subtree(disk, DEST) == subtree(FOLDER.source, "out")
    assert attributes(disk, DEST) == attributes(FOLDER.source, "out")


# Force


def test_force_replaces_files_one_by_one_and_keeps_what_the_checkpoint_does_not_hold() -> None:
    disk = MemoryDisk()
    mine = {"a.json": b"old", "mine": b"stays", "sub": b"was a file", "z.bin": "a-link", "more": None, "more/x": b"1"}
    write_tree(disk, DEST, mine)
    FOLDER.gather(disk, force=True)
    assert subtree(disk, DEST) == {**subtree(FOLDER.source, "out"), "mine": b"stays", "more/": "", "more/x": b"1"}
    assert leftovers(disk) == []
    assert attributes(disk, DEST)["sub/deep/w.bin"] == attributes(FOLDER.source, "out")["sub/deep/w.bin"]
    assert attributes(disk, DEST)["sub"] == attributes(FOLDER.source, "out")["sub"]


def test_force_never_replaces_a_folder_by_a_file_and_says_so_before_anything_is_fetched() -> None:
    disk = MemoryDisk()
    write_tree(disk, DEST, {"z.bin": None, "z.bin/mine": b"1", "a.json": b"old"})
    before = disk.contents()
    with pytest.raises(Failed, match=r"z\.bin is a folder"):
        FOLDER.gather(disk, force=True)
    assert disk.contents() == before


def test_force_goes_over_folders_that_were_restored_read_only(tmp_path: Path) -> None:
    stored = Stored(TREE, modes={"sub": 0o555, "sub/deep": 0o500, "": 0o555, "sub/deep/w.bin": 0o444})
    disk = PosixDisk(tmp_path)
    stored.gather(disk)
    (tmp_path / DEST / "sub" / "deep").chmod(0o700)
    (tmp_path / DEST / "sub" / "deep" / "w.bin").unlink()
    stored.gather(disk, force=True)
    assert (tmp_path / DEST / "sub/deep/w.bin").read_bytes() == noise(9 * KIB, 2)
    for path, mode in (("", 0o555), ("sub", 0o555), ("sub/deep", 0o500), ("sub/deep/w.bin", 0o444)):
        assert (tmp_path / DEST / path).stat().st_mode & 0o7777 == mode
    for path in ("", "sub", "sub/deep"):
        (tmp_path / DEST / path).chmod(0o700)


# Parts of it


@pytest.mark.parametrize(
    ("only", "paths"),
    [
        ("*.json", {"a.json"}),
        ("w.bin", {"sub/", "sub/deep/", "sub/deep/w.bin"}),
        ("sub/*", {"sub/", "sub/deep/", "sub/deep/w.bin", "sub/link"}),
        ("link", {"sub/", "sub/link"}),
        ("empty", {"empty"}),
    ],
)
def test_only_what_matches_is_gathered_with_the_folders_above_it(only: str, paths: set[str]) -> None:
    disk = MemoryDisk()
    target = FOLDER.target(disk, only=only)
    FOLDER.gather(disk, only=only)
    wanted = {path: content for path, content in subtree(FOLDER.source, "out").items() if path in paths}
    assert subtree(disk, DEST) == wanted
    assert target.bytes == sum(target.bytes_of(chunk) for chunk in target.chunks)
    assert target.bytes == sum(len(content) for path, content in wanted.items() if isinstance(content, bytes))
    assert FOLDER.target(disk, only=only).finished_already()


def test_only_that_matches_nothing_is_not_found() -> None:
    for stored in (FOLDER, FILE):
        with pytest.raises(NotFound):
            stored.target(MemoryDisk(), only="*.gguf")


def test_what_an_interrupted_gather_of_more_left_does_not_come_along() -> None:
    """It is there, of its full length, and empty: the files of the first gather must not end up in DEST."""
    disk = MemoryDisk()
    first = FOLDER.target(disk)
    first.prepare()
    first.close()
    FOLDER.gather(disk, only="*.json")
    assert subtree(disk, DEST) == {"a.json": noise(100, 1)}
    assert leftovers(disk) == []


def test_folders_that_the_manifest_does_not_list_are_made_for_what_is_in_them() -> None:
    data = b"12"
    entry = FileEntry("a/b/c", "f", 0o600, 5, 2, object_id(data))
    manifest = manifest_of([entry], [data])
    for before in ({}, {"a": None, "mine": b"1"}):
        disk = MemoryDisk()
        if before:
            write_tree(disk, DEST, before)
        target = Target(disk, DEST, manifest, record_id(encode_record(manifest)), force=True)
        assert not target.finished_already()
        target.prepare()
        target.write(0, memoryview(data))
        target.finish()
        target.close()
        assert read_file(disk, "back/a/b/c") == data
        assert leftovers(disk) == []


# Resuming


def half(stored: Stored, disk: Disk) -> Target:
    """A gather that was interrupted with every second chunk written."""
    target = stored.target(disk)
    target.prepare()
    for chunk in target.chunks[::2]:
        target.write(chunk, memoryview(stored.chunks[chunk]))
    target.close()
    return target


@pytest.mark.parametrize("stored", [FOLDER, FILE])
def test_partial_work_is_found_and_read_back(stored: Stored) -> None:
    disk = MemoryDisk()
    half(stored, disk)
    target = stored.target(disk)
    assert target.prepare() is True
    for chunk in target.chunks:
        into = memoryview(bytearray(len(stored.chunks[chunk])))
        assert target.read(chunk, into)
        assert (into == stored.chunks[chunk]) == (chunk % 2 == 0)
    target.close()
    stored.gather(disk)
    assert stored.target(disk).finished_already()
    assert leftovers(disk) == []


def test_partial_work_of_another_length_or_kind_is_made_right() -> None:
    disk = MemoryDisk()
    partial = half(FOLDER, disk).partial
    write_file(disk, f"{partial}/a.json", noise(5000))
    disk.unlink(f"{partial}/z.bin")
    write_tree(disk, f"{partial}/z.bin", {"deep": None, "deep/x": b"1"})
    disk.unlink(f"{partial}/empty")
    disk.symlink("/etc/passwd", f"{partial}/empty")
    FOLDER.gather(disk)
    assert subtree(disk, DEST) == subtree(FOLDER.source, "out")
    assert attributes(disk, DEST) == attributes(FOLDER.source, "out")


def test_partial_work_whose_modes_were_set_already_is_resumed(tmp_path: Path) -> None:
    """Read-only files and folders, as the last step before the rename leaves them. As an ordinary user this fails
    unless the modes are taken back."""
    stored = Stored(TREE, modes={"": 0o555, "sub": 0o555, "sub/deep": 0o555, "z.bin": 0o444, "sub/deep/w.bin": 0o400})
    disk = PosixDisk(tmp_path)
    partial = tmp_path / half(stored, disk).partial
    for path, mode in (("z.bin", 0o444), ("sub/deep/w.bin", 0o400), ("sub/deep", 0o555), ("sub", 0o555), ("", 0o555)):
        (partial / path).chmod(mode)
    stored.gather(disk)
    assert (tmp_path / DEST / "sub/deep/w.bin").stat().st_mode & 0o7777 == 0o400
    assert (tmp_path / DEST).stat().st_mode & 0o7777 == 0o555
    for path in ("", "sub", "sub/deep"):
        (tmp_path / DEST / path).chmod(0o700)


def test_more_files_than_may_be_open_at_once_are_written_and_resumed() -> None:
    tree = {f"f{n:03}": noise(50, n) for n in range(100)}
    stored = Stored(tree)
    disk = MemoryDisk()
    half(stored, disk)
    stored.gather(disk)
    assert subtree(disk, DEST) == tree


# Two at once, and disks that fail


@pytest.mark.parametrize("stored", [FOLDER, FILE])
def test_of_two_gathers_at_once_the_second_is_busy_and_harms_nothing(stored: Stored) -> None:
    disk = MemoryDisk()
    first, second = stored.target(disk), stored.target(disk)
    first.prepare()
    with pytest.raises(Busy):
        second.prepare()
    second.close()
    with pytest.raises(Busy):
        stored.gather(disk)
    for chunk in first.chunks:
        first.write(chunk, memoryview(stored.chunks[chunk]))
    first.finish()
    first.close()
    assert stored.target(disk).finished_already()
    assert leftovers(disk) == []


@pytest.mark.parametrize("stored", [FOLDER, FILE])
def test_a_full_disk_ends_it_and_the_next_gather_goes_on(stored: Stored) -> None:
    disk = MemoryDisk(bytes_max=5000)
    write_tree(disk, DEST, {"mine": b"1"})
    with pytest.raises(NoSpace):
        stored.gather(disk, force=True)
    assert subtree(disk, DEST)["mine"] == b"1"
    disk.bytes_max = None
    stored.gather(disk, force=True)
    assert stored.target(disk).finished_already()


def test_a_disk_that_turns_read_only_gives_its_own_error_and_lets_the_lock_go() -> None:
    disk = MemoryDisk()
    target = FOLDER.target(disk)
    target.prepare()
    disk.read_only = True
    with pytest.raises(DiskFault, match=r"(?i)read-only"):
        target.write(0, memoryview(FOLDER.chunks[0]))
    target.close()
    disk.read_only = False
    with contextlib.suppress(NotFound):
        disk.lock(f"{target.partial}.lock").release()
    FOLDER.gather(disk)
    assert FOLDER.target(disk).finished_already()
    assert disk.info(f"{DEST}/sub/link").kind is FileKind.SYMLINK
