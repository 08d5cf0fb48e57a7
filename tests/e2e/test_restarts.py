"""Restarts of every kind, with real processes; docs/operations.md has a paragraph on each.

kill -9 keeps the page cache, so "power cut" here means that all processes end at once; what a power cut does to a disk
is tried in tests/crash and tests/sim.
"""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.clocks import environment_at_1970
from e2e.cluster import Cluster, Node, spread_cluster
from e2e.processes import Answer, Program

ALIVE_LIMIT_S = 20.0
DOWN_LIMIT_S = 40.0
NAMES = ("restarts/model", "restarts/folder")


class Kept:
    """A cluster of four machines, and what was stored in it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        model = trees.write(cluster.root / "in/model.safetensors", trees.model([2_000_000] * 4, seed=90))
        folder = cluster.root / "in/folder"
        for number in range(5):
            trees.write(folder / f"part-{number}.bin", trees.noise(400_000, seed=91 + number))
        self.paths = dict(zip(NAMES, (model, folder), strict=True))
        for name, path in self.paths.items():
            cluster.done("store", path, "--name", name)
        self.versions = self.listed()

    def listed(self) -> list[tuple[str, str]]:
        return [(row["name"], row["version"]) for row in self.cluster.done("ls", "restarts/")["checkpoints"]]

    def check(self, *, health: bool = True) -> None:
        """Everything is listed as it was, gathers, and has all its copies."""
        found = self.cluster.done("ls", "restarts/")
        assert found["complete"] is True
        assert [(row["name"], row["version"]) for row in found["checkpoints"]] == self.versions
        for name, path in self.paths.items():
            assert trees.tree_of(self.cluster.gathered(name)) == trees.tree_of(path)
        if health:
            assert self.cluster.done("verify", *self.paths, "--deep")


@pytest.fixture(scope="module")
def _kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with spread_cluster(tmp_path_factory.mktemp("restarts") / "cluster") as cluster:
        yield Kept(cluster)


@pytest.fixture
def kept(_kept: Kept) -> Kept:
    """That cluster, with everything up."""
    cluster = _kept.cluster
    cluster.revive()
    if cluster.coordinator is None or cluster.coordinator.handle.ended(0):
        start(cluster)
    return _kept


def start(cluster: Cluster) -> Program:
    """Start the coordinator again, where it was: of all the machines only this one keeps its address."""
    told = json.loads((cluster.home / "run.json").read_text())["address"]
    own = cluster.root / "coordinator.yaml"
    own.write_text(cluster.config.read_text().replace("127.0.0.1:0", told))
    usual, cluster.config = cluster.config, own
    try:
        return cluster.start(local=0, ready=len(cluster.nodes))
    finally:
        cluster.config = usual


def kill_all(cluster: Cluster) -> None:
    """End every process of the cluster at once."""
    assert cluster.coordinator is not None
    handles = [cluster.coordinator.handle, *(node.handle for node in cluster.nodes.values())]
    for handle in handles:
        handle.freeze()  # so that none sees another die
    for handle in handles:
        handle.kill()


def states(cluster: Cluster) -> dict[str, str]:
    return {row["name"]: row["state"] for row in cluster.done("nodes")["nodes"]}


def until_all_alive(cluster: Cluster) -> None:
    """Wait until those that were started again are heard of; there are no others."""
    for node in cluster.nodes.values():
        cluster.watch_state(node, until="alive", limit_s=ALIVE_LIMIT_S)
    assert states(cluster) == dict.fromkeys(cluster.nodes, "alive")


def tried(cluster: Cluster, node: Node) -> Answer:
    """Start a node that is expected to refuse; what it says."""
    return cluster.begin("join", "--name", node.name, home=node.home).wait()


def test_the_coordinator_is_down_and_comes_back(kept: Kept, tmp_path: Path) -> None:
    cluster = kept.cluster
    assert cluster.coordinator is not None
    cluster.coordinator.handle.kill()
    kept.check()
    path = trees.write(tmp_path / "alone.bin", trees.noise(200_000, seed=100))
    assert cluster.done("store", path, "--name", "others/alone")["copies"] == 2
    start(cluster)
    kept.check(health=False)
    assert trees.tree_of(cluster.gathered("others/alone")) == trees.tree_of(path)


def test_a_node_is_rebooted(kept: Kept) -> None:
    cluster = kept.cluster
    node = cluster.nodes["a"]
    before = set(node.chunks)
    node.handle.kill()
    cluster.restart(node)
    told = next(line for line in node.program.lines if line.get("event") == "listening")  # type: ignore[union-attr]
    assert told["node"] == node.id, "the same node, whatever its address"
    assert set(node.chunks) >= before
    assert len(cluster.done("nodes")["nodes"]) == len(cluster.nodes)
    kept.check()


def test_the_coordinator_and_a_node_at_once(kept: Kept) -> None:
    cluster = kept.cluster
    assert cluster.coordinator is not None
    node = cluster.nodes["b"]
    cluster.coordinator.handle.kill()
    node.handle.kill()
    kept.check(health=False)
    cluster.restart(node)
    start(cluster)
    kept.check()


@pytest.mark.slow
def test_everything_at_once_in_the_middle_of_a_store(kept: Kept, tmp_path: Path) -> None:
    cluster = kept.cluster
    path = trees.write(tmp_path / "during.bin", trees.noise(150_000_000, seed=101))
    program = cluster.begin("store", path, "--name", "others/during")
    program.until_moving()
    kill_all(cluster)
    assert program.wait().code == 6
    answer = cluster.cli("ls")
    assert (answer.code, answer.result["code"]) == (6, "unreachable")

    cluster.restart(*cluster.nodes.values())
    start(cluster)
    kept.check()
    [*listed] = cluster.done("ls", "others/during")["checkpoints"]
    if listed:  # the commit was through before the answer was
        assert trees.tree_of(cluster.gathered("others/during")) == trees.tree_of(path)
    receipt = cluster.done("store", path, "--name", "others/during")
    assert receipt["copies"] == 2
    assert trees.tree_of(cluster.gathered("others/during")) == trees.tree_of(path)


def test_a_disk_that_is_not_mounted(kept: Kept) -> None:
    cluster, node = kept.cluster, kept.cluster.nodes["b"]
    node.handle.kill()
    for empty in (False, True):  # the mount point is gone; it is there, and empty
        (node.home / "chunks").rename(node.home / "unmounted")
        if empty:
            (node.home / "chunks").mkdir()
        answer = tried(cluster, node)
        assert answer.code == 1, answer
        assert "not the disk that held this node's objects" in answer.result["message"]
        assert "mount the disk" in answer.result["hint"]
        if empty:
            assert not list((node.home / "chunks").iterdir()), "nothing was made on the wrong disk"
            (node.home / "chunks").rmdir()
        assert not (node.home / "chunks").exists()
        (node.home / "unmounted").rename(node.home / "chunks")
    kept.check(health=False)
    cluster.restart(node)
    kept.check()


@pytest.mark.slow
def test_a_node_restored_from_last_months_image(kept: Kept, tmp_path: Path) -> None:
    cluster, node = kept.cluster, kept.cluster.nodes["d"]
    removed = trees.write(tmp_path / "removed.bin", trees.noise(300_000, seed=102))
    cluster.done("store", removed, "--name", "others/removed", "--redundancy", "3")
    node.handle.kill()
    image = cluster.root / "image"
    shutil.copytree(node.home, image, symlinks=True)
    cluster.restart(node)

    cluster.done("rm", "others/removed")
    later = trees.write(tmp_path / "later.bin", trees.noise(3_000_000, seed=103))
    cluster.done("store", later, "--name", "others/later", "--redundancy", "3")
    node.handle.kill()
    shutil.rmtree(node.home)
    image.rename(node.home)
    cluster.restart(node)

    until_all_alive(cluster)
    rows = [row["name"] for row in cluster.done("ls")["checkpoints"]]
    assert "others/removed" not in rows, "what was removed stays removed"
    assert cluster.cli("gather", "others/removed", "--to", tmp_path / "out").code == 4
    assert trees.tree_of(cluster.gathered("others/later")) == trees.tree_of(later)
    cluster.done("repair")
    assert cluster.done("verify", "others/later", "--deep")
    assert all(len(chunk["nodes"]) >= 3 for chunk in cluster.done("show", "others/later")["chunks"])
    kept.check()


@pytest.mark.slow
def test_a_clock_at_1970(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = kept.cluster
    for key, value in environment_at_1970(tmp_path).items():
        monkeypatch.setenv(key, value)
    assert cluster.coordinator is not None
    node = cluster.nodes["a"]
    node.handle.kill()
    cluster.coordinator.handle.kill()
    cluster.restart(node)
    start(cluster)
    token = cluster.done("token", "create")
    assert token["expires_at"].startswith("1970-01-01T0")
    cluster.done("join", token["token"], "--client", "--name", "early", home=cluster.root / "early")
    path = trees.write(tmp_path / "early.bin", trees.noise(500_000, seed=104))
    assert cluster.done("store", path, "--name", "others/early", home=cluster.root / "early")["copies"] == 2
    kept.check()

    for key in ("LD_PRELOAD", "MOVED_BACK_S"):
        monkeypatch.delenv(key)
    [row] = cluster.done("ls", "others/early")["checkpoints"]
    assert row["stored_at"].startswith("1970-01-01")
    trees.write(path, trees.noise(500_000, seed=105))
    newer = cluster.done("store", path, "--name", "others/early")["version"]
    assert trees.tree_of(cluster.gathered("others/early")) == trees.tree_of(path), "the newest is not told by clocks"
    assert newer != row["version"]
    node.handle.kill()
    cluster.coordinator.handle.kill()
    cluster.restart(node)
    start(cluster)
    kept.check()


@pytest.mark.slow
def test_a_disk_replaced_by_an_empty_one(kept: Kept) -> None:
    cluster, node = kept.cluster, kept.cluster.nodes["c"]
    node.handle.kill()
    shutil.rmtree(node.home / "chunks")
    (node.home / "chunks").mkdir()
    answer = tried(cluster, node)
    assert answer.code == 1, answer
    assert "join with a new, empty home" in answer.result["hint"]
    assert cluster.done("repair")["short"] == 0
    token = cluster.done("token", "create")["token"]
    cluster.join(token, "e", first_machine=3)  # the same machine, a new home
    _forget(cluster, node)
    assert sorted(cluster.nodes) == ["a", "b", "d", "e"]
    until_all_alive(cluster)
    kept.check()


def _forget(cluster: Cluster, node: Node) -> None:
    deadline = time.monotonic() + DOWN_LIMIT_S
    while states(cluster)[node.name] != "down":
        assert time.monotonic() < deadline, "a dead node is never told to be down"
    assert cluster.done("nodes", "forget", node.name)
    cluster.nodes.pop(node.name)
    assert json.dumps(cluster.done("status")).count(node.id) == 0
