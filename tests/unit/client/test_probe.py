"""The probe, on a simulated network: what it measures is what the lines and disks do, and who fails is told by name."""

from collections.abc import Awaitable, Callable

import pytest

from checkpoint_kits import Kit, make_kit, member, node_id
from roost.client import probe as probe_module
from roost.client.bottleneck import MB, NodeSpeed, Sender, find
from roost.client.probe import ALONE, AT_ONCE, TOGETHER, Probed, probe
from roost.client.session import Session
from roost.cluster.membership import Membership
from roost.cluster.remembered import Remembered
from roost.core.errors import NoSpace, Unreachable
from roost.core.ids import MachineId
from roost.net.server import Call, Reply
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.network import Line
from roost.wire.messages import Get, Put

NODES = (1, 2, 3, 4)
QUICK_MB, SLOW_MB = 25, 3
QUICK, SLOW = Line(bytes_per_s=QUICK_MB * MB), Line(bytes_per_s=SLOW_MB * MB)
OBJECT_BYTES = 1024 * 1024
SENDER = Sender(out=None, makes=1e9, ratio=0.67, seals=1e9, only=False)


@pytest.fixture(autouse=True)
def small_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "OBJECT_BYTES", OBJECT_BYTES)


class Probing:
    """Four nodes on lines of 25 MB/s, and a member that probes them from a machine of its own."""

    def __init__(self, kit: Kit, machine: str) -> None:
        identity = Identity.found(Authority.create("home"), NodeKey.create(), machine=MachineId(machine))
        self.kit = kit
        self.session = Session(
            kit.runtime, kit.client, identity, Membership(identity.authority), kit.catalogue, Remembered(MemoryDisk()),
            kit.links, kit.peers,
        )  # fmt: skip
        self.said: list[str] = []
        for number in NODES:
            self.line(number, QUICK)

    def line(self, number: int, line: Line) -> None:
        host = self.kit.nodes[number].host
        self.kit.world.set_line(self.kit.client, host, line)
        self.kit.world.set_line(host, self.kit.client, line)

    def slow_disk(self, number: int, seconds: float) -> None:
        """Let node `number` take so long to write an object."""
        put = self.kit.nodes[number].handlers[Put]

        async def slowly(call: Call) -> Reply:
            reply = await put(call)
            await self.kit.runtime.sleep(seconds)
            return reply

        self.kit.nodes[number].handlers[Put] = slowly

    async def probe(self) -> Probed:
        return await probe(self.session, say=self.said.append)


def simulated(scenario: Callable[[Probing], Awaitable[None]], *, machine: str = "f" * 32, one: bool = False) -> None:
    async def main() -> None:
        kit = await make_kit([member(number, machine=1 if one else 0) for number in NODES])
        await scenario(Probing(kit, machine))
        await kit.links.close()
        for node in kit.nodes.values():
            await node.links.close()

    run_simulated(main(), seconds_max=600)


def rates(speed: NodeSpeed) -> tuple[float, float]:
    assert speed.put is not None
    assert speed.get is not None
    return speed.put / MB, speed.get / MB


def test_rates_are_those_of_the_lines_and_a_slow_one_is_the_bottleneck() -> None:
    async def scenario(probing: Probing) -> None:
        probing.line(3, SLOW)
        probed = await probing.probe()
        assert [node.name for node in probed.nodes] == [f"node-{number}" for number in NODES]
        for speed in probed.nodes:
            limit = SLOW_MB if speed.name == "node-3" else QUICK_MB
            assert rates(speed) == pytest.approx((limit, limit), rel=0.2)
        assert probed.out is not None
        # One that is still busy when the others are done does not make the sum small.
        assert probed.out / MB == pytest.approx(3 * QUICK_MB + SLOW_MB, rel=0.2), (
            "what is slow does not make the sum small"
        )
        assert not probed.only
        verdict = find(probed.nodes, SENDER, copies=2)
        assert verdict.bottleneck is not None
        assert (verdict.bottleneck.node, verdict.bottleneck.what) == ("node-3", "way")
        assert probing.said == [*(f"probing node-{number}" for number in NODES), "probing all nodes at once"]

    simulated(scenario)


def test_who_writes_slower_than_it_gives_has_a_slow_disk() -> None:
    async def scenario(probing: Probing) -> None:
        probing.slow_disk(2, AT_ONCE * OBJECT_BYTES / (SLOW_MB * MB))
        probed = await probing.probe()
        put, get = rates(probed.nodes[1])
        assert put == pytest.approx(SLOW_MB, rel=0.2)
        assert get == pytest.approx(QUICK_MB, rel=0.2)
        verdict = find(probed.nodes, SENDER, copies=2)
        assert verdict.bottleneck is not None
        assert (verdict.bottleneck.node, verdict.bottleneck.what) == ("node-2", "disk")

    simulated(scenario)


def test_its_objects_are_no_more_than_it_says_and_in_no_record() -> None:
    async def scenario(probing: Probing) -> None:
        await probing.probe()
        for node in probing.kit.nodes.values():
            assert len(node.objects()) == AT_ONCE + ALONE + TOGETHER
            assert node.records_of("manifest") == set()

    simulated(scenario)


def test_a_slow_node_is_not_given_everything() -> None:
    async def scenario(probing: Probing) -> None:
        probing.slow_disk(4, 10.0)
        probed = await probing.probe()
        assert rates(probed.nodes[3])[0] == pytest.approx(AT_ONCE * OBJECT_BYTES / 10 / MB, rel=0.1)
        assert len(probing.kit.nodes[4].objects()) < AT_ONCE + ALONE + TOGETHER

    simulated(scenario)


@pytest.mark.parametrize("request_kind", [Put, Get])
def test_a_node_that_fails_is_told_by_name_and_the_others_are_measured(request_kind: type) -> None:
    async def scenario(probing: Probing) -> None:
        probing.kit.nodes[2].refuse(request_kind, NoSpace("the disk is full"))
        probed = await probing.probe()
        problems = {node.name: node.problem for node in probed.nodes}
        assert "full" in problems.pop("node-2")
        assert set(problems.values()) == {""}
        assert (probed.nodes[1].put is None) == (request_kind is Put)
        assert probed.nodes[1].get is None
        assert probed.out is not None
        assert probed.out / MB == pytest.approx(3 * QUICK_MB, rel=0.2)

    simulated(scenario)


def test_who_does_not_answer_is_told_and_none_at_all_is_an_error() -> None:
    async def scenario(probing: Probing) -> None:
        probing.kit.crash(3)
        probed = await probing.probe()
        assert probed.nodes[2].problem
        assert [node.name for node in probed.nodes if node.put] == ["node-1", "node-2", "node-4"]
        probing.kit.crash(1, 2, 4)
        with pytest.raises(Unreachable):
            await probing.probe()

    simulated(scenario)


def test_nodes_on_this_very_machine_are_known_for_it() -> None:
    async def scenario(probing: Probing) -> None:
        probed = await probing.probe()
        assert probed.only
        assert {node.domain for node in probed.nodes} == {node_id(number) for number in NODES}

    simulated(scenario, machine=f"{1:032x}", one=True)
