"""Full and read-only file systems for real: a child process in a mount namespace of its own, on a small tmpfs; and an
ordinary user before a directory that is not theirs. Fault 17 at the disk, and at what a node keeps on it: objects,
records, ages, what is in quarantine."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT_ON_LINUX = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("unshare") is not None
needs_mounts = pytest.mark.skipif(not ROOT_ON_LINUX, reason="mounting a tmpfs takes root on Linux, and `unshare`")

PRELUDE = """
import subprocess, sys
from roost.core.errors import DiskFault, NoSpace
from roost.disk.durable import DurableFile, read_small, write_durably
from roost.disk.posix import PosixDisk
root = sys.argv[1]
disk = PosixDisk(root)

def refused(kind, call):
    try:
        call()
    except kind as error:
        assert root in error.message and error.hint, error.message
        return error
    raise AssertionError(f"{kind.__name__} expected")
"""

FULL = """
write_durably(disk, "a", b"old")
refused(NoSpace, lambda: write_durably(disk, "a", bytes(128 * 1024)))
assert disk.list("") == [("a", "file")], disk.list("")
assert read_small(disk, "a", bytes_max=3) == b"old"

filler = disk.create("filler")
refused(NoSpace, lambda: filler.pwrite(bytes(128 * 1024), 0))
filler.close()
assert disk.space().free == 0 and disk.space().total == 64 * 1024, disk.space()
refused(NoSpace, lambda: write_durably(disk, "a", b"new"))
assert read_small(disk, "a", bytes_max=3) == b"old"
disk.unlink("filler")
write_durably(disk, "a", b"new")
assert read_small(disk, "a", bytes_max=3) == b"new"
"""

READ_ONLY = """
write_durably(disk, "a", b"old")
subprocess.run(["mount", "-o", "remount,ro", root], check=True)
for call in (
    lambda: write_durably(disk, "a", b"new"),
    lambda: DurableFile(disk, "x"),
    lambda: disk.open_write("a"),
    lambda: disk.unlink("a"),
    lambda: disk.rename("a", "b"),
    lambda: disk.make_directory("d"),
    lambda: disk.lock("lock"),
    lambda: disk.set_times("a", 0),
):
    assert "read-only" in refused(DiskFault, call).hint
assert read_small(disk, "a", bytes_max=3) == b"old"
subprocess.run(["mount", "-o", "remount,rw", root], check=True)
write_durably(disk, "a", b"new")
"""

SERVICES = """
import asyncio, random
from record_specimens import sha
from roost.checkpoints.ages import Ages
from roost.chunks.disk import DiskChunkStore
from roost.chunks.store import CopyState
from roost.cluster.records import DiskRecords
from roost.codec.records import Tombstone, encode_record, record_id
from roost.core.errors import Damaged, RoostError
from roost.core.ids import object_id
from roost.core.runtime import SystemRuntime
from roost.net.body import Body

runtime = SystemRuntime()
store = DiskChunkStore(disk, runtime, reserve_bytes=0)
records = DiskRecords(disk, runtime, check=lambda record: None, added=lambda name, record: None)
ages = Ages(disk, runtime)
bad, good, new = (random.Random(seed).randbytes(5000) for seed in range(3))
stones = [encode_record(Tombstone(name="n", manifest=sha(str(i)), seq=1, at=1, keep_s=60)) for i in range(3)]

async def fails(kind, awaitable):
    try:
        await awaitable
    except kind as error:
        assert error.message and error.hint, error
        return
    raise AssertionError(f"{kind.__name__} expected")

async def has(data):
    into = memoryview(bytearray(len(data)))
    return await store.get(object_id(data), into) == len(data) and bytes(into) == data

async def begin():
    await store.open()
    await records.open()
    await ages.load()
    for data in (bad, good):
        await store.put(object_id(data), Body.of(data))
    await records.add(stones[0])
    ages.see_tombstones([record_id(stones[0])])
    await ages.save()

def names():
    return sorted(name for folder in ("chunks/tmp", "records", "state") for name, _ in disk.list(folder))

async def takes_everything_again():
    assert await store.put(object_id(new), Body.of(new)) and await has(new) and await has(good)
    assert await records.add(stones[1]) and await records.get(record_id(stones[0])) == stones[0]
    ages.see_tombstones([record_id(stones[1])])
    await ages.save()
    again = Ages(disk, runtime)
    await again.load()
    assert len(again) == 2
