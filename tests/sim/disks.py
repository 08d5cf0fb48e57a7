"""What lies on the disks of simulated nodes, looked at from outside: now, and after a power cut."""

import random
from collections.abc import Callable

from roost.codec.manifest import Manifest
from roost.codec.records import Record, decode_record, record_id
from roost.core.errors import RoostError
from roost.core.ids import ObjectId, RecordId, object_id
from roost.testing.cluster import SimNode
from roost.testing.crash import durable_bytes
from roost.testing.disk import MemoryDisk
from roost.testing.walk import inode_at

HEX_DIGITS = 64

Look = Callable[[SimNode, str], bytes | None]
"""What a power cut would leave of a file on a node's disk."""


class Oldest(random.Random):
    """The chance that loses all that was not synced."""

    def randrange(self, *_: object) -> int:
        return 0


def object_path(wanted: ObjectId) -> str:
    """Where a node keeps the object below its home."""
    return f"chunks/{wanted.hex()[:2]}/{wanted.hex()}"


def object_at(path: str) -> ObjectId | None:
    """The object that a node keeps at `path`, if objects are kept there."""
    folder, _, name = path.rpartition("/")
    if len(name) != HEX_DIGITS or folder != f"chunks/{name[:2]}":
        return None
    return ObjectId(bytes.fromhex(name))


def record_path(record: RecordId, kind: str = "manifest") -> str:
    """Where a node keeps the record below its home."""
    return f"records/{record.hex()}.{kind}"


def record_at(path: str) -> RecordId | None:
    """The record that a node keeps at `path`, if records are kept there."""
    folder, _, name = path.rpartition("/")
    digits = name.partition(".")[0]
    if folder != "records" or len(digits) != HEX_DIGITS or digits.strip("0123456789abcdef"):
        return None
    return RecordId(bytes.fromhex(digits))


def names_on(disk: MemoryDisk, path: str) -> list[str]:
    """The names in a folder, whatever faults the disk has; none when it is no folder."""
    inode = inode_at(disk._medium.root, path, follow=False)
    return sorted(name for name, _ in inode.entries()) if inode is not None else []


def objects_on(disk: MemoryDisk) -> list[ObjectId]:
    """The objects that a node's disk holds, by name."""
    return [
        ObjectId(bytes.fromhex(name))
        for first in names_on(disk, "chunks")
        for name in names_on(disk, f"chunks/{first}")
        if len(name) == HEX_DIGITS
    ]


def records_on(disk: MemoryDisk) -> dict[RecordId, Record]:
    """The whole records that a node's disk holds."""
    found: dict[RecordId, Record] = {}
    for name in names_on(disk, "records"):
        data, record = file_on(disk, f"records/{name}"), record_at(f"records/{name}")
        if data is not None and record is not None and record_id(data) == record:
            found[record] = decode_record(data)
    return found


def file_on(disk: MemoryDisk, path: str) -> bytes | None:
    """The bytes of a file as they are now, whatever faults the disk has."""
    try:
        inode = inode_at(disk._medium.root, path, follow=False)
    except RoostError:
        return None
    return bytes(inode.data) if inode is not None else None


def durable_on(node: SimNode, path: str) -> bytes | None:
    """What a power cut now would leave of a file on the node's disk, if it lost all that was not synced."""
    return durable_bytes(node.disk._medium, path)


def has_good(disk: MemoryDisk, wanted: ObjectId) -> bool:
    """Whether the disk holds the object, its bytes as they should be, whether or not its node could tell."""
    data = file_on(disk, object_path(wanted))
    return data is not None and object_id(data) == wanted


def manifest_of(data: bytes) -> Manifest | None:
    """The manifest whose record this is; None when it is of another kind."""
    decoded = decode_record(data)
    return decoded if isinstance(decoded, Manifest) else None
