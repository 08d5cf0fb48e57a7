"""What is measured elsewhere, run for real: `roost bench --cluster`, `bench repair`, and a cluster of many nodes."""

import asyncio
import sys
from pathlib import Path

import pytest
from bench import many

from e2e.cluster import Cluster, local_cluster
from roost.apps.cli.demo_cluster import DemoCluster, temporary_folder

NODES, CHECKPOINTS = 20, 500
IDLE_MINUTES = 1.0
GROWTH_MAX_MB = 5.0
NODE_MAX_MB, COORDINATOR_MAX_MB = 90.0, 120.0
LS_MAX_S = 1.0


@pytest.mark.slow
def test_bench_repair_tells_how_fast_copies_go(tmp_path: Path) -> None:
    with Cluster(tmp_path / "bench") as cluster:
        told = cluster.done("bench", "repair", "--bytes", "4MiB", timeout_s=300)
    figures = {row["figure"]: (row["value"], row["unit"]) for row in told["figures"]}
    for figure in ("scrub, one node", "scrub, 4 nodes at once", "repair, from node to node"):
        rate, unit = figures[figure]
        assert unit == "MB/s"
        assert rate > 0
        moved, unit = figures[f"{figure}, moved"]
        assert unit == "MB"
        assert 0.3 < moved < 8.5, "of two copies of 4 MiB, or of what one node had of them"


@pytest.mark.slow
def test_bench_of_the_own_cluster_probes_its_nodes_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    with local_cluster(tmp_path / "bench", nodes=2) as cluster:
        told = cluster.done("bench", "--cluster", "--bytes", "2MiB", timeout_s=300)
        assert cluster.done("ls")["checkpoints"] == []
        names = {node["name"] for node in cluster.done("nodes")["nodes"]}
    assert {node["name"] for node in told["nodes"]} == names
    assert all(node["put_mb_per_s"] > 0 and node["get_mb_per_s"] > 0 for node in told["nodes"])
    assert "bottleneck" in told
    assert not [row for row in told["figures"] if "floor" in row["figure"]], "the machines of a cluster are many"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the memory of processes is read from /proc")
def test_many_nodes_with_many_checkpoints_stay_small_and_quick() -> None:
    with temporary_folder("roost-many-") as folder, DemoCluster(folder, NODES) as cluster:
        work = folder / "work"
        work.mkdir()
        asyncio.run(many.store_all(cluster, work, CHECKPOINTS))
        many.ls(cluster, work)  # fills the catalogue, and lets the records spread
        stored = many.Memory.of(cluster)
        passed = list(many.looks(IDLE_MINUTES))
        later = many.Memory.of(cluster)
        assert passed[-1] >= 60 * IDLE_MINUTES
        assert len(stored.nodes) == len(later.nodes) == NODES
        growth = [after - before for before, after in zip(stored.nodes, later.nodes, strict=True)]
        assert max(growth) < GROWTH_MAX_MB, growth
        assert later.coordinator - stored.coordinator < GROWTH_MAX_MB, (stored, later)
        assert max(later.nodes) < NODE_MAX_MB
        assert later.coordinator < COORDINATOR_MAX_MB
        assert min(many.ls(cluster, work)) < LS_MAX_S
