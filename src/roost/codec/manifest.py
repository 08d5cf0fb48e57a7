"""A manifest is the record of one version of a checkpoint: its files, and the chunks that their bytes are made of.

The bytes of all regular files, in the order of the entries, form one logical stream; the chunks partition it. Columns
instead of a row a chunk keep a manifest near the limit (64 MiB, some 890,000 full chunks) a matter of a second: nothing
here makes an object a chunk unless it is asked for one.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from operator import gt
from typing import Annotated, NamedTuple

import msgspec

from roost.codec.tree import (
    SHAPE_DIRECTORY,
    SHAPE_FILE,
    FileEntry,
    mode_and_time_problem,
    shown,
    tree_digest,
    tree_problem,
)
from roost.core.checkpoint import CHECKPOINT_BYTES_MAX, CHUNK_BYTES_MAX, FILES_MAX, Redundancy
from roost.core.errors import UsageError
from roost.core.ids import DIGEST_BYTES, ObjectId, RecordId, format_version, parse_checkpoint_name

__all__ = [
    "CHUNKS_MAX", "CODEC_PLANES", "CODEC_RAW", "SEQ_MAX", "SHAPE_DIRECTORY", "SHAPE_FILE", "SOURCE_CHARACTERS_MAX",
    "WALL_SECONDS_MAX", "Chunk", "ChunkTable", "FileEntry", "Layout", "Manifest", "Piece", "dedup_index",
    "manifest_problem", "name_problem", "seq_problem", "tree_digest", "wall_problem",
]  # fmt: skip

CODEC_RAW = 0
CODEC_PLANES = 1
"""How an object holds its chunk: the same numbers as in `roost.codec.planes`, which loads numpy."""

CHUNKS_MAX = 1_000_000
SEQ_MAX = 10**18 - 1
WALL_SECONDS_MAX = 253_402_300_799
"""The last second of the year 9999: what a calendar can show."""
SOURCE_CHARACTERS_MAX = 8192

_CODECS = bytes((CODEC_RAW, CODEC_PLANES))


class Chunk(NamedTuple):
    """One chunk: the object that holds it, the SHA-256 of its plain bytes, its plain length, the object's length, and
    the object's codec."""

    object_id: ObjectId
    plain: bytes
    length: int
    stored: int
    codec: int


class Piece(NamedTuple):
    """Where a part of a chunk belongs: `length` bytes at `chunk_offset` of the plain chunk are those at `file_offset`
    of entry number `file`."""

    file: int
    file_offset: int
    length: int
    chunk_offset: int


class ChunkTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The chunks in the order of the stream, a column a fact: plain lengths, object ids (32 bytes each), plain SHA-256
    (32 bytes each), the objects' lengths, and the objects' codecs (a byte each)."""

    lengths: Annotated[list[int], msgspec.Meta(max_length=CHUNKS_MAX)]
    ids: bytes
    plain: bytes
    stored: Annotated[list[int], msgspec.Meta(max_length=CHUNKS_MAX)]
    codecs: bytes

    @classmethod
    def of(cls, chunks: Iterable[Chunk]) -> "ChunkTable":
        """The table of these chunks."""
        rows = list(chunks)
        return cls(
            lengths=[c.length for c in rows],
            ids=b"".join(c.object_id for c in rows),
            plain=b"".join(c.plain for c in rows),
            stored=[c.stored for c in rows],
            codecs=bytes(c.codec for c in rows),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[Chunk]:
        return map(self.chunk, range(len(self.lengths)))

    def id_of(self, index: int) -> ObjectId:
        """The object of chunk number `index` (>= 0)."""
        return ObjectId(self.ids[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES])

    def chunk(self, index: int) -> Chunk:
        """Chunk number `index` (>= 0)."""
        begin = index * DIGEST_BYTES
        return Chunk(
            ObjectId(self.ids[begin : begin + DIGEST_BYTES]),
            self.plain[begin : begin + DIGEST_BYTES],
            self.lengths[index],
            self.stored[index],
            self.codecs[index],
        )

    def offsets(self) -> "array[int]":
        """Where each chunk begins in the stream, and where the last one ends: chunk i is ``[o[i], o[i + 1])``."""
        return array("Q", accumulate(self.lengths, initial=0))


class Manifest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="manifest"
):  # fmt: skip
    """One version of a checkpoint.

    `seq` counts the versions of `name`; `stored_at` is in Unix seconds, for display only; `redundancy` as `Redundancy`
    prints it; `shape` says whether a file or a directory was stored; `source` where it came from (``host:/path``);
    `root_mode` and `root_mtime_ns` are the stored directory's own (0 for a file); `tree` is the `tree_digest` of the
    files. Lists are not to be changed.
    """

    format: int = 1
    name: str
    seq: int
    stored_at: int
    redundancy: str
    shape: str
    source: str
    root_mode: int
    root_mtime_ns: int
    tree: bytes
    files: Annotated[list[FileEntry], msgspec.Meta(max_length=FILES_MAX)]
    chunks: ChunkTable

    @property
    def bytes_total(self) -> int:
        """The logical size: the bytes of all files together."""
        return sum(entry.size for entry in self.files)

    def version_of(self, record_id: RecordId) -> str:
        """The version as people see it (``SEQ-xxxxxx``); `record_id` is this manifest's id."""
        return format_version(self.seq, record_id)

    def objects(self) -> list[ObjectId]:
        """The distinct objects in the order in which they first appear: the order of a commit's bitmap."""
        ids = self.chunks.ids
        return [ObjectId(i) for i in dict.fromkeys(ids[b : b + DIGEST_BYTES] for b in range(0, len(ids), DIGEST_BYTES))]

    def object_bytes(self) -> dict[ObjectId, int]:
        """The length at rest of each distinct object, in the order of `objects`."""
        lengths: dict[ObjectId, int] = {}
        for index, stored in enumerate(self.chunks.stored):
            lengths.setdefault(self.chunks.id_of(index), stored)
        return lengths

    def file_offsets(self) -> "array[int]":
        """Where each entry begins in the stream, and where the last one ends: entry i is ``[o[i], o[i + 1])``, empty
        for directories, links and empty files."""
        return array("Q", accumulate((entry.size for entry in self.files), initial=0))

    def layout(self) -> "Layout":
        """Where files and chunks lie in the stream. Make it once; it takes 8 bytes an entry and a chunk."""
        return Layout(self.file_offsets(), self.chunks.offsets())


class Layout:
    """Files and chunks on the logical stream, so that one can be found from the other in logarithmic time."""

    def __init__(self, file_offsets: "array[int]", chunk_offsets: "array[int]") -> None:
        self.file_offsets = file_offsets
        self.chunk_offsets = chunk_offsets

    def pieces_of(self, chunk: int) -> Iterator[Piece]:
        """The parts of chunk number `chunk` (>= 0), in order; together they are the whole chunk. IndexError when
        there is no such chunk."""
        begin, end = self.chunk_offsets[chunk], self.chunk_offsets[chunk + 1]
        file = bisect_right(self.file_offsets, begin) - 1
        at = begin
        while at < end:
            until = min(end, self.file_offsets[file + 1])
            if until > at:
                yield Piece(file, at - self.file_offsets[file], until - at, at - begin)
                at = until
            file += 1

    def chunks_of(self, file: int) -> range:
        """The numbers of the chunks that hold bytes of entry number `file` (>= 0)."""
        return self.chunks_in(self.file_offsets[file], self.file_offsets[file + 1])

    def chunks_in(self, begin: int, end: int) -> range:
        """The numbers of the chunks that hold bytes of ``[begin, end)`` of the stream."""
        if begin >= end:
            return range(0)
        return range(bisect_right(self.chunk_offsets, begin) - 1, bisect_left(self.chunk_offsets, end))


