"""Watched folders in trouble: a disk that fills up under a writer, and files that the watcher may not read."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster
from e2e.processes import Program

LIMIT_S = 45.0
ROOT = sys.platform == "linux" and os.geteuid() == 0
USER = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]

SMALL_BYTES = 8 * 1024 * 1024
WITHIN = 'mkdir -p "$0" && mount -t tmpfs -o size=8m,mode=755 tmpfs "$0" || exit 77; exec "$@"'


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose coordinator watches a folder of 8 MiB, which only its processes see."""
    if not (ROOT and all(map(shutil.which, ("unshare", "mount", "setpriv")))):
        pytest.skip("mounting a tmpfs and becoming another user take root on Linux, `unshare` and `setpriv`")
    with Cluster(tmp_path_factory.mktemp("watching-faults") / "cluster", more="watch: [{path: watched}]") as cluster:
        probe = ["unshare", "-m", "sh", "-c", WITHIN, str(cluster.root / "watched")]
        if subprocess.run([*probe, "true"], check=False).returncode != 0:
            pytest.skip("this machine does not let us mount")
        cluster.prefix = probe
        cluster.start()
        cluster.prefix = ()
        yield cluster


def stored(program: Program | None, name: str) -> str:
    """Wait until it is stored, as the next of all, and return what gathers it."""
    assert program is not None
    told = program.until("stored", timeout_s=LIMIT_S)
    assert told["name"] == name
    return f"{name}@{told['version']}"


def waits_for(cluster: Cluster, name: str, reason: str) -> None:
    """Ask until the status says that of what waits `name` alone does, for that."""
    deadline = time.monotonic() + LIMIT_S
    said: dict[str, str] = {}
    while list(said) != [name] or reason not in said[name]:
        assert time.monotonic() < deadline, f"{name} does not wait for {reason!r}: {said}"
        [watching] = cluster.done("status")["watching"]
        said = {row["name"]: row["reason"] for row in watching["pending"]}


def same(cluster: Cluster, reference: str, path: Path) -> bool:
    return trees.tree_of(cluster.gathered(reference)) == trees.tree_of(path)


WRITER = """
import sys
from pathlib import Path
path, source = map(Path, sys.argv[1:])
try:
    with path.open("wb", buffering=0) as file:
        data = memoryview(source.read_bytes())
        while data:
            data = data[file.write(data[:100_000]):]
except OSError as error:
    sys.exit(error.errno)
"""


def written(path: Path, source: Path) -> int:
    """A process of its own writes it in place, as far as it comes; 0 or the number of the error that ended it."""
    return subprocess.run([sys.executable, "-c", WRITER, path, source], check=False, timeout=LIMIT_S).returncode


def test_a_file_that_a_full_disk_tore_waits_delays_nobody_and_is_stored_when_it_is_written_again(
    cluster: Cluster,
) -> None:
    assert cluster.coordinator is not None
    model = trees.write(cluster.root / "model.safetensors", trees.model([4_000_000], seed=1))
    small = trees.write(cluster.root / "small.safetensors", trees.model([400_000], seed=2))
    disk = Path(f"/proc/{cluster.coordinator.handle.pid}/root{cluster.root}/watched")
    filler = disk / "filler.log"
    filler.write_bytes(bytes(SMALL_BYTES - 2_000_000))
    assert written(disk / "step-1.safetensors", model) == errno.ENOSPC
    assert 0 < (disk / "step-1.safetensors").stat().st_size < model.stat().st_size
    waits_for(cluster, "step-1.safetensors", "its size does not fit its header yet")
    os.truncate(filler, filler.stat().st_size - 1_000_000)
    assert written(disk / "step-0.safetensors", small) == 0
    assert same(cluster, stored(cluster.coordinator, "step-0"), disk / "step-0.safetensors")
    waits_for(cluster, "step-1.safetensors", "its size does not fit its header yet")
    filler.unlink()
    assert written(disk / "step-1.safetensors", model) == 0
    assert same(cluster, stored(cluster.coordinator, "step-1"), disk / "step-1.safetensors")
    assert sorted(row["name"] for row in cluster.done("ls")["checkpoints"]) == ["step-0", "step-1"]


# -- files of another user -------------------------------------------------------------------------------------------


@pytest.fixture
def ordinary() -> Iterator[Path]:
    """A folder that an ordinary user can reach; pytest's own only lets root in."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        folder.chmod(0o755)
        probe = subprocess.run([*USER, sys.executable, "-c", "import roost.disk.posix"], check=False, timeout=LIMIT_S)
        if probe.returncode != 0:
            pytest.skip("an ordinary user may not read this checkout")
        yield folder


def test_a_file_that_the_watcher_may_not_read_is_told_of_and_is_stored_when_it_may(
    cluster: Cluster, ordinary: Path
) -> None:
    home, folder, config = ordinary / "home", ordinary / "watched", ordinary / "roost.yaml"
    (folder / "private").mkdir(0o700, parents=True)
    config.write_text(cluster.config.read_text())
    token = cluster.done("token", "create")["token"]
    cluster.done("join", token, "--client", home=home)
    for path in (home, *home.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    watching = cluster.begin("watch", folder, "--name", "shared", home=home, config=config, prefix=USER)
    told = watching.until("warning", timeout_s=LIMIT_S)
    assert told["name"] == "shared/private", "a folder is told of too"
    closed = trees.write(folder / "closed.safetensors", trees.model([400_000], seed=3), mode=0o600)
    told = watching.until("warning", timeout_s=LIMIT_S)
    assert told["name"] == "shared/closed"
    for word in ("ermission denied", "closed.safetensors", "check the owner and the mode"):
        assert word in told["text"]
    other = trees.write(folder / "open.safetensors", trees.model([400_000], seed=4))
    os.chown(other, 65534, 65534)  # of its own user the watcher sees that no program has it open
    assert same(cluster, stored(watching, "shared/open"), other)
    closed.chmod(0o644)
    assert same(cluster, stored(watching, "shared/closed"), closed)
    watching.catch_up()
    assert sum(line.get("event") == "warning" for line in watching.lines) == 2, "each is said once"
