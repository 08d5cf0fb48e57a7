"""Where things lie below a chunk store's directory, and how that tree is made, recognised and read back at a start.

    chunks/store.id           which store this is: 32 hex digits and a newline, written last when the tree is made
    chunks/ab/abcdef...       an object, named by its SHA-256, in the directory of its first byte
    chunks/tmp/...            objects on their way; whatever is here at a start is left over, and removed
    quarantine/abcdef...-N    what was found not to have the SHA-256 that it was named by, kept for a person to look at

All functions block, and are run in threads.
"""

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from roost.core.errors import DiskFault, Failed, NoSpace, NotFound, RoostError
from roost.core.ids import ObjectId, parse_object_id
from roost.disk.durable import make_directory_durably, read_small, rename_durably, write_durably
from roost.disk.port import Disk, FileInfo, FileKind, parent_of
from roost.wire.fields import OBJECT_BYTES_MAX

FAN_OUT = tuple(f"{first:02x}" for first in range(256))
TEMPORARIES = "tmp"
STORE_ID_BYTES = 16
_STORE_ID = re.compile(rb"([0-9a-f]{32})\n\Z")
_FOREIGN = "not an id"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one store on its disk. Both directories must be on one file system."""

    root: str = "chunks"
    quarantine: str = "quarantine"

    @property
    def store_id(self) -> str:
        return f"{self.root}/store.id"

    @property
    def temporaries(self) -> str:
        return self.fan(TEMPORARIES)

    def fan(self, first: str) -> str:
        """The directory of the objects whose id starts with the byte `first` (two hex digits)."""
        return f"{self.root}/{first}"

    def object(self, object_id: ObjectId) -> str:
        name = object_id.hex()
        return f"{self.root}/{name[:2]}/{name}"

    def temporary(self, object_id: ObjectId, number: int) -> str:
        return f"{self.temporaries}/{object_id.hex()}-{number}"


def open_tree(disk: Disk, layout: Layout, *, expected_store_id: str | None, fresh_store_id: str) -> str:
    """Make or recognise the store's tree, and return its id.

    With `expected_store_id` the tree must be there and bear it. Without, it is made when absent, and one that was made
    before is taken as it is (the process that made it may have died before its id was remembered). Failed when the
    tree is not the one expected: the disk that holds it may not be mounted, and a node must not start on another.
    """
    found = _read_store_id(disk, layout)
    if found == _FOREIGN or (expected_store_id is not None and found != expected_store_id):
        what = f"{layout.store_id} is missing" if found is None else f"{layout.store_id} names another store"
        raise Failed(
            f"{what}: this is not the disk that held this node's objects",
            hint="mount the disk that holds them and start again; if it is gone for good, join with a new, empty home",
        )
    if found is not None:
        with contextlib.suppress(NoSpace, DiskFault):  # it is all there; a disk that takes nothing still gives
            _make_directories(disk, layout)
        return found
    _make_directories(disk, layout)
    write_durably(disk, layout.store_id, fresh_store_id.encode() + b"\n")
    return fresh_store_id


def _make_directories(disk: Disk, layout: Layout) -> None:
    make_directory_durably(disk, layout.root)
    make_directory_durably(disk, layout.quarantine)
    for name in (*FAN_OUT, TEMPORARIES):
        disk.make_directory(layout.fan(name), exist_ok=True)
    disk.sync_directory(layout.root)


def _read_store_id(disk: Disk, layout: Layout) -> str | None:
    try:
        data = read_small(disk, layout.store_id, bytes_max=64)
    except NotFound:
        return None
    match = _STORE_ID.match(data)
    return match[1].decode() if match else _FOREIGN


def store_id_problem(disk: Disk, layout: Layout, expected: str, known: FileInfo | None) -> tuple[str, FileInfo | None]:
    """Why the tree that is there now is not the one with the id `expected`, or nothing; and the file that said so, to
    be passed as `known` the next time: while it is that very file, it is not read again. DiskFault when the disk does
    not say."""
    try:
        seen = disk.info(layout.store_id)
    except NotFound:
        return f"{layout.store_id} is missing", None
    if known is not None and _same_file(seen, known):
        return "", known
    found = _read_store_id(disk, layout)
    if found == expected:
        return "", seen
    return f"{layout.store_id} {'is missing' if found is None else 'names another store'}", None


def _same_file(one: FileInfo, other: FileInfo) -> bool:
    """Whether it is one file, on one disk, that nobody wrote to: a disk that took another's number has other times."""
    return (one.device, one.inode, one.size, one.mtime_ns, one.ctime_ns) == (
        other.device, other.inode, other.size, other.mtime_ns, other.ctime_ns,
    )  # fmt: skip


