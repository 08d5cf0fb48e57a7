"""Trainer, Lightning and Accelerate back up what they save, keep what they rotate away, and go on from it elsewhere.

`trainers.py` holds the programs. They need what `pip install -e '.[dev,frameworks]'` installs, and are skipped without.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import trees
from e2e.cluster import Cluster, local_cluster
from e2e.installed import need
from e2e.training import training

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("trainers.py")
SAVE_MAX_S = 0.05


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need("torch")
    with local_cluster(tmp_path_factory.mktemp("frameworks") / "cluster", nodes=3) as cluster:
        yield cluster


def run(cluster: Cluster, kind: str, out: Path, *options: object) -> list[dict[str, Any]]:
    with training(cluster, PROGRAM, kind, out, "--name", kind, *options) as one:
        return one.end()[0]


def losses(told: list[dict[str, Any]]) -> dict[int, str]:
    return {line["step"]: line["loss"] for line in told if "step" in line}


def check_stored(cluster: Cluster, *names: str) -> None:
    """Each is stored, with all of its copies."""
    for name in names:
        assert cluster.done("show", name)["health"] == "healthy"


def test_trainer_keeps_one_checkpoint_and_the_cluster_all(cluster: Cluster, tmp_path: Path) -> None:
    need("transformers", "accelerate")
    out = tmp_path / "out"
    told = run(cluster, "trainer", out)
    assert sorted(path.name for path in out.glob("checkpoint-*")) == ["checkpoint-9"]
    check_stored(cluster, *(f"trainer/checkpoint-{step}" for step in (3, 6, 9)))
    assert trees.tree_of(cluster.gathered("trainer/checkpoint-9")) == trees.tree_of(out / "checkpoint-9")
    seconds = [line["seconds"] for line in told if "saved" in line]
    print(f"on_save: {', '.join(f'{1000 * one:.1f} ms' for one in seconds)}")
    assert sorted(seconds)[1] < SAVE_MAX_S
    on = run(cluster, "trainer", tmp_path / "elsewhere", "--resume", "--steps", 12)
    assert on[0] == {"resumed": str(tmp_path / "elsewhere" / "checkpoint-9")}
    assert min(losses(on)) == 10


def test_lightning_fetches_what_is_not_on_this_machine(cluster: Cluster, tmp_path: Path) -> None:
    need("lightning")
    out = tmp_path / "out"
    run(cluster, "lightning", out)
    assert [path.name for path in out.iterdir()] == ["step=9.ckpt"]
    check_stored(cluster, *(f"lightning/step={step}.ckpt" for step in (3, 6, 9)))
    kept = trees.tree_of(out / "step=9.ckpt")
    shutil.rmtree(out)
    on = run(cluster, "lightning", out, "--resume", "--steps", 12)
    assert min(losses(on)) == 10
    assert trees.tree_of(cluster.gathered("lightning/step=9.ckpt")) == kept


def test_accelerate_goes_on_where_it_was(cluster: Cluster, tmp_path: Path) -> None:
    need("accelerate")
    whole = losses(run(cluster, "accelerate", tmp_path / "whole", "--steps", 12, "--name", "uninterrupted"))
    run(cluster, "accelerate", tmp_path / "out")
    check_stored(cluster, *(f"accelerate/step-{step}" for step in (3, 6, 9)))
    shutil.rmtree(tmp_path / "out")
    on = losses(run(cluster, "accelerate", tmp_path / "out", "--resume", "--steps", 12))
    assert on == {step: whole[step] for step in (10, 11, 12)}


@pytest.mark.parametrize("kind", ["trainer", "accelerate"])
def test_of_several_processes_one_stores_and_the_parts_of_all_are_in_it(
    cluster: Cluster, tmp_path: Path, kind: str
) -> None:
    need("transformers", "accelerate")
    words = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, PROGRAM)
    out, name = tmp_path / "out", f"{kind}-of-two"
    with training(cluster, *words, kind, out, "--name", name, "--steps", 3) as one:
        one.end()
    [row] = cluster.done("ls", f"{name}/")["checkpoints"]
    assert row["version"].startswith("1-"), "stored once"
    [folder] = [path for path in out.iterdir() if path.name.endswith("-3")]
    back = cluster.gathered(row["name"])
    assert trees.tree_of(back) == trees.tree_of(folder)
    parts = "rng_state_?.pth" if kind == "trainer" else "random_states_?.pkl"
    assert len(list(back.glob(parts))) == 2
