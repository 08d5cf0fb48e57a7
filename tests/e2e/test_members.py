"""Nodes that are emptied, struck off, or come back: with real processes, each node as if on a machine of its own."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, Node, flip

GRACE_S = 3
DOWN_LIMIT_S = 40.0
HOME_LIMIT_S = 60.0


@contextlib.contextmanager
def four_nodes(root: Path) -> Iterator[Cluster]:
    """Four nodes on four machines, and a coordinator that waits only seconds for one that went down."""
    with Cluster(root, more=f"repair: {{grace: {GRACE_S}s}}") as cluster:
        cluster.start(local=0)
        cluster.join(cluster.done("token", "create")["token"], *"abcd")
        yield cluster


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that a test may take nodes from."""
    with four_nodes(tmp_path_factory.mktemp("members")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for tests that leave it whole."""
    with four_nodes(tmp_path_factory.mktemp("whole")) as cluster:
        yield cluster


def store(cluster: Cluster, folder: Path, *, name: str, seed: int) -> Path:
    path = trees.write(folder / f"{seed}.safetensors", trees.model([2_000_000] * 8, seed=seed))
    assert cluster.done("store", path, "--name", name)["copies"] == 2
    return path


def busiest(cluster: Cluster) -> Node:
    return max(cluster.nodes.values(), key=lambda node: len(node.chunks))


def put_away(cluster: Cluster) -> set[tuple[str, str]]:
    """The damaged copies that nodes have found so far: the node, and the name of the file."""
    return {(n.name, path.name) for n in cluster.nodes.values() for path in n.home.glob("quarantine/*")}


def states(cluster: Cluster) -> dict[str, str]:
    return {row["name"]: row["state"] for row in cluster.done("nodes")["nodes"]}


def until_down(cluster: Cluster, node: Node) -> None:
    """Wait until the coordinator takes a node that was killed for down."""
    deadline = time.monotonic() + DOWN_LIMIT_S
    while states(cluster)[node.name] != "down":
        assert time.monotonic() < deadline, states(cluster)


def test_a_drained_node_ends_and_everything_is_whole_without_it(cluster: Cluster, tmp_path: Path) -> None:
    paths = {f"run/step-{seed}": store(cluster, tmp_path, name=f"run/step-{seed}", seed=seed) for seed in (1, 2)}
    victim = busiest(cluster)
    planned = cluster.done("nodes", "drain", victim.name, "--dry-run")
    assert len(planned["plan"]) == len(victim.chunks)
    assert all(victim.name in row["reason"] for row in planned["plan"])
    assert states(cluster)[victim.name] == "alive"

    drained = cluster.done("nodes", "drain", victim.id[:8])
    assert (drained["state"], drained["reason"]) == ("left", "")
    assert victim.handle.ended(10)
    assert victim.program is not None
    ended = victim.program.wait()
    assert (ended.code, ended.result["code"]) == (7, "not-admitted")
    assert "has left" in ended.result["message"]
    assert states(cluster)[victim.name] == "left"

    for name, path in paths.items():
        shown = cluster.done("show", name)
        assert shown["health"] == "healthy"
        assert all(len(set(chunk["nodes"]) - {victim.name}) >= 2 for chunk in shown["chunks"])
        assert trees.tree_of(cluster.gathered(name)) == trees.tree_of(path)
    assert cluster.cli("verify", "--deep").code == 0
    assert cluster.done("nodes", "drain", victim.name)["state"] == "left"


def test_a_drain_that_cannot_end_says_why_goes_on_and_can_be_stopped(cluster: Cluster, tmp_path: Path) -> None:
    path = store(cluster, tmp_path, name="run/step-1", seed=3)
    cluster.done("store", path, "--name", "run/three", "--redundancy", "3")
    first, *_, last = cluster.nodes.values()
    assert cluster.done("nodes", "drain", last.name)["state"] == "left"
    answer = cluster.cli("nodes", "drain", first.name)
    assert answer.code == 3, answer
    assert answer.result["state"] == "draining"
    assert "no other machine" in answer.result["reason"]
    assert states(cluster)[first.name] == "draining"
    assert trees.tree_of(cluster.gathered("run/three")) == trees.tree_of(path)
    assert cluster.done("nodes", "drain", first.name, "--cancel")["state"] == "staying"
    assert states(cluster)[first.name] == "alive"
    assert not first.handle.ended(0)


@pytest.mark.slow
def test_fault_08_a_dead_node_is_struck_off_once_nothing_is_endangered_by_it(cluster: Cluster, tmp_path: Path) -> None:
    path = store(cluster, tmp_path, name="run/two", seed=4)
    cluster.done("store", path, "--name", "run/three", "--redundancy", "3")
    victim, other, *_ = cluster.nodes.values()
    alive = cluster.cli("nodes", "forget", victim.name, "--force")
    assert (alive.code, alive.result["code"]) == (1, "failed")
    assert "drain" in alive.result["hint"]
    assert cluster.cli("nodes", "forget", "nobody").code == 4

    for node in (victim, other):
        node.handle.kill()
    until_down(cluster, victim)
    answer = cluster.cli("nodes", "forget", victim.name)
    assert (answer.code, answer.result["code"]) == (1, "endangers")
    assert "run/three" in {checkpoint.partition("@")[0] for checkpoint in answer.result["checkpoints"]}

    cluster.restart(other)
    assert cluster.done("repair")["short"] == 0
    forgotten = cluster.done("nodes", "forget", victim.name)
    assert forgotten["checkpoints"] == []
    assert victim.name not in states(cluster)
    assert trees.tree_of(cluster.gathered("run/three")) == trees.tree_of(path)

    back = cluster.begin("join", "--name", victim.name, home=victim.home)
    assert back.wait(60).code == 7, "its key is of no use any more"


@pytest.mark.slow
def test_displaced_copies_move_home_when_a_node_is_back(whole: Cluster, tmp_path: Path) -> None:
    store(whole, tmp_path, name="run/before", seed=5)
    away = busiest(whole)
    away.handle.kill()
    path = store(whole, tmp_path, name="run/while", seed=6)
    before = set(away.chunks)
    whole.restart(away)
    wanted = {chunk["id"] for chunk in whole.done("show", "run/while")["chunks"]}
    deadline = time.monotonic() + HOME_LIMIT_S
    while not (set(away.chunks) - before) & wanted:
        assert time.monotonic() < deadline, "nothing of what was stored meanwhile has come to where it belongs"
        states(whole)
    assert whole.done("show", "run/while")["health"] == "healthy"
    assert trees.tree_of(whole.gathered("run/while")) == trees.tree_of(path)


def test_a_dry_run_of_a_repair_tells_what_it_would_copy_and_why_and_copies_nothing(
    whole: Cluster, tmp_path: Path
) -> None:
    path = store(whole, tmp_path, name="run/planned", seed=8)
    assert whole.coordinator is not None
    victim = busiest(whole)
    wanted = {chunk["id"] for chunk in whole.done("show", "run/planned")["chunks"]}
    whole.coordinator.handle.freeze()  # so that it is not the steward who repairs
    try:
        victim.handle.kill()
        before = {node.name: set(node.chunks) for node in whole.nodes.values()}
        held = Counter(chunk for chunks in before.values() for chunk in chunks & wanted)
        lost = {chunk for chunk in wanted & before[victim.name] if held[chunk] == 2}
        answer = whole.cli("repair", "--dry-run")
        assert {node.name: set(node.chunks) for node in whole.nodes.values()} == before
    finally:
        whole.coordinator.handle.resume()
    assert answer.code == 3, answer
    planned = answer.result
    assert (planned["dry_run"], planned["copies"], planned["bytes"]) == (True, 0, 0)
    rows = {row["id"]: row for row in planned["plan"]}
    assert lost
    assert lost <= rows.keys()
    assert planned["short"] == len(rows)
    for chunk, row in rows.items():
        assert (row["reason"], row["work"]) == ("on 1 of 2 machines", "short")
        assert chunk in before[row["source"]]
        assert chunk not in before[row["target"]]
        assert victim.name not in (row["source"], row["target"])
    whole.restart(victim)
    assert trees.tree_of(whole.gathered("run/planned")) == trees.tree_of(path)


def test_fault_05_damage_found_while_gathering_is_repaired_and_counted(whole: Cluster, tmp_path: Path) -> None:
    path = store(whole, tmp_path, name="run/damaged", seed=7)
    chunks = whole.done("show", "run/damaged")["chunks"]
    assert whole.coordinator is not None
    before = put_away(whole)
    whole.coordinator.handle.freeze()  # so that it is not the steward who repairs
    try:
        for chunk in chunks:
            copies = whole.copies(chunk["id"])
            flip(copies[sorted(copies)[0]], offset=chunk["bytes"] // 2)
        result = whole.done("gather", "run/damaged", "--to", tmp_path / "to")
        met = put_away(whole) - before
    finally:
        whole.coordinator.handle.resume()
    assert trees.tree_of(Path(result["path"])) == trees.tree_of(path)
    assert 0 < result["repaired"] == len(met) <= result["failovers"]
    assert all(len(whole.copies(name.partition("-")[0])) >= 2 for _, name in met), "each was made again where it was"
    whole.cli("verify", "--deep", "run/damaged")
    whole.cli("repair")
    assert whole.cli("verify", "--deep", "run/damaged").code == 0
