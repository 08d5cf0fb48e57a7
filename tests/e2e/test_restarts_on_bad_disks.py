"""Restarts on a disk that has filled up or turned read-only: what lies on it is served as before."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, Node, spread_cluster
from e2e.processes import Handle
from roost.net.ports import free_port

SETTINGS = """\
cluster: test
node: {{listen: "127.0.0.1:{port}", reserve: 1MiB}}
"""
WITHIN = """\
mount -t tmpfs -o size=24m,mode=700 tmpfs "$0" && echo mounted && exec cat
"""
MOUNTS = sys.platform == "linux" and os.geteuid() == 0 and all(map(shutil.which, ("unshare", "nsenter", "mount")))
pytestmark = pytest.mark.skipif(not MOUNTS, reason="mounting a tmpfs takes root on Linux, `unshare` and `nsenter`")
HARMS = ("full", "read-only")


class Place:
    """A tmpfs of 24 MiB at `at`, which is there for the processes that run under `prefix`, whatever becomes of them."""

    def __init__(self, at: Path) -> None:
        at.mkdir(parents=True)
        self.at = at
        self._keeper = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", WITHIN, str(at)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != b"mounted\n":
            pytest.skip("this machine does not let us mount")

    @property
    def prefix(self) -> list[str]:
        return ["nsenter", "-t", str(self._keeper.pid), "-m"]

    @property
    def inside(self) -> Path:
        """The place as it is seen from outside."""
        return Path(f"/proc/{self._keeper.pid}/root{self.at}")

    @contextlib.contextmanager
    def harmed(self, harm: str) -> Iterator[None]:
        """Nothing can be written to it while the block runs, at whose end nothing on it is open for writing."""
        if harm == "read-only":
            self._remount("ro")
        else:
            with (self.inside / "filler").open("wb", buffering=0) as file, pytest.raises(OSError):
                while True:
                    file.write(bytes(4096))
        try:
            yield
        finally:
            if harm == "read-only":
                self._remount("rw")
            else:
                (self.inside / "filler").unlink()

    def _remount(self, mode: str) -> None:
        subprocess.run([*self.prefix, "mount", "-o", f"remount,{mode}", str(self.at)], check=True)

    def close(self) -> None:
        self._keeper.kill()
        self._keeper.wait()
        for pipe in (self._keeper.stdin, self._keeper.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "place")
    yield place
    place.close()


def join(cluster: Cluster, place: Place, *arguments: object) -> Node:
    """Start the node at that place, again if need be at the same port (that it moved, it could not tell without its
    disk), and wait until it serves."""
    config = cluster.root / "small.yaml"
    if not config.exists():
        config.write_text(SETTINGS.format(port=free_port("127.0.0.1")))
    program = cluster.begin(
        "join", *arguments, "--name", "small", home=place.at, config=config, machine=9, prefix=place.prefix
    )
    told = program.until("listening", timeout_s=60)
    return Node("small", told["node"], place.at, program.handle, program)


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.slow
def test_a_node_restarts_on_a_disk_that_takes_nothing_and_gives_all_it_has(
    place: Place, tmp_path: Path, harm: str
) -> None:
    with spread_cluster(tmp_path / "cluster", nodes=1) as cluster:
        node = join(cluster, place, cluster.done("token", "create")["token"])
        path = trees.write(tmp_path / "model.safetensors", trees.model([1_000_000] * 4, seed=700))
        assert cluster.done("store", path, "--name", "disks/model")["copies"] == 2
        node.handle.kill()
        with place.harmed(harm):
            node = join(cluster, place)
            cluster.nodes["a"].handle.kill()
            assert trees.tree_of(cluster.gathered("disks/model")) == trees.tree_of(path)
            assert not node.handle.ended(0)
            node.handle.kill()
        cluster.restart(cluster.nodes["a"])
        join(cluster, place)
        assert cluster.done("verify", "--deep", "disks/model")["checkpoints"][0]["health"] == "healthy"


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.slow
def test_a_coordinator_starts_a_local_node_on_a_disk_that_takes_nothing(
    place: Place, tmp_path: Path, harm: str
) -> None:
    with Cluster(tmp_path / "cluster", reserve="1MiB") as cluster:
        nodes = cluster.home / "nodes"
        nodes.mkdir(parents=True)
        (nodes / "1").symlink_to(place.at)

        def start() -> None:
            cluster.coordinator = cluster.begin("start", "--local", 2, "-n", 2, prefix=place.prefix)
            cluster.coordinator.until("ready", timeout_s=60)

        start()
        path = trees.write(tmp_path / "model.safetensors", trees.model([1_000_000] * 4, seed=710))
        cluster.done("store", path, "--name", "disks/local")
        assert cluster.stop().code == 0
        with place.harmed(harm):
            start()
            first, second = sorted(cluster.done("nodes")["nodes"], key=lambda row: row["home"] != str(place.at))
            with contextlib.closing(Handle(second["pid"])) as other, contextlib.closing(Handle(first["pid"])) as own:
                other.kill()
                assert trees.tree_of(cluster.gathered("disks/local")) == trees.tree_of(path)
                assert cluster.stop().code == 0
                assert own.ended(10), "it ends with the coordinator, as every one"
