"""The record set: small immutable facts, named by the SHA-256 of their bytes, that every node holds and merges.

`RecordSet` is the port; `DiskRecords` keeps one file a record in a node's home, ``records/<sha256>.<kind>``. (The
coordinator's and the clients' set is the SQLite catalogue.) A record is checked before it is kept: it decodes, is
canonical, and what must be signed is signed.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Protocol

from roost.cluster.arrivals import Arrivals
from roost.codec.records import KINDS, KINDS_ABOUT_MEMBERS, Record, decode_record, kind_of, record_id
from roost.core.errors import Damaged, DiskFault, Failed, NoSpace, NotFound, Unsupported
from roost.core.ids import RecordId
from roost.core.runtime import Runtime
from roost.disk.durable import make_directory_durably, read_small, rename_durably, sweep_temporaries, write_durably
from roost.disk.port import Disk
from roost.wire.fields import RECORD_BYTES_MAX

BUCKETS = 256
BUCKET_DIGEST_BYTES = 8
QUARANTINE = "quarantine"
WANTED_MAX = 100_000
"""How many records are remembered that ought to be here; as much as there can be of manifests."""

_NAME = re.compile(r"[0-9a-f]{64}\.[a-z][a-z0-9-]*\Z")
"""A record's file, also of a kind that only another release knows."""

Check = Callable[[Record], None]
"""Raises Damaged or NotAdmitted when a decoded record must not be kept (a signature that does not hold)."""


Added = Callable[[RecordId, Record], None]
"""Hears of every record that a set keeps; of the member records also when the set is opened."""


class RecordSet(Protocol):
    """Records by id. `add` is durable on return."""

    @property
    def arrivals(self) -> Arrivals:
        """What record exchange is bringing here now."""
        ...

    def digests(self) -> bytes:
        """256 times 8 bytes: per first byte of the ids, a digest of the sorted ids; zeros for an empty bucket."""
        ...

    def ids(self, buckets: Iterable[int]) -> list[RecordId]:
        """The ids whose first byte is among `buckets`, sorted."""
        ...

    def __contains__(self, record: object) -> bool: ...

    async def get(self, record: RecordId) -> bytes:
        """The record's bytes, hash checked. NotFound when absent; Damaged when its bytes are wrong."""
        ...

    async def add(self, data: bytes) -> bool:
        """Keep a record; False when it was here already. Damaged, Unsupported or NotAdmitted when it must not be
        kept, and then nothing changes."""
        ...


class BucketIndex:
    """The ids of a record set, by first byte, with their digests kept until a bucket changes."""

    def __init__(self) -> None:
        self._buckets: list[set[bytes]] = [set() for _ in range(BUCKETS)]
        self._digests: list[bytes | None] = [None] * BUCKETS

    def __contains__(self, record: object) -> bool:
        return isinstance(record, bytes) and len(record) == 32 and record in self._buckets[record[0]]

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets)

    def add(self, record: RecordId) -> None:
        self._buckets[record[0]].add(record)
        self._digests[record[0]] = None

    def discard(self, record: RecordId) -> None:
        self._buckets[record[0]].discard(record)
        self._digests[record[0]] = None

    def ids(self, buckets: Iterable[int]) -> list[RecordId]:
        return [RecordId(i) for bucket in sorted(set(buckets)) for i in sorted(self._buckets[bucket])]

    def digests(self) -> bytes:
        for bucket, known in enumerate(self._digests):
            if known is None:
                ids = sorted(self._buckets[bucket])
                self._digests[bucket] = (
                    hashlib.sha256(b"".join(ids)).digest()[:BUCKET_DIGEST_BYTES] if ids else bytes(BUCKET_DIGEST_BYTES)
                )
        return b"".join(digest for digest in self._digests if digest is not None)