"""

SERVICES_FULL = """
async def main():
    await begin()
    filler = disk.create("filler")
    refused(NoSpace, lambda: filler.pwrite(bytes(1024 * 1024), 0))
    filler.close()
    before = names()
    await fails(NoSpace, store.put(object_id(new), Body.of(new)))
    await fails(NoSpace, records.add(stones[1]))
    ages.see_tombstones([record_id(stones[1])])
    await fails(NoSpace, ages.save())
    assert names() == before, "no leftovers"
    assert await has(good) and await has(bad) and await records.get(record_id(stones[0])) == stones[0]
    assert await store.have([object_id(new)]) == [False] and record_id(stones[1]) not in records
    again = Ages(disk, runtime)
    await again.load()
    assert len(again) == 1, "what was saved before still counts"
    disk.unlink("filler")
    await takes_everything_again()

asyncio.run(main())
"""

SERVICES_READ_ONLY = """
async def main():
    await begin()
    name, path = object_id(bad), f"chunks/{object_id(bad).hex()[:2]}/{object_id(bad).hex()}"
    file = disk.open_write(path)
    file.pwrite(b"harm", 0)
    file.close()
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    assert await store.verify([name, object_id(good)]) == [CopyState.DAMAGED, CopyState.GOOD]
    assert await store.have([name, object_id(good)]) == [False, True], "it cannot be put away, and does not count"
    assert disk.exists(path) and disk.list("quarantine") == [] and store.damaged_total == 1
    await fails(Damaged, has(bad))
    await fails(DiskFault, store.put(object_id(new), Body.of(new)))
    await fails(DiskFault, store.put(name, Body.of(bad)))
    await fails(DiskFault, records.add(stones[1]))
    await fails(DiskFault, ages.save())
    assert await has(good) and await records.get(record_id(stones[0])) == stones[0]
    subprocess.run(["mount", "-o", "remount,rw", root], check=True)
    assert await store.verify([name]) == [CopyState.DAMAGED]
    assert [kept for kept, _ in disk.list("quarantine")] == [f"{name.hex()}-0"] and not disk.exists(path)
    assert await store.put(name, Body.of(bad)) and await has(bad)
    await takes_everything_again()

asyncio.run(main())
"""

ORDINARY_USER = """
for call in (
    lambda: write_durably(disk, "a", b"new"),
    lambda: disk.open_read("a"),
    lambda: disk.unlink("a"),
):
    assert "mode" in refused(DiskFault, call).hint
"""


def run(argv: list[str]) -> None:
    kits = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=kits)
    if done.returncode == 77:
        pytest.skip(f"this machine does not let us mount: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr


def run_on_tmpfs(root: Path, program: str, *, size: str = "64k") -> None:
    root.mkdir()
    script = f'mount -t tmpfs -o size={size},mode=700 tmpfs "$1" || exit 77; exec "$2" -c "$3" "$1"'
    run(["unshare", "-m", "sh", "-c", script, "sh", str(root), sys.executable, PRELUDE + program])


@needs_mounts
@pytest.mark.parametrize("program", [pytest.param(FULL, id="full"), pytest.param(READ_ONLY, id="read-only")])
def test_fault_17_a_refusing_disk_keeps_the_old_file(tmp_path: Path, program: str) -> None:
    run_on_tmpfs(tmp_path / "disk", program)


@needs_mounts
@pytest.mark.parametrize(
    "program", [pytest.param(SERVICES_FULL, id="full"), pytest.param(SERVICES_READ_ONLY, id="read-only")]
)
def test_fault_17_a_refusing_disk_takes_nothing_from_what_a_node_keeps(tmp_path: Path, program: str) -> None:
    run_on_tmpfs(tmp_path / "disk", SERVICES + program, size="256k")


@pytest.mark.skipif(
    not ROOT_ON_LINUX or shutil.which("setpriv") is None, reason="becoming an ordinary user takes root, and `setpriv`"
)
def test_an_ordinary_user_is_told_about_owner_and_mode() -> None:
    # Not below pytest's own directory: only root may search that, and the message would be about its parents.
    with tempfile.TemporaryDirectory() as text:
        root = Path(text)
        (root / "a").write_bytes(b"old")
        (root / "a").chmod(0o600)
        root.chmod(0o755)
        user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        probe = subprocess.run([*user, sys.executable, "-c", "import roost.disk.posix"], check=False, timeout=60)
        if probe.returncode != 0:
            pytest.skip("an ordinary user may not read this checkout")
        run([*user, sys.executable, "-c", PRELUDE + ORDINARY_USER, text])
        assert (root / "a").read_bytes() == b"old"
