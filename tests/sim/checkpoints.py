"""Small checkpoints made from chance, written to a simulated disk, and read back from one to be compared."""

import enum
import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from roost.codec.manifest import Manifest
from roost.disk.port import FileKind
from roost.testing.disk import MemoryDisk

TIME_NS = 1_700_000_000 * 10**9


@dataclass(frozen=True, slots=True)
class Entry:
    """A file (its bytes), a folder, or a link (its target). Links have no mode of their own."""

    kind: FileKind
    data: bytes | str
    mode: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Tree:
    """A checkpoint: the entries of a folder by path, or the one file that it is (`single`)."""

    entries: Mapping[str, Entry]
    single: bool


class Maker:
    """Makes checkpoints of some 30 to 500 KB."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._made = 0

    def tree(self) -> Tree:
        """A new checkpoint: one safetensors file, or a folder around one."""
        if self._chance.random() < 0.3:
            return Tree({"model.safetensors": self._file(self._safetensors(250_000))}, single=True)
        entries = {
            "config.json": self._file(b'{"layers": %d}' % self._chance.randrange(99)),
            "model.safetensors": self._file(self._safetensors(200_000)),
            "optimizer.bin": self._file(self._chance.randbytes(self._chance.randrange(10_000, 100_000))),
            "empty": self._file(b""),
            "shards": Entry(FileKind.DIRECTORY, "", 0o755, self._time()),
            "latest": Entry(FileKind.SYMLINK, "shards/1.bin", 0o777, self._time()),
        }
        for number in range(self._chance.randrange(1, 6)):
            entries[f"shards/{number}.bin"] = self._file(self._chance.randbytes(self._chance.randrange(1, 20_000)))
        return Tree(entries, single=False)

    def next_step(self, tree: Tree) -> Tree:
        """The same checkpoint a step later: most of its bytes are as they were."""
        entries = dict(tree.entries)
        path = self._chance.choice([p for p, e in entries.items() if len(e.data) > 8 and e.kind is FileKind.FILE])
        data = bytearray(_bytes_of(entries[path]))
        begin = self._chance.randrange(len(data) // 2, len(data))
        data[begin : begin + 5000] = self._chance.randbytes(len(data[begin : begin + 5000]))
        entries[path] = replace(entries[path], data=bytes(data), mtime_ns=self._time())
        return Tree(entries, single=tree.single)

    def _file(self, data: bytes) -> Entry:
        return Entry(FileKind.FILE, data, self._chance.choice((0o600, 0o644, 0o755)), self._time())

    def _time(self) -> int:
        self._made += 1
        return TIME_NS + self._made * 1_000_000_007

    def _safetensors(self, bytes_about: int) -> bytes:
        header: dict[str, object] = {}
        body = bytearray()
        for number in range(self._chance.randrange(1, 6)):
            count = self._chance.randrange(1000, bytes_about // 6)
            tensor = bytearray(2 * count)  # bfloat16 near 1: a noisy low byte and a quiet high one
            tensor[0::2] = self._chance.randbytes(count)
            tensor[1::2] = bytes([0x3F, 0xBF]) * (count // 2) + b"\x3f" * (count % 2)
            header[f"layer.{number}"] = {
                "dtype": "BF16", "shape": [count], "data_offsets": [len(body), len(body) + len(tensor)]
            }  # fmt: skip
            body += tensor
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + body


def _bytes_of(entry: Entry) -> bytes:
    assert isinstance(entry.data, bytes)
    return entry.data


def write_tree(disk: MemoryDisk, path: str, tree: Tree) -> None:
    """Put the checkpoint below the folder `path` (the empty path: the root), which is there."""
    prefix = f"{path}/" if path else ""
    for name, entry in sorted(tree.entries.items()):
        where = prefix + name
        if isinstance(entry.data, bytes):
            file = disk.create(where, mode=entry.mode)
            file.pwrite(entry.data, 0)
            file.close()
        elif entry.kind is FileKind.DIRECTORY:
            disk.make_directory(where, mode=entry.mode)
        else:
            disk.symlink(entry.data, where)
    for name, entry in sorted(tree.entries.items(), reverse=True):
        disk.set_times(prefix + name, entry.mtime_ns)


def read_tree(disk: MemoryDisk, path: str) -> Mapping[str, Entry]:
    """What is in the folder `path` of the disk, without hidden files: partial work is hidden. Empty when it is not
    there."""
    entries: dict[str, Entry] = {}
    waiting = [""] if disk.exists(path) else []
    while waiting:
        prefix = waiting.pop()
        for name, kind in disk.list(f"{path}/{prefix}".rstrip("/")):
            if name.startswith("."):
                continue
            inside = prefix + name
            info = disk.info(f"{path}/{inside}")
            data: bytes | str = ""
            if kind is FileKind.DIRECTORY:
                waiting.append(f"{inside}/")
            elif kind is FileKind.SYMLINK:
                data = disk.read_link(f"{path}/{inside}")
            else:
                data = read_file(disk, f"{path}/{inside}")
            entries[inside] = Entry(kind, data, info.mode, info.mtime_ns)
    return entries


def read_file(disk: MemoryDisk, path: str) -> bytes:
    """All bytes of a file."""
    file = disk.open_read(path)
    try:
        data = memoryview(bytearray(file.info().size))
        file.pread(data, 0)
        return bytes(data)
    finally:
        file.close()


def is_of(tree: Tree, manifest: Manifest) -> bool:
    """Whether the manifest is one of this tree, judged by the bytes of its files."""
    files = {file.path: file.sha256 for file in manifest.files if file.kind == "f"}
    wanted = {path: entry.data for path, entry in tree.entries.items() if isinstance(entry.data, bytes)}
    return files == {path: hashlib.sha256(data).digest() for path, data in wanted.items()}


class Facts(enum.Enum):
    """Of which entries mode and time are compared, beside the bytes of all.

    No system call makes the times of a link durable, and those of a folder are set after its last sync, because a mode
    that forbids reading forbids syncing: after a power cut only those of files count. Where the bytes were there
    already, nothing is changed.
    """

    ALL = enum.auto()
    OF_FILES = enum.auto()
    NONE = enum.auto()


def difference(expected: Mapping[str, Entry], found: Mapping[str, Entry], facts: Facts) -> str:
    """The first thing in which `found` is not as `expected`, or the empty string. Other files may be there too."""
    for path, wanted in sorted(expected.items()):
        there = found.get(path)
        if there is None:
            return f"{path} is missing"
        full = facts is Facts.ALL or (facts is Facts.OF_FILES and wanted.kind is FileKind.FILE)
        for what in ("kind", "data", "mode", "mtime_ns") if full else ("kind", "data"):
            if getattr(wanted, what) != getattr(there, what):
                return f"the {what} of {path} is another"
    return ""
