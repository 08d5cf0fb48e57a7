"""A fork server for `test_put_kill.py`: processes that put an object, commit it, and kill themselves at one step.

Run as ``python put_processes.py ROOT``. For each step of a put and its commit a child of this process opens the store
and the records below ROOT, puts an object, commits a manifest of it, and dies of SIGKILL right before that step; a
second child then looks at what is left. Prints one JSON line a step: what the first child had acknowledged and what the
second found. The imports are done once, so a step is cheap.
"""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from record_specimens import file as file_entry
from record_specimens import manifest
from roost.checkpoints.commit import commit_handler
from roost.chunks.disk import DiskChunkStore
from roost.cluster.records import DiskRecords
from roost.codec.manifest import CODEC_RAW, Chunk
from roost.codec.records import encode_record, record_id
from roost.core.cluster import Address
from roost.core.ids import ObjectId, object_id
from roost.core.runtime import SystemRuntime
from roost.disk.port import Buffer, WriteFile
from roost.disk.posix import PosixDisk, PosixFile
from roost.net.body import Body, Sink
from roost.net.server import Call
from roost.net.stream import SLICE_BYTES, Peer
from roost.wire.messages import Commit, Committed

STEPS_MAX = 100

Tell = Callable[[dict[str, object]], object]


class KillingDisk(PosixDisk):
    """A disk whose user is killed right before its operation number `last`, counted from when that is set."""

    last: int | None = None

    def step(self) -> None:
        if self.last is not None:
            if self.last == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.last -= 1

    def create(self, path: str, *, mode: int = 0o600) -> WriteFile:
        self.step()
        made = super().create(path, mode=mode)
        assert isinstance(made, PosixFile)
        return KillingFile(made, self)

    def rename(self, source: str, target: str) -> None:
        self.step()
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self.step()
        super().unlink(path)

    def sync_directory(self, path: str) -> None:
        self.step()
        super().sync_directory(path)


class KillingFile:
    """A file of a KillingDisk. A write is two steps: the first half of the bytes is out when the second begins."""

    def __init__(self, file: PosixFile, disk: KillingDisk) -> None:
        self._file = file
        self._disk = disk
        self.pread, self.info, self.truncate, self.begin_writeback = (
            file.pread, file.info, file.truncate, file.begin_writeback,
        )  # fmt: skip
        self.drop_cache, self.set_mode, self.set_times = file.drop_cache, file.set_mode, file.set_times

    def pwrite(self, data: Buffer, offset: int) -> None:
        self._disk.step()
        half = len(data) // 2
        view = memoryview(data)
        self._file.pwrite(view[:half], offset)
        self._disk.step()
        self._file.pwrite(view[half:], offset + half)

    def sync(self) -> None:
        self._disk.step()
        self._file.sync()

    def close(self) -> None:
        self._file.close()


def specimen(number: int) -> tuple[ObjectId, bytes]:
    data = random.Random(number).randbytes(SLICE_BYTES + 1000)
    return object_id(data), data


async def opened(disk: PosixDisk) -> DiskChunkStore:
    store = DiskChunkStore(disk, SystemRuntime(), reserve_bytes=0)
    await store.open()
    return store


async def opened_records(disk: PosixDisk) -> DiskRecords:
    records = DiskRecords(disk, SystemRuntime(), check=lambda record: None, added=lambda name, record: None)
    await records.open()
    return records


def manifest_of(number: int) -> bytes:
    """The manifest of a checkpoint that is the specimen alone."""
    name, data = specimen(number)
    chunk = Chunk(name, name, len(data), len(data), CODEC_RAW)
    return encode_record(manifest([file_entry("x", len(data))], [chunk], name=f"run/step-{number}"))


async def put_and_die(root: str, number: int, tell: Tell) -> None:
    disk = KillingDisk(root)
    store, records = await opened(disk), await opened_records(disk)
    name, data = specimen(number)
    disk.last = number
    await store.put(name, Body.of(data))
    tell({"put": True})
    record = manifest_of(number)

    async def take(call: Call, sink: Sink) -> None:
        (await sink.take(len(record)))[:] = record
        await sink.give(memoryview(record))

    call = Call(Commit(len(record), b"\x01"), Peer(None, None, Address("127.0.0.1", 1)), take)
    reply = await commit_handler(SystemRuntime(), store, records, changed=lambda: None)(call)
    tell({"committed": isinstance(reply.answer, Committed) and not reply.answer.missing})


async def look(root: str, number: int, tell: Tell) -> None:
    disk = PosixDisk(root)
    left = len(disk.list("chunks/tmp"))
    store = await opened(disk)
    name, data = specimen(number)
    records = await opened_records(disk)
    listed = record_id(manifest_of(number)) in records
    [before] = await store.have([name])
    states = [int(state) for state in await store.verify([specimen(n)[0] for n in range(number)])]
    new = await store.put(name, Body.of(data))
    into = memoryview(bytearray(len(data)))
    whole = await store.get(name, into) == len(data) and bytes(into) == data
    found = {"listed": listed, "before": before, "new": new, "whole": whole, "earlier": states}
    cleaned = {"left": left, "temporaries": len(disk.list("chunks/tmp")), "damaged": store.damaged_total}
    tell(found | cleaned)


def forked(work: Callable[[str, int, Tell], Coroutine[Any, Any, None]], root: str, number: int) -> tuple[int, bytes]:
    """Run `work` in a child; how it ended (a wait status) and what it told."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            asyncio.run(work(root, number, lambda told: os.write(writing, json.dumps(told).encode() + b"\n")))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    return os.waitpid(child, 0)[1], told


def main(root: str) -> None:
    for number in range(STEPS_MAX):
        status, acknowledged = forked(put_and_die, root, number)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        looked, told = forked(look, root, number)
        said = {key: value for line in acknowledged.splitlines() for key, value in json.loads(line).items()}
        step = {"step": number, "killed": killed, "put": False, "committed": False} | said
        print(json.dumps(step | (json.loads(told) if looked == 0 else {})), flush=True)
        if not killed:
            return


if __name__ == "__main__":
    main(sys.argv[1])
