"""A gather and a power cut: after every operation, in every state the disk may be left in, what was there before is
whole, or the new version is, and what was acknowledged is there. The next gather finishes from any of them."""

import contextlib
from collections.abc import Iterator

import pytest

from crash.planted_disks import NoDirectorySync, NoFileSync
from roost.checkpoints.target import Target
from roost.codec.manifest import Chunk, ChunkTable, FileEntry, Manifest
from roost.codec.records import encode_record, record_id
from roost.codec.tree import tree_digest
from roost.core.ids import object_id
from roost.testing.disk import MemoryDisk, PowerCut

DEST = "back"
BLOCK_BYTES = 64
STATES_MAX = 400_000
ONE, TWO = b"1" * 70, b"2" * 10
OLD = {"a": b"old", "mine": b"stays"}


def manifest_of(entries: list[FileEntry], chunks: list[bytes], *, shape: str) -> Manifest:
    root = (0, 0) if shape == "file" else (0o750, 99)
    return Manifest(
        name="n", seq=1, stored_at=1, redundancy="2", shape=shape, source="here:/n",
        tree=tree_digest(entries, shape=shape), root_mode=root[0], root_mtime_ns=root[1], files=entries,
        chunks=ChunkTable.of(Chunk(object_id(c), object_id(c), len(c), len(c), 0) for c in chunks),
    )  # fmt: skip


def entry(path: str, data: bytes, mode: int = 0o444) -> FileEntry:
    return FileEntry(path, "f", mode, 77, len(data), object_id(data))


FILE = manifest_of([entry("a", ONE)], [ONE], shape="file")
FOLDER = manifest_of(
    [entry("a", TWO), FileEntry("d", "d", 0o555, 88, 0, b""), FileEntry("d/l", "l", 0o777, 66, 0, b"", "../a")],
    [TWO], shape="directory",
)  # fmt: skip
ID_OF_FILE = record_id(encode_record(FILE)).hex()[:8]
NEW: dict[str, dict[str, bytes | str]] = {"file": {"a": ONE}, "directory": {"a": TWO, "d/": "", "d/l": "../a"}}


def gather(disk: MemoryDisk, manifest: Manifest, *, force: bool = False) -> bool:
    """Gather; whether that was acknowledged before the power went."""
    target = Target(disk, DEST, manifest, record_id(encode_record(manifest)), force=force)
    data = ONE if manifest is FILE else TWO
    with contextlib.suppress(PowerCut):
        if not target.finished_already():
            try:
                target.prepare()
                target.write(0, memoryview(data))
                target.finish()
            finally:
                target.close()
        return True
    return False


def begun(kind: type[MemoryDisk], before: dict[str, bytes]) -> MemoryDisk:
    """A disk on which `before` lies at DEST, durably."""
    disk = kind(block_bytes=BLOCK_BYTES)
    if before:
        disk.make_directory(DEST)
        for name, data in before.items():
            file = disk.create(f"{DEST}/{name}")
            file.pwrite(data, 0)
            file.sync()
            file.close()
        disk.sync_directory(DEST)
        disk.sync_directory("")
    return disk


def cuts(
    manifest: Manifest, before: dict[str, bytes], kind: type[MemoryDisk] = MemoryDisk
) -> Iterator[tuple[bool, MemoryDisk]]:
    """A gather stopped before each of its operations in turn, and at last not at all."""
    for count in range(1000):
        disk = begun(kind, before)
        if hasattr(disk, "armed"):
            disk.armed = True
        disk.stop_after = disk.operations + count
        acknowledged = gather(disk, manifest, force=bool(before))
        yield acknowledged, disk
        if acknowledged:
            return
    raise AssertionError("a gather has no end")


def at_dest(disk: MemoryDisk) -> dict[str, bytes | str]:
    """What lies at DEST; the partial work of a file, which is there too, left out."""
    return {
        path.removeprefix(f"{DEST}/"): content
        for path, content in disk.contents().items()
        if path.startswith(f"{DEST}/") and path != f"{DEST}/" and ".roost-" not in path
    }


