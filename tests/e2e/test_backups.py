"""Backups from a training process: saving takes milliseconds whatever the cluster does, and no loss is silent."""

import statistics
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, local_cluster
from e2e.training import training

pytestmark = pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 3), reason="this Python starts no thread when a program ends (gh-113964)"
)

SAVE_MAX_S = 0.05
NODES = 3

PROGRAM = """
import json, os, shutil, sys, time
import roost
from roost.client.backups import default_backups

def say(**told):
    print(json.dumps(told), flush=True)

def save(path, name):
    begun = time.perf_counter()
    backup = roost.save_hook(path, name)
    say(seconds=time.perf_counter() - begun, name=backup.name)
    return backup

"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of this file's own, which its tests freeze and stop."""
    with local_cluster(tmp_path_factory.mktemp("backups") / "cluster", nodes=NODES) as cluster:
        yield cluster


def problems(cluster: Cluster) -> list[str]:
    """What the status says of backups."""
    return [problem for problem in cluster.done("status")["problems"] if "backup" in problem]


def test_rotated_away_at_once_and_stored_whole(cluster: Cluster, tmp_path: Path) -> None:
    folder = trees.trainer(tmp_path / "out" / "checkpoint-1000")
    before = trees.tree_of(folder)
    script = """
backup = save(sys.argv[1], "rotated/checkpoint-1000")
shutil.rmtree(sys.argv[1])
say(copies=backup.wait(100).copies)
"""
    with training(cluster, "-c", PROGRAM + script, folder) as one:
        told, _ = one.end()
    assert not folder.exists()
    assert told[-1] == {"copies": 2}
    assert trees.tree_of(cluster.gathered("rotated/checkpoint-1000")) == before


def test_a_program_that_ends_at_once_has_stored(cluster: Cluster, tmp_path: Path) -> None:
    path = trees.write(tmp_path / "final.safetensors", trees.model([300_000], seed=3))
    with training(cluster, "-c", PROGRAM + 'save(sys.argv[1], "ended/final")', path) as one:
        _, errors = one.end()
    assert "waiting for 1 backup" in errors
    assert trees.tree_of(cluster.gathered("ended/final")) == trees.tree_of(path)


def test_saving_takes_no_time_while_the_nodes_stand_still(cluster: Cluster, tmp_path: Path) -> None:
    folders = [trees.trainer(tmp_path / "out" / f"checkpoint-{step}") for step in range(9)]
    script = """
default_backups().exit_patience_s = 2
for folder in sys.argv[1:]:
    save(folder, "frozen/" + os.path.basename(folder))
say(trained=True)
"""
    for node in cluster.nodes.values():
        node.handle.freeze()
    try:
        with training(cluster, "-c", PROGRAM + script, *folders) as one:
            told, errors = one.end()
    finally:
        for node in cluster.nodes.values():
            node.handle.resume()
    seconds = [float(str(line["seconds"])) for line in told[:-1]]
    print(f"save_hook: median {1000 * statistics.median(seconds):.1f} ms, longest {1000 * max(seconds):.1f} ms")
    assert len(seconds) == 9
    assert statistics.median(seconds) < SAVE_MAX_S
    assert told[-1] == {"trained": True}, "the training goes on"
    for step in range(9):
        assert f"NO BACKUP of frozen/checkpoint-{step}: " in errors
    assert all(folder.exists() for folder in folders), "nothing local is deleted"
    noted = problems(cluster)
    assert any(problem.startswith("the backup of frozen/checkpoint-8 failed") for problem in noted)
    assert "4 more backups" in noted[-1]
    with training(
        cluster, "-c", PROGRAM + "say(copies=save(sys.argv[1], 'frozen/checkpoint-8').wait(100).copies)", folders[8]
    ) as one:
        assert one.end()[0][-1] == {"copies": 2}
    assert problems(cluster) == []


def test_what_waits_while_the_cluster_is_away_is_stored_when_it_is_back(cluster: Cluster, tmp_path: Path) -> None:
    folders = [trees.trainer(tmp_path / "out" / f"checkpoint-{step}") for step in range(2)]
    before = [trees.tree_of(folder) for folder in folders]
    script = """
first = save(sys.argv[1], "away/checkpoint-0")
shutil.rmtree(sys.argv[1])
sys.stdin.readline()
second = save(sys.argv[2], "away/checkpoint-1")
say(copies=[backup.wait(100).copies for backup in (second, first)])
"""
    assert cluster.stop().code == 0
    with training(cluster, "-c", PROGRAM + script, *folders) as one:
        assert float(str(one.told()["seconds"])) < 1
        while "the backup of away/checkpoint-0 has waited" not in (answer := cluster.cli("status")).result["message"]:
            assert answer.code == 6
            assert one.process.poll() is None
        cluster.start(local=NODES)
        one.go_on()
        told, errors = one.end()
    assert told[-1] == {"copies": [2, 2]}
    assert errors.count("backup of away/checkpoint-0 waits and is tried again") == 1
    assert problems(cluster) == []
    for step in range(2):
        assert trees.tree_of(cluster.gathered(f"away/checkpoint-{step}")) == before[step]


def test_a_machine_that_is_no_member_trains_to_the_end(cluster: Cluster, tmp_path: Path) -> None:
    path = trees.write(tmp_path / "model.bin", trees.noise(1000, seed=1))
    script = """
os.environ["ROOST_HOME"] = sys.argv[2]
save(sys.argv[1], "nobody/step-1")
say(errors=[type(save(path, name).error).__name__ for path, name in ((sys.argv[1], "a//b"), ("absent", None))])
"""
    with training(cluster, "-c", PROGRAM + script, path, tmp_path / "nobody") as one:
        told, errors = one.end()
    assert told[-1] == {"errors": ["UsageError", "NotFound"]}
    assert errors.count("NO BACKUP of ") == 3
    assert "nobody/step-1" in errors
    assert not (tmp_path / "nobody").exists()


def test_a_backup_that_failed_is_counted_by_the_coordinator(cluster: Cluster, tmp_path: Path) -> None:
    script = """
save(sys.argv[1], "counted/step-1")
"""
    with training(cluster, "-c", PROGRAM + script, tmp_path / "absent") as one:
        _, errors = one.end()
    assert "NO BACKUP of counted/step-1" in errors
    page = cluster.done("status")["page"]
    with urllib.request.urlopen(f"{page}metrics", timeout=30) as answer:  # it is on loopback
        assert 'roost_backup_failures_total{reason="not-found"} 1.0' in answer.read().decode().splitlines()