def dedup_index(manifests: Iterable[Manifest]) -> dict[bytes, Chunk]:
    """What is known to be stored, by plain SHA-256. Where several objects hold the same chunk, the first one found
    counts: give the newest manifest first."""
    known: dict[bytes, Chunk] = {}
    for manifest in manifests:
        for chunk in manifest.chunks:
            known.setdefault(chunk.plain, chunk)
    return known


def manifest_problem(manifest: Manifest) -> str:
    """The first rule that a manifest breaks, in words, or the empty string."""
    problem = (
        name_problem(manifest.name)
        or seq_problem(manifest.seq)
        or wall_problem(manifest.stored_at)
        or _redundancy_problem(manifest.redundancy)
        or mode_and_time_problem(manifest.root_mode, manifest.root_mtime_ns)
    )
    if problem:
        return problem
    if manifest.shape == SHAPE_FILE and (manifest.root_mode or manifest.root_mtime_ns):
        return "its shape is 'file', but it has a directory's mode or mtime"
    if len(manifest.source) > SOURCE_CHARACTERS_MAX:
        return f"its source is longer than {SOURCE_CHARACTERS_MAX} characters"
    if problem := tree_problem(manifest.files, shape=manifest.shape):
        return problem
    if manifest.tree != tree_digest(manifest.files, shape=manifest.shape):
        return "its tree digest is not that of its files"
    return _chunks_problem(manifest.chunks, manifest.bytes_total)


def name_problem(name: str) -> str:
    """Why a record cannot bear this checkpoint name (it must be in NFC already), or the empty string."""
    try:
        same = parse_checkpoint_name(name) == name
    except UsageError as error:
        return error.message
    return "" if same else f"the name {shown(name)} is not in NFC"


def seq_problem(seq: int) -> str:
    """Why a version cannot have this number, or the empty string."""
    return "" if 1 <= seq <= SEQ_MAX else "its sequence number is out of range"


def wall_problem(seconds: int) -> str:
    """Why this cannot be a time in Unix seconds, or the empty string."""
    return "" if 0 <= seconds <= WALL_SECONDS_MAX else "its time is out of range"


def _redundancy_problem(text: str) -> str:
    try:
        same = str(Redundancy.parse(text)) == text
    except UsageError as error:
        return error.message
    return "" if same else f"its redundancy is written {shown(text)}"


def _chunks_problem(table: ChunkTable, content_bytes: int) -> str:
    lengths, stored, codecs = table.lengths, table.stored, table.codecs
    count = len(lengths)
    if len(table.ids) != DIGEST_BYTES * count or len(table.plain) != DIGEST_BYTES * count:
        return "its columns of digests do not fit its number of chunks"
    if len(stored) != count or len(codecs) != count:
        return "its columns of chunks are not equally long"
    if content_bytes > CHECKPOINT_BYTES_MAX:
        return "its files are larger than 16 TiB"
    if count:
        if min(lengths) < 1 or max(lengths) > CHUNK_BYTES_MAX:
            return "the length of a chunk is out of range"
        if min(stored) < 1 or any(map(gt, stored, lengths)):
            return "an object is empty or longer than its chunk"
    if sum(lengths) != content_bytes:
        return "its chunks are not as long as its files"
    if codecs.translate(None, _CODECS):
        return "a chunk has an unknown codec"
    return _raw_problem(table)


def _raw_problem(table: ChunkTable) -> str:
    """A raw object is the plain chunk itself, so length and digest are the same."""
    index = table.codecs.find(CODEC_RAW)
    while index >= 0:
        begin = index * DIGEST_BYTES
        end = begin + DIGEST_BYTES
        if table.stored[index] != table.lengths[index] or table.ids[begin:end] != table.plain[begin:end]:
            return f"chunk {index} is raw, but its object is not its plain bytes"
        index = table.codecs.find(CODEC_RAW, index + 1)
    return ""
