"""The cluster that the security tests share, and who misbehaves in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, Node, spread_cluster
from security.harm import serves_honest_clients
from security.stranger import Stranger


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A coordinator and three nodes, each on a machine of its own."""
    with spread_cluster(tmp_path_factory.mktemp("security"), nodes=3) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def rude_home(cluster: Cluster) -> Path:
    """The home of a member that keeps nothing."""
    home = cluster.root / "rude"
    cluster.done("join", cluster.done("token", "create")["token"], "--client", "--name", "rude", home=home)
    return home


@pytest.fixture
def member(rude_home: Path) -> Stranger:
    return Stranger.of(rude_home)


@pytest.fixture(scope="session")
def node(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Node:
    """A node that has worked before, so that what it loads and takes once does not count as its growth."""
    path = trees.write(tmp_path_factory.mktemp("usual") / "usual.bin", trees.noise(10_000_000, seed=35))
    serves_honest_clients(cluster, path, "security/usual")
    return cluster.nodes["a"]


@pytest.fixture(params=["node", "coordinator"])
def home(request: pytest.FixtureRequest, cluster: Cluster, node: Node) -> Path:
    """The home of who is dialled: a node, and the coordinator."""
    return node.home if request.param == "node" else cluster.home
