"""`roost.connect()`: a program stores, gathers and looks, without an event loop and within one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import roost
from e2e import trees
from e2e.cluster import Cluster, local_cluster
from roost.core.errors import NotAdmitted, NotFound, UsageError


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with local_cluster(tmp_path_factory.mktemp("program") / "cluster") as cluster:
        yield cluster


def test_a_program_stores_and_gathers(cluster: Cluster, tmp_path: Path) -> None:
    model = trees.write(tmp_path / "out/step-1.safetensors", trees.model([300_000], seed=1))
    with roost.connect(home=cluster.home, config=cluster.config) as front:
        stored = front.store(str(model), name="gpt2/step-1")
        assert (stored.copies, stored.degraded) == (2, False)
        assert front.store(model, name="gpt2/step-1").unchanged
        back = front.gather("gpt2/step-1", to=tmp_path / "back")
        assert trees.tree_of(Path(back.path)) == trees.tree_of(model)
        assert [row.name for row in front.list("gpt2").checkpoints] == ["gpt2/step-1"]
        assert front.show("gpt2/step-1").health == "healthy"
        assert [verdict.health for verdict in front.verify(["gpt2/step-1"], deep=True)] == ["healthy"]
        assert {row.state for row in front.nodes()} == {"alive"}
        assert front.status().checkpoints is not None
        assert not front.repair(dry_run=True).plan
        assert not front.remove("gpt2/step-1").dry_run
        assert front.undelete(f"gpt2/step-1@{stored.version}").copies == 2
        with pytest.raises(NotFound):
            front.gather("gpt2/step-2", to=tmp_path / "nothing")
    front.close()


def test_a_notebook_has_a_loop_of_its_own(cluster: Cluster, tmp_path: Path) -> None:
    model = trees.write(tmp_path / "step-2.safetensors", trees.model([100_000], seed=2))

    async def cell() -> str:
        with roost.connect(home=cluster.home, config=cluster.config) as front:
            return front.store(model, name="gpt2/step-2").name

    assert asyncio.run(cell()) == "gpt2/step-2"


def test_what_is_wrong_is_said_before_anything_is_dialled(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(NotAdmitted):
        roost.connect(home=tmp_path / "empty")
    bad = tmp_path / "bad.yaml"
    bad.write_text("redundancies: 2\n")
    with pytest.raises(UsageError, match="redundanc"):
        roost.connect(home=cluster.home, config=bad)
    with pytest.raises(AttributeError):
        roost.nothing  # noqa: B018
