"""Space is freed on real nodes: `rm` keeps what can be brought back, `rm --now` frees it, and both say what waits."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, local_cluster


@pytest.fixture
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three local nodes of its own: its processes are ended."""
    with local_cluster(tmp_path_factory.mktemp("collecting"), nodes=3, more="retention: {undelete: 2d}") as cluster:
        yield cluster


def files(cluster: Cluster) -> dict[str, int]:
    """The objects on the nodes' disks, with the number of their copies."""
    found: dict[str, int] = {}
    for node in cluster.nodes.values():
        for name in node.chunks:
            found[name] = found.get(name, 0) + 1
    return found


def start_again(cluster: Cluster) -> None:
    """End all nodes and start them again, so that they have forgotten what stores had reserved. The coordinator ends
    for good: it might make copies of what is just being removed."""
    assert cluster.coordinator is not None
    cluster.coordinator.handle.kill()
    for node in cluster.nodes.values():
        node.handle.kill()
    cluster.restart(*cluster.nodes.values())


def free(cluster: Cluster, reference: str) -> dict[str, int]:
    """Remove it now, again while a node still waits to find out that the coordinator is dead; what that freed."""
    freed = {"objects": 0, "bytes": 0}
    deadline = time.monotonic() + 40
    while True:
        told = cluster.done("rm", reference, "--now")
        freed = {key: freed[key] + told["freed"][key] for key in freed}
        if not told["problems"]:
            assert told["waiting"] == []
            return freed
        assert time.monotonic() < deadline, told


@pytest.mark.slow
def test_rm_keeps_what_it_can_bring_back_and_rm_now_frees_it(three: Cluster, tmp_path: Path) -> None:
    folder = trees.sharded(tmp_path / "step", seed=100)
    three.done("store", folder, "--name", "run/step")
    kept = trees.tree_of(folder)
    before = files(three)
    trees.write(folder / "more.bin", trees.noise(3_000_000, seed=1))
    version = three.done("store", folder, "--name", "run/step")["version"]
    new = {name: copies for name, copies in files(three).items() if name not in before}
    assert set(new.values()) == {2}
    sizes = {name: path.stat().st_size for node in three.nodes.values() for name, path in node.chunks.items()}

    would = three.done("rm", f"run/step@{version}", "--dry-run")
    assert (would["chunks"], would["freed"]) == (len(new), {"objects": 0, "bytes": 0})
    assert would["chunk_bytes"] == sum(sizes[name] for name in new)
    removed = three.done("rm", f"run/step@{version}")
    assert removed["removed"] == [{"name": "run/step", "version": version}]
    assert removed["keep_s"] == 2 * 86_400

    early = three.done("rm", f"run/step@{version}", "--now")
    assert early["freed"]["objects"] == 0
    assert all("a store may count on them" in row["reason"] for row in early["waiting"])
    assert sum(int(row["reason"].split()[0]) for row in early["waiting"]) == 2 * len(new)
    assert set(new) <= set(files(three))

    start_again(three)
    assert free(three, f"run/step@{version}") == {"objects": 2 * len(new), "bytes": 2 * would["chunk_bytes"]}
    assert files(three) == before
    assert trees.tree_of(three.gathered("run/step")) == kept
    assert three.cli("rm", "run/nothing", "--now").code == 4
    rows = three.done("status")["nodes"]
    assert all(row["collection"].startswith(("freed", "idle")) for row in rows)