def problems(manifest: Manifest, before: dict[str, bytes], kind: type[MemoryDisk] = MemoryDisk) -> set[str]:
    """What is wrong with any state after any cut."""
    new = {**before, **NEW[manifest.shape]}
    found: set[str] = set()
    for acknowledged, disk in cuts(manifest, before, kind):
        for state in disk.crash_states(states_max=STATES_MAX):
            there = at_dest(state)
            if acknowledged:
                if there != new:
                    found.add("acknowledged, and not there")
                elif wrong_attributes(state, manifest):
                    found.add("acknowledged, and other modes or times")
            elif before:
                if any(there.get(path) not in (content, new[path]) for path, content in before.items()):
                    found.add("a file is neither the old one nor the new one")
                if any(there[path] != new.get(path) for path in there.keys() - before.keys()):
                    found.add("something that is neither old nor new")
            elif there not in ({}, new):
                found.add("part of a checkpoint at its destination")
    return found


def wrong_attributes(disk: MemoryDisk, manifest: Manifest) -> bool:
    wanted = {entry.path: (entry.mode, entry.mtime_ns) for entry in manifest.files if entry.kind != "l"}
    if manifest.shape == "directory":
        wanted[""] = (manifest.root_mode, manifest.root_mtime_ns)
    infos = {path: disk.info(f"{DEST}/{path}" if path else DEST) for path in wanted}
    return any((infos[path].mode, infos[path].mtime_ns) != facts for path, facts in wanted.items())


@pytest.mark.parametrize("manifest", [FILE, FOLDER], ids=["file", "folder"])
@pytest.mark.parametrize("before", [{}, OLD], ids=["absent", "there"])
def test_in_every_state_the_old_target_is_whole_or_the_new_one(manifest: Manifest, before: dict[str, bytes]) -> None:
    assert problems(manifest, before) == set()


@pytest.mark.parametrize(
    ("kind", "manifest", "before", "caught"),
    [
        (NoFileSync, FILE, {}, "part of a checkpoint at its destination"),
        (NoFileSync, FILE, OLD, "a file is neither the old one nor the new one"),
        (NoDirectorySync, FILE, {}, "acknowledged, and not there"),
        (NoDirectorySync, FILE, OLD, "acknowledged, and not there"),
    ],
)
def test_a_planted_bug_is_caught(
    kind: type[MemoryDisk], manifest: Manifest, before: dict[str, bytes], caught: str
) -> None:
    assert caught in problems(manifest, before, kind)


@pytest.mark.parametrize("manifest", [FILE, FOLDER], ids=["file", "folder"])
@pytest.mark.parametrize("before", [{}, OLD], ids=["absent", "there"])
def test_the_next_gather_finishes_from_any_state(manifest: Manifest, before: dict[str, bytes]) -> None:
    new = {**before, **NEW[manifest.shape]}
    for _, disk in cuts(manifest, before):
        for number, state in enumerate(disk.crash_states(states_max=STATES_MAX)):
            if number % 5:
                continue  # the states of one cut differ little
            assert gather(state, manifest, force=bool(before))
            assert at_dest(state) == new
            assert before or not wrong_attributes(state, manifest), "over what is there, the same bytes are enough"
            left = [path for path in state.contents() if ".roost-" in path and not path.endswith(".lock")]
            assert before or left in ([], [f"{DEST}/.a.roost-{ID_OF_FILE}"]), "or a rename that was half done"


@pytest.mark.parametrize("manifest", [FILE, FOLDER], ids=["file", "folder"])
def test_the_next_gather_finishes_after_a_kill_at_any_operation(manifest: Manifest) -> None:
    for _, disk in cuts(manifest, {}):
        disk.dead = False
        after = disk.kill()
        assert gather(after, manifest)
        assert at_dest(after) == NEW[manifest.shape]
        assert not wrong_attributes(after, manifest)
        assert [path for path in after.contents() if ".roost-" in path and not path.endswith(".lock")] == []


def test_the_file_in_place_is_never_written_to_through_the_other_name_of_a_half_done_rename() -> None:
    halves = [
        state
        for _, disk in cuts(FILE, OLD)
        for state in disk.crash_states(states_max=STATES_MAX)
        if at_dest(state).get("a") == ONE and f"{DEST}/.a.roost-{ID_OF_FILE}" in state.contents()
    ]
    assert halves
    disk = halves[0]
    file = disk.open_write(f"{DEST}/a")
    file.pwrite(b"edited by a person", 0)
    edited = at_dest(disk)["a"]
    target = Target(disk, DEST, FILE, record_id(encode_record(FILE)), force=True)
    assert not target.finished_already()
    target.prepare()
    target.write(0, memoryview(ONE))
    assert at_dest(disk)["a"] == edited
    target.finish()
    target.close()
    assert at_dest(disk)["a"] == ONE
