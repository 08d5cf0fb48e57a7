"""torch's distributed checkpoint, straight on the cluster by ``roost://``: no local copy, and resharded on load."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import Cluster, local_cluster
from e2e.installed import need

PROGRAM = Path(__file__).with_name("dcp.py")
LIMIT_S = 180

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need("torch")
    with local_cluster(tmp_path_factory.mktemp("dcp") / "cluster") as cluster:
        yield cluster


def ranks(cluster: Cluster, what: str, url: str, *, world: int, seed: int, folder: Path) -> None:
    """Run one process a rank to their ends."""
    meeting = folder / f"{what}-{world}-{seed}"
    shutil.copy(cluster.config, folder / "roost.yaml")  # which a program finds where it runs
    environment = {**os.environ, "ROOST_HOME": str(cluster.home), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), what, url, str(rank), str(world), str(meeting), str(seed)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
        )
        for rank in range(world)
    ]  # fmt: skip
    said = [process.communicate(timeout=LIMIT_S)[0] for process in running]
    assert [process.returncode for process in running] == [0] * world, "\n".join(said)


def test_two_ranks_save_three_load_and_back(cluster: Cluster, tmp_path: Path) -> None:
    ranks(cluster, "save", "roost://dcp/step-1", world=2, seed=1, folder=tmp_path)
    stored = {row["name"] for row in cluster.done("ls", "dcp", "--newest")["checkpoints"]}
    assert "dcp/step-1/.metadata" in stored
    assert len([name for name in stored if name.endswith(".distcp")]) == 2
    assert not [name for name in stored if name.endswith(".tmp")]
    ranks(cluster, "load", "roost://dcp/step-1", world=3, seed=1, folder=tmp_path)
    ranks(cluster, "save", "roost://dcp/step-2", world=3, seed=2, folder=tmp_path)
    ranks(cluster, "load", "roost://dcp/step-2", world=2, seed=2, folder=tmp_path)
    assert not list(tmp_path.glob("**/*.distcp")), "no local copy"


def test_it_loads_with_a_node_down(cluster: Cluster, tmp_path: Path) -> None:
    ranks(cluster, "save", "roost://dcp/step-3", world=2, seed=3, folder=tmp_path)
    victim = next(iter(cluster.nodes.values()))
    victim.handle.kill()
    ranks(cluster, "load", "roost://dcp/step-3", world=3, seed=3, folder=tmp_path)
    cluster.restart(victim)