class DiskRecords:
    """A node's records, one file each below ``records/``; `check` looks at each record before it is kept."""

    DIRECTORY = "records"

    def __init__(self, disk: Disk, runtime: Runtime, *, check: Check, added: Added) -> None:
        self._disk = disk
        self._runtime = runtime
        self._check = check
        self._added = added
        self._index = BucketIndex()
        self.arrivals = Arrivals()
        self._kinds: dict[bytes, str] = {}
        self._wanted: set[RecordId] = set()
        self._unknown: set[RecordId] = set()
        self._damaged_total = 0
        self._synced = False

    async def open(self) -> None:
        """Read the names, and the member records; what a killed process renamed but did not sync is durable before it
        is told to anyone. Leftovers of an interrupted write are removed; a member record that is damaged or cannot be
        read is left out, so that record exchange brings it again. What is no record is left alone. A disk that takes
        nothing, full or read-only, still gives what it has."""
        with contextlib.suppress(NoSpace, DiskFault):
            await self._runtime.in_thread(self._sync)
            await self._runtime.in_thread(sweep_temporaries, self._disk, self.DIRECTORY)
        for record, kind in await self._runtime.in_thread(self._names, self.DIRECTORY):
            self._remember(record, kind)
            if kind in KINDS_ABOUT_MEMBERS:
                await self._learn(record)
            elif kind not in KINDS:
                self._unknown.add(record)
        for record, _ in await self._runtime.in_thread(self._names, QUARANTINE):
            self._want(record)

    def _sync(self) -> None:
        make_directory_durably(self._disk, self.DIRECTORY)
        self._disk.sync_directory(self.DIRECTORY)
        self._synced = True

    def _names(self, directory: str) -> list[tuple[RecordId, str]]:
        """The records in a directory, which need not exist, by name, with their kinds."""
        try:
            names = [name for name, _ in self._disk.list(directory) if _NAME.match(name)]
        except NotFound:
            return []
        parts = [name.partition(".") for name in names]
        return [(RecordId(bytes.fromhex(digest)), kind) for digest, _, kind in parts]

    async def _learn(self, record: RecordId) -> None:
        try:
            self._added(record, decode_record(await self.get(record)))
        except Damaged:
            return  # set aside already
        except Unsupported:
            self._unknown.add(record)  # of a newer release, and kept for it
        except DiskFault:
            self._lose(record)

    def _remember(self, record: RecordId, kind: str) -> None:
        self._index.add(record)
        self._kinds[record] = kind

    def __contains__(self, record: object) -> bool:
        return record in self._index

    def __len__(self) -> int:
        return len(self._index)

    def digests(self) -> bytes:
        return self._index.digests()

    def ids(self, buckets: Iterable[int]) -> list[RecordId]:
        return self._index.ids(buckets)

    def ids_of(self, kind: type) -> list[RecordId]:
        """The ids of all records of one kind, sorted."""
        wanted = kind_of(kind)
        return [RecordId(record) for record, kind in sorted(self._kinds.items()) if kind == wanted]

    async def of_kind(self, kind: type) -> list[bytes]:
        """All records of one kind that can be read, by id. For kinds of which there are few and small ones."""
        found: list[bytes] = []
        for record in self.ids_of(kind):
            with contextlib.suppress(Damaged, DiskFault, NotFound):
                found.append(await self.get(record))
        return found

    @property
    def wanted(self) -> frozenset[RecordId]:
        """The records that ought to be here and are not: that were found damaged, or could not be read, and are not
        back; and those that a peer offered and this release does not know. Who decides from all records waits."""
        return frozenset(self._wanted)

    @property
    def unknown(self) -> frozenset[RecordId]:
        """The records here of a kind or format that this release does not know."""
        return frozenset(self._unknown)

    def _want(self, record: RecordId) -> None:
        if record not in self._index and len(self._wanted) < WANTED_MAX:
            self._wanted.add(record)

    def _path(self, record: RecordId) -> str:
        return f"{self.DIRECTORY}/{record.hex()}.{self._kinds[record]}"

    @property
    def damaged_total(self) -> int:
        """Records found bad, and readings that the disk refused, since this process started."""
        return self._damaged_total

    async def get(self, record: RecordId) -> bytes:
        return await self._fetch(record, from_disk=False)

    async def read_back(self, record: RecordId) -> int:
        """As `get`, but from the disk itself and not from what the system keeps of it in memory; the record's length.
        Raises DiskFault, and keeps the record, when the disk does not give it out."""
        return len(await self._fetch(record, from_disk=True))

    def give_up(self, record: RecordId) -> None:
        """Take a record that the disk does not give out for damaged, so that record exchange brings it again; it then
        takes the place of the file."""
        self._lose(record)

    async def _fetch(self, record: RecordId, *, from_disk: bool) -> bytes:
        if record not in self._index:
            raise NotFound(f"record {record.hex()[:12]} is not here")
        path = self._path(record)
        try:
            if from_disk:
                await self._runtime.in_thread(self._drop_cache, path)
            data = await self._runtime.in_thread(self._read, record, path)
        except NotFound:
            self._lose(record)
            raise
        except DiskFault:
            self._damaged_total += 1
            raise
        if data is None:
            self._damaged_total += 1
            self._lose(record)
            raise Damaged(f"record {record.hex()[:12]} is damaged here", hint="record exchange brings it again")
        return data

    def _drop_cache(self, path: str) -> None:
        with contextlib.closing(self._disk.open_read(path)) as file:
            file.drop_cache(0, file.info().size)

    def _read(self, record: RecordId, path: str) -> bytes | None:
        """The record's bytes; None when they were wrong, and the file is in quarantine now."""
        data = read_small(self._disk, path, bytes_max=RECORD_BYTES_MAX)
        if record_id(data) == record:
            return data
        make_directory_durably(self._disk, QUARANTINE)
        rename_durably(self._disk, path, f"{QUARANTINE}/{path.rpartition('/')[2]}")
        return None

    def _lose(self, record: RecordId) -> None:
        self._index.discard(record)
        self._kinds.pop(record, None)
        self._want(record)

    async def add(self, data: bytes) -> bool:
        if len(data) > RECORD_BYTES_MAX:
            raise Failed(f"a record of {len(data)} bytes is larger than {RECORD_BYTES_MAX}")
        if not self._synced:  # an earlier process may have died before it had made a name durable
            await self._runtime.in_thread(self._sync)
        record = await self._runtime.in_thread(record_id, data)
        if record in self._index:
            return False
        try:
            decoded = await self._runtime.in_thread(decode_record, data)
        except Unsupported:
            self._want(record)
            raise
        self._check(decoded)
        kind = kind_of(type(decoded))
        path = f"{self.DIRECTORY}/{record.hex()}.{kind}"
        await self._runtime.in_thread(write_durably, self._disk, path, data)
        if record in self._index:
            return False
        self._remember(record, kind)
        self._wanted.discard(record)
        self._added(record, decoded)
        return True
