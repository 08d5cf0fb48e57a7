"""A member that was struck off: refused by every node from when it hears of it, also over what was open by then, and by
one that was off meanwhile from the first connection that it takes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import Cluster, spread_cluster
from roost.wire.frames import Kind
from roost.wire.messages import GetNodes
from security.harm import address_of, is_answered, kept
from security.stranger import Rude, Stranger

SOON_S = 20.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes of its own, for one of them is killed."""
    with spread_cluster(tmp_path_factory.mktemp("revoked"), nodes=3) as cluster:
        yield cluster


def client(cluster: Cluster, name: str) -> Stranger:
    home = cluster.root / name
    cluster.done("join", cluster.done("token", "create")["token"], "--client", "--name", name, home=home)
    return Stranger.of(home)


def said(rude: Rude, *, number: int = 1) -> str:
    """What a request is answered: its kind, or the error's code."""
    rude.request(GetNodes(), number=number)
    kind, told = rude.answer()
    return told["code"] if kind is Kind.ERROR else kind.name


def test_a_revoked_member_is_refused_and_what_it_has_open_is_closed(cluster: Cluster) -> None:
    victim, honest = client(cluster, "victim"), client(cluster, "honest")
    a, b, sleeper = (cluster.nodes[name] for name in "abc")
    homes = [a.home, b.home, cluster.home]
    settings = cluster.config.read_text().replace("127.0.0.1:0", "{}:{}".format(*address_of(sleeper.home)))
    (sleeper.home / "roost.yaml").write_text(settings)
    sleeper.handle.kill()
    opened = [victim.connect(address_of(home)) for home in homes]
    for rude in opened:
        assert victim.identity is not None
        rude.greet(victim.identity.cluster_hash)
        assert said(rude) == "ANSWER"
    told = cluster.done("nodes", "forget", "victim")
    assert told["name"] == "victim"
    for rude in opened:
        assert rude.is_dropped(), "what was open is closed"
        rude.close()
    before = [kept(home) for home in homes]
    for home in homes:
        with victim.connected(address_of(home)) as rude:
            assert said(rude) == "refused"
    assert [kept(home) for home in homes] == before
    assert is_answered(b.home, honest)

    first = starting(cluster, sleeper.home, victim)
    assert first == "refused", "a starting node exchanges records before it serves"
    assert is_answered(sleeper.home, honest)


def starting(cluster: Cluster, home: Path, victim: Stranger) -> str:
    """Start a node, and dial it until it takes a connection: what the first request is answered."""
    node = next(node for node in cluster.nodes.values() if node.home == home)
    node.program = cluster.begin("join", "--name", node.name, home=home, config=home / "roost.yaml")
    node.handle = node.program.handle
    at = address_of(home)
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline:
        try:
            with victim.connected(at) as rude:
                return said(rude)
        except ConnectionRefusedError:
            continue
    raise AssertionError("it does not serve")
