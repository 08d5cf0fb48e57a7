"""The coordinator is disposable: nodes outlive it, data goes without it, and the next one finds everything again."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, local_cluster

QUIET_S = 10.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose coordinator is killed, with a folder that it watches."""
    root = tmp_path_factory.mktemp("own")
    watch = 'watch: [{path: watched, name: "seen"}]'
    with local_cluster(root / "cluster", more=watch) as cluster:
        yield cluster


@pytest.fixture
def cluster(own: Cluster) -> Cluster:
    """That cluster, with a coordinator that runs."""
    assert own.coordinator is not None
    if own.coordinator.handle.ended(0):
        own.start()
    return own


@pytest.fixture
def another(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of its own, for a test that takes a node from it for good."""
    with local_cluster(tmp_path_factory.mktemp("another") / "cluster") as cluster:
        yield cluster


def pids(cluster: Cluster) -> dict[str, int]:
    return {row["name"]: row["pid"] for row in cluster.done("nodes")["nodes"]}


def test_files_dropped_into_a_watched_folder_are_stored(cluster: Cluster) -> None:
    assert cluster.coordinator is not None
    folder = cluster.root / "watched"
    trees.write(folder / "torn.safetensors", trees.model([3_000_000], seed=60)[:-1])
    other = trees.write(folder / "run/step-1.ckpt", trees.noise(50_000, seed=61))
    model = trees.write(folder / "run/step-1.safetensors", trees.model([3_000_000], seed=62))
    first = cluster.coordinator.until("stored", timeout_s=QUIET_S)
    second = cluster.coordinator.until("stored", timeout_s=QUIET_S + 10)
    assert first["name"].endswith("run/step-1")
    assert second["name"].endswith("run/step-1.ckpt")
    for told, path in ((first, model), (second, other)):
        assert trees.tree_of(cluster.gathered(f"{told['name']}@{told['version']}")) == trees.tree_of(path)
    [watching] = cluster.done("status")["watching"]
    assert watching["path"] == str(folder)
    assert [row["name"] for row in watching["pending"]] == ["torn.safetensors"]
    assert len(cluster.done("ls", "seen")["checkpoints"]) == 2


def test_fault_04_the_coordinator_killed_in_the_middle_of_a_store(cluster: Cluster, tmp_path: Path) -> None:
    assert cluster.coordinator is not None
    path = trees.write(tmp_path / "big.bin", trees.noise(200_000_000, seed=63))
    program = cluster.begin("store", path, "--name", "coordinator/during")
    program.until_moving()
    cluster.coordinator.handle.kill()
    answer = program.wait()
    assert (answer.code, answer.result["copies"]) == (0, 2), answer
    assert trees.tree_of(cluster.gathered("coordinator/during")) == trees.tree_of(path)


def test_all_works_without_the_coordinator_and_the_next_one_takes_the_nodes_over(
    cluster: Cluster, tmp_path: Path
) -> None:
    assert cluster.coordinator is not None
    before = pids(cluster)
    assert len(before) == 4
    cluster.coordinator.handle.kill()
    assert not any(node.handle.ended(0) for node in cluster.nodes.values())

    path = trees.write(tmp_path / "alone.safetensors", trees.model([1_000_000], seed=64))
    assert cluster.done("store", path, "--name", "coordinator/alone")["copies"] == 2
    assert trees.tree_of(cluster.gathered("coordinator/alone")) == trees.tree_of(path)
    assert cluster.done("ls", "coordinator/alone")["complete"] is True
    assert pids(cluster) == before
    assert cluster.done("status")["coordinator_running"] is False

    cluster.start()
    assert pids(cluster) == before
    assert cluster.done("status")["coordinator_running"] is True


def test_fault_09_a_catalogue_that_is_deleted_is_made_again(cluster: Cluster, tmp_path: Path) -> None:
    path = trees.write(tmp_path / "listed.bin", trees.noise(10_000, seed=65))
    cluster.done("store", path, "--name", "coordinator/listed")
    before = cluster.done("ls")["checkpoints"]
    assert cluster.coordinator is not None
    cluster.coordinator.handle.kill()
    for file in cluster.home.glob("catalogue.sqlite3*"):
        file.unlink()
    after = cluster.done("ls")
    assert after["complete"] is True
    assert [(row["name"], row["version"]) for row in after["checkpoints"]] == [
        (row["name"], row["version"]) for row in before
    ]
    assert trees.tree_of(cluster.gathered("coordinator/listed")) == trees.tree_of(path)
    (cluster.home / "catalogue.sqlite3").write_bytes(trees.noise(5_000, seed=66))
    assert len(cluster.done("ls")["checkpoints"]) == len(before), "a damaged one is made again too"
    cluster.start()
    assert cluster.done("ls")["checkpoints"]


@pytest.mark.slow
def test_a_node_that_was_killed_runs_again_after_the_next_start(cluster: Cluster) -> None:
    assert cluster.coordinator is not None
    victim = next(iter(cluster.nodes.values()))
    victim.handle.kill()
    told = cluster.coordinator.until("node-down")
    assert told["home"] == str(victim.home)
    cluster.watch_state(victim, until="down", limit_s=30)
    assert {row["state"] for i, row in cluster.rows().items() if i != victim.id} == {"alive"}
    cluster.coordinator.handle.kill()
    cluster.start()
    assert pids(cluster)[victim.name] == cluster.nodes[victim.name].handle.pid != victim.handle.pid


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_ctrl_c_ends_everything_cleanly(cluster: Cluster, number: signal.Signals) -> None:
    assert cluster.coordinator is not None
    nodes = [node.handle for node in cluster.nodes.values()]
    assert len(nodes) == 4
    cluster.coordinator.handle.signal(number)
    answer = cluster.coordinator.wait()
    assert answer.code == 0, answer
    assert answer.result == {"type": "result", "stopped": True}
    assert all(node.ended(0) for node in nodes)
    assert not answer.errors


def test_ctrl_c_ends_a_node_and_one_that_is_frozen_does_not_stop_it(cluster: Cluster) -> None:
    assert cluster.coordinator is not None
    first, *others = cluster.nodes.values()
    first.handle.signal(signal.SIGINT)
    assert first.handle.ended(10)
    others[0].handle.freeze()
    cluster.coordinator.handle.signal(signal.SIGINT)
    assert cluster.coordinator.wait(30).code == 0
    assert all(node.handle.ended(0) for node in others)


@pytest.mark.slow
def test_local_nodes_that_left_or_cannot_start_hold_up_nothing(another: Cluster, tmp_path: Path) -> None:
    cluster = another
    path = trees.write(tmp_path / "kept.bin", trees.noise(100_000, seed=67))
    cluster.done("store", path, "--name", "coordinator/kept", "--redundancy", "3")
    left, broken, *others = cluster.nodes.values()
    cluster.done("nodes", "drain", left.name)
    assert cluster.coordinator is not None
    told = cluster.coordinator.until("node-down")
    assert "has left the cluster" in told["text"]
    assert cluster.stop().code == 0
    (broken.home / "chunks/store.id").rename(tmp_path / "store.id")

    program = cluster.start(local=4, ready=2)
    told = {line["event"]: line for line in program.lines}
    assert told["local-left-out"]["number"] == int(left.home.name)
    warned = told["warning"]["text"]
    assert f"local node {broken.home.name} did not start" in warned
    assert "store.id is missing" in warned
    states = {i: row["state"] for i, row in cluster.rows().items()}
    assert states[left.id] == "left"
    assert {states[node.id] for node in others} == {"alive"}
    assert trees.tree_of(cluster.gathered("coordinator/kept")) == trees.tree_of(path)
    (tmp_path / "store.id").rename(broken.home / "chunks/store.id")
