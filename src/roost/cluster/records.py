"""The record set: small immutable facts, named by the SHA-256 of their bytes, that every node holds and merges.

`RecordSet` is the port; `DiskRecords` keeps one file a record in a node's home, ``records/<sha256>.<kind>``. (The
coordinator's and the clients' set is the SQLite catalogue.) A record is checked before it is kept: it decodes, is
canonical, and what must be signed is signed.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Protocol

from roost.codec.records import KINDS_ABOUT_MEMBERS, Record, decode_record, kind_of, record_id
from roost.core.errors import Damaged, DiskFault, Failed, NotFound, Unsupported
from roost.core.ids import RecordId
from roost.core.runtime import Runtime
from roost.disk.durable import make_directory_durably, read_small, rename_durably, sweep_temporaries, write_durably
from roost.disk.port import Disk
from roost.wire.fields import RECORD_BYTES_MAX

BUCKETS = 256
BUCKET_DIGEST_BYTES = 8
QUARANTINE = "quarantine"

_NAME = re.compile(r"[0-9a-f]{64}\.[a-z][a-z0-9-]*\Z")
"""A record's file, also of a kind that only another release knows."""

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
        is told to anyone. Leftovers of an interrupted write are removed; a member record that is damaged or cannot be
        read is left out, so that record exchange brings it again. What is no record is left alone."""
        await self._runtime.in_thread(make_directory_durably, self._disk, self.DIRECTORY)
        await self._runtime.in_thread(sweep_temporaries, self._disk, self.DIRECTORY)
        await self._runtime.in_thread(self._disk.sync_directory, self.DIRECTORY)
        for name, _ in await self._runtime.in_thread(self._disk.list, self.DIRECTORY):
            if not _NAME.match(name):
                continue
            digest, _, kind = name.partition(".")
            record = RecordId(bytes.fromhex(digest))
            self._remember(record, kind)
            if kind in KINDS_ABOUT_MEMBERS:
                await self._learn(record)

    async def _learn(self, record: RecordId) -> None:
        try:
            self._added(record, decode_record(await self.get(record)))
        except (Damaged, Unsupported):
            return  # set aside already; or of a newer release, and kept for it
        except DiskFault:
            self._forget(record)

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

        try:
            data = await self._runtime.in_thread(self._read, record, self._path(record))
        except NotFound:
            self._forget(record)
            raise
        if data is None:
            self._forget(record)
            raise Damaged(f"record {record.hex()[:12]} is damaged here", hint="record exchange brings it again")
        return data

    def _read(self, record: RecordId, path: str) -> bytes | None:
        """The record's bytes; None when they were wrong, and the file is in quarantine now."""
        data = read_small(self._disk, path, bytes_max=RECORD_BYTES_MAX)
        if record_id(data) == record:
            return data
        make_directory_durably(self._disk, QUARANTINE)
        rename_durably(self._disk, path, f"{QUARANTINE}/{path.rpartition('/')[2]}")
        return None

    def _forget(self, record: RecordId) -> None:
        self._index.discard(record)
        self._kinds.pop(record, None)

    async def add(self, data: bytes) -> bool:
        if len(data) > RECORD_BYTES_MAX:
            raise Failed(f"a record of {len(data)} bytes is larger than {RECORD_BYTES_MAX}")
        record = await self._runtime.in_thread(record_id, data)
        if record in self._index:
            return False
        decoded = await self._runtime.in_thread(decode_record, data)
        self._check(decoded)
        kind = kind_of(type(decoded))
        path = f"{self.DIRECTORY}/{record.hex()}.{kind}"
        await self._runtime.in_thread(write_durably, self._disk, path, data)
        if record in self._index:
            return False
        self._remember(record, kind)
        self._added(record, decoded)
        return True
