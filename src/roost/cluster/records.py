"""The record set: small immutable facts, named by the SHA-256 of their bytes, that every node holds and merges.

`RecordSet` is the port; `DiskRecords` keeps one file a record in a node's home, ``records/<sha256>.<kind>``. (The
coordinator's and the clients' set is the SQLite catalogue.) A record is checked before it is kept: it decodes, is
canonical, and what must be signed is signed.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Protocol

from roost.codec.records import MemberRecord, Record, decode_record, kind_of, record_id
from roost.core.errors import Damaged, Failed, NotFound
from roost.core.ids import RecordId
from roost.core.runtime import Runtime
from roost.disk.durable import make_directory_durably, read_small, write_durably
from roost.disk.port import Disk
from roost.wire.messages import RECORD_BYTES_MAX

BUCKETS = 256
BUCKET_DIGEST_BYTES = 8

Check = Callable[[Record], None]
"""Raises Damaged or NotAdmitted when a decoded record must not be kept (a signature that does not hold)."""


Added = Callable[[RecordId, Record], None]
"""Hears of every record that a set keeps; of the member records also when the set is opened."""


class RecordSet(Protocol):
    """Records by id. `add` is durable on return."""

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
        self._kinds: dict[bytes, str] = {}

    async def open(self) -> None:
        """Read the names, and the member records; what a killed process renamed but did not sync is durable before it
        is told to anyone. Leftovers of an interrupted write are removed; a damaged member
        record is left out, so that record exchange brings it again."""
        await self._runtime.in_thread(make_directory_durably, self._disk, self.DIRECTORY)
        await self._runtime.in_thread(self._disk.sync_directory, self.DIRECTORY)
        for name, _ in await self._runtime.in_thread(self._disk.list, self.DIRECTORY):
            digest, _, kind = name.partition(".")
            if len(digest) != 64 or not kind.isalpha():
                await self._runtime.in_thread(self._disk.unlink, f"{self.DIRECTORY}/{name}")
                continue
            record = RecordId(bytes.fromhex(digest))
            self._remember(record, kind)
            if kind == kind_of(MemberRecord):
                try:
                    self._added(record, decode_record(await self.get(record)))
                except Damaged:
                    continue

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

    def _path(self, record: RecordId) -> str:
        return f"{self.DIRECTORY}/{record.hex()}.{self._kinds[record]}"

    async def get(self, record: RecordId) -> bytes:
        if record not in self._index:
            raise NotFound(f"record {record.hex()[:12]} is not here")

        def read() -> bytes:
            return read_small(self._disk, self._path(record), bytes_max=RECORD_BYTES_MAX)

        try:
            data = await self._runtime.in_thread(read)
        except NotFound:
            self._forget(record)
            raise
        if record_id(data) != record:
            await self._runtime.in_thread(self._set_aside, record)
            raise Damaged(f"record {record.hex()[:12]} is damaged here", hint="record exchange brings it again")
        return data

    def _forget(self, record: RecordId) -> None:
        self._index.discard(record)
        self._kinds.pop(record, None)

    def _set_aside(self, record: RecordId) -> None:
        make_directory_durably(self._disk, "quarantine")
        path = self._path(record)
        self._disk.rename(path, f"quarantine/{record.hex()}.{self._kinds[record]}")
        self._disk.sync_directory(self.DIRECTORY)
        self._forget(record)

    async def add(self, data: bytes) -> bool:
        record = record_id(data)
        if record in self._index:
            return False
        if len(data) > RECORD_BYTES_MAX:
            raise Failed(f"a record of {len(data)} bytes is larger than {RECORD_BYTES_MAX}")
        decoded = decode_record(data)
        self._check(decoded)
        kind = kind_of(type(decoded))
        path = f"{self.DIRECTORY}/{record.hex()}.{kind}"
        await self._runtime.in_thread(write_durably, self._disk, path, data)
        if record in self._index:
            return False
        self._remember(record, kind)
        self._added(record, decoded)
        return True
