"""Space is freed on real nodes: `rm` keeps what can be brought back, `rm --now` frees it, and both say what waits."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, local_cluster


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three local nodes of its own: its processes are started again."""
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
    """End all nodes and start them again, so that they have forgotten what stores had reserved."""
    for node in cluster.nodes.values():
        node.handle.kill()
    cluster.restart(*cluster.nodes.values())


def test_rm_keeps_what_it_can_bring_back_and_rm_now_frees_it(three: Cluster, tmp_path: Path) -> None:
    kept = trees.write(tmp_path / "kept.bin", trees.noise(3_000_000, seed=1))
    gone = trees.write(tmp_path / "gone.bin", trees.noise(3_000_000, seed=2))
    three.done("store", kept, "--name", "run/kept")
    before = files(three)
    version = three.done("store", gone, "--name", "run/gone")["version"]
    new = {name: copies for name, copies in files(three).items() if name not in before}
    assert set(new.values()) == {2}

    would = three.done("rm", "run/gone", "--dry-run")
    assert (would["chunks"], would["freed"]) == (len(new), {"objects": 0, "bytes": 0})
    assert would["chunk_bytes"] == sum(path.stat().st_size for path in paths(three, new).values())
    removed = three.done("rm", "run/gone")
    assert removed["removed"] == [{"name": "run/gone", "version": version}]
    assert removed["keep_s"] == 2 * 86_400
    assert set(new) <= set(files(three))

    early = three.done("rm", f"run/gone@{version}", "--now")
    assert early["freed"]["objects"] == 0
    assert all("a store may count on them" in row["reason"] for row in early["waiting"])
    assert sum(int(row["reason"].split()[0]) for row in early["waiting"]) >= 2 * len(new)
    assert set(new) <= set(files(three))

    start_again(three)
    late = three.done("rm", f"run/gone@{version}", "--now")
    assert late["problems"] == []
    assert late["freed"] == {"objects": 2 * len(new), "bytes": 2 * would["chunk_bytes"]}
    assert files(three) == before
    assert trees.tree_of(three.gathered("run/kept")) == trees.tree_of(kept)
    assert three.cli("rm", "run/nothing", "--now").code == 4
    rows = three.done("status")["nodes"]
    assert all(row["collection"].startswith(("freed", "idle")) for row in rows)


def paths(cluster: Cluster, names: dict[str, int]) -> dict[str, Path]:
    """One file of each object."""
    return {name: path for node in cluster.nodes.values() for name, path in node.chunks.items() if name in names}


def test_what_another_version_needs_stays(three: Cluster, tmp_path: Path) -> None:
    first = trees.sharded(tmp_path / "step")
    three.done("store", first, "--name", "run/step")
    before = files(three)
    trees.write(first / "more.bin", trees.noise(300_000, seed=3))
    second = three.done("store", first, "--name", "run/step")["version"]
    start_again(three)
    told = three.done("rm", f"run/step@{second}", "--now")
    freed = told["freed"]
    assert (told["waiting"], told["problems"]) == ([], [])
    assert freed["objects"] > 0
    assert files(three) == before
    assert "more.bin" not in trees.tree_of(three.gathered("run/step"))
