"""Full and read-only file systems for real: a child process in a mount namespace of its own, on a small tmpfs; and an
ordinary user before a directory that is not theirs. Fault 17 at the disk."""

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

ORDINARY_USER = """
for call in (
    lambda: write_durably(disk, "a", b"new"),
    lambda: disk.open_read("a"),
    lambda: disk.unlink("a"),
):
    assert "mode" in refused(DiskFault, call).hint
"""


def run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 77:
        pytest.skip(f"this machine does not let us mount: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr


def run_on_tmpfs(root: Path, program: str) -> None:
    root.mkdir()
    script = 'mount -t tmpfs -o size=64k,mode=700 tmpfs "$1" || exit 77; exec "$2" -c "$3" "$1"'
    run(["unshare", "-m", "sh", "-c", script, "sh", str(root), sys.executable, PRELUDE + program])


@needs_mounts
@pytest.mark.parametrize("program", [pytest.param(FULL, id="full"), pytest.param(READ_ONLY, id="read-only")])
def test_fault_17_a_refusing_disk_keeps_the_old_file(tmp_path: Path, program: str) -> None:
    run_on_tmpfs(tmp_path / "disk", program)


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
