"""The coordinator sees its own metrics and those of every node that answers, labelled as a scrape labels them."""

import asyncio
import random

from roost.core.cluster import Member
from roost.core.errors import Unreachable
from roost.core.ids import MachineId, NodeId
from roost.node.sampling import ANSWER_LIMIT_S, cluster_samples, metrics_of
from roost.observe.alerts import Thresholds, all_rules
from roost.observe.samples import Sample
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime


def member(name: str) -> Member:
    return Member(NodeId(name * 32), name, MachineId("0" * 32), 1, (), True, b"")


def test_all_that_answer_are_seen_and_nobody_is_waited_for_long() -> None:
    async def own() -> bytes:
        return b'roost_node_state{peer="a",state="down"} 0.0\nroost_build_info{version="1"} 1.0\n'

    async def of_node(node: NodeId) -> bytes:
        if node.startswith("b"):
            raise Unreachable("it is off")
        if node.startswith("c"):
            await asyncio.sleep(10**6)
        if node.startswith("d"):
            return b"\xff{{{"
        return b"roost_disk_free_bytes 5.0\nroost_objects 9.0\n"

    async def main() -> tuple[list[Sample], float]:
        runtime = SimRuntime(random.Random(1))
        begun = runtime.now()
        look = cluster_samples(runtime, own=own, of_node=of_node, nodes=lambda: [member(name) for name in "abcd"])
        return list(await look()), runtime.now() - begun

    samples, took = run_simulated(main(), seconds_max=1000)
    own_labels = {"peer": "a", "state": "down", "instance": "coordinator", "role": "coordinator"}
    assert samples == [
        Sample("roost_node_state", own_labels, 0.0),
        Sample("roost_disk_free_bytes", {"instance": "a", "role": "node"}, 5.0),
    ]
    assert ANSWER_LIMIT_S <= took < 2 * ANSWER_LIMIT_S


def test_every_rule_says_which_metrics_it_is_about() -> None:
    names = metrics_of(all_rules(Thresholds()))
    assert {"up", "roost_disk_free_bytes", "roost_disk_total_bytes", "roost_integrity_failures_total"} <= names
    assert all(name == "up" or name.startswith("roost_") for name in names)