def sweep(disk: Disk, layout: Layout) -> int:
    """Remove the temporaries of dead writers; returns how many there were."""
    names = disk.list(layout.temporaries)
    for name, _ in names:
        disk.unlink(f"{layout.temporaries}/{name}")
    return len(names)


@dataclass(frozen=True, slots=True)
class Listing:
    """The objects of one directory with their sizes and when each was last known good (Unix seconds: the time of its
    file), how many could not be looked at, and the directory, if its names could not be made durable."""

    sizes: dict[ObjectId, int]
    verified: dict[ObjectId, int]
    faults: int
    unsynced: frozenset[str] = frozenset()


def list_objects(disk: Disk, layout: Layout, first: str) -> Listing:
    """The objects in one of the 256 directories, by name; nothing is read. What cannot be an object is passed over.

    The directory is synced: a process that died between the rename and the sync of a put leaves an object that is
    there, but would be gone after a power cut. From here on it is vouched for. Of a disk that refuses (it is read-only)
    the objects can be read, and who vouches for them syncs first.
    """
    directory = layout.fan(first)
    unsynced = {directory}
    with contextlib.suppress(NoSpace, DiskFault):
        sync_names(disk, unsynced)
    sizes: dict[ObjectId, int] = {}
    verified: dict[ObjectId, int] = {}
    faults = 0
    for name, kind in disk.list(directory):
        object_id = _object_named(name)
        if kind is not FileKind.FILE or object_id is None or not name.startswith(first):
            continue
        try:
            found = disk.info(f"{directory}/{name}")
        except RoostError:
            faults += 1
            continue
        if found.size <= OBJECT_BYTES_MAX:
            sizes[object_id] = found.size
            verified[object_id] = max(1, found.mtime_ns // 10**9)
    return Listing(sizes, verified, faults, frozenset(unsynced))


def sync_names(disk: Disk, directories: set[str]) -> None:
    """Make the names in `directories` durable, and take each out of the set that is. DiskFault: the rest is not."""
    for directory in sorted(directories):
        disk.sync_directory(directory)
        directories.discard(directory)


def file_sizes(disk: Disk, layout: Layout, ids: Iterable[ObjectId]) -> list[int | None]:
    """Per object the size of its file, None when there is none; -1 when the disk does not say."""
    sizes: list[int | None] = []
    for object_id in ids:
        try:
            sizes.append(disk.info(layout.object(object_id)).size)
        except NotFound:
            sizes.append(None)
        except RoostError:
            sizes.append(-1)
    return sizes


def _object_named(name: str) -> ObjectId | None:
    try:
        return parse_object_id(name)
    except RoostError:
        return None


def count_quarantined(disk: Disk, layout: Layout) -> int:
    """How many files are in quarantine."""
    return len(disk.list(layout.quarantine))


def move_to_quarantine(disk: Disk, layout: Layout, object_id: ObjectId, seen: FileInfo | None) -> bool:
    """Rename the object's file into quarantine, durably, if it still is the file that was `seen`; whether it was.
    NotFound when there is none. Nothing is ever removed from quarantine, or replaced in it, by us."""
    path = layout.object(object_id)
    now = disk.info(path)
    if seen is not None and (now.inode, now.device) != (seen.inode, seen.device):
        return False
    number = 0
    while disk.exists(target := f"{layout.quarantine}/{object_id.hex()}-{number}"):
        number += 1
    rename_durably(disk, path, target)
    return True


def remove_objects(disk: Disk, layout: Layout, ids: Iterable[ObjectId], gone: list[ObjectId]) -> None:
    """Remove the objects' files durably; `gone` grows with each that is removed, or was not there. After a power cut
    before this returns, some of those may be back."""
    directories: set[str] = set()
    for object_id in ids:
        path = layout.object(object_id)
        with contextlib.suppress(NotFound):
            disk.unlink(path)
            directories.add(parent_of(path))
        gone.append(object_id)
    for directory in sorted(directories):
        disk.sync_directory(directory)
