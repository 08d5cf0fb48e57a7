"""The metrics of a whole cluster as its coordinator sees them: its own, and those of each node that answers."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

from roost.core.cluster import Member
from roost.core.errors import RoostError
from roost.core.ids import NodeId
from roost.core.runtime import Runtime
from roost.node.alerting import Look
from roost.observe.alerts import Rule, Thresholds, all_rules
from roost.observe.samples import Sample, parse_samples

ANSWER_LIMIT_S = 10.0
AT_ONCE = 16
COORDINATOR = "coordinator"


def metrics_of(rules: Sequence[Rule]) -> frozenset[str]:
    """The metrics that the rules are about."""
    return frozenset(name for rule in rules for compare in rule.compared for name in compare.metrics)


def cluster_samples(
    runtime: Runtime, *, own: Callable[[], Awaitable[bytes]], of_node: Callable[[NodeId], Awaitable[bytes]],
    nodes: Callable[[], Collection[Member]],
) -> Look:  # fmt: skip
    """Looks at the coordinator's `own` metrics and, `of_node` by node, at those of `nodes`, all in the text format of
    Prometheus; takes those that rules are about. A node that does not answer in time is left out, as it is from a
    scrape; those known to be down are best not among `nodes`."""
    only = metrics_of(all_rules(Thresholds()))

    async def one(member: Member, turn: asyncio.Semaphore) -> list[Sample]:
        try:
            async with turn, runtime.timeout(ANSWER_LIMIT_S):
                text = await of_node(member.node_id)
        except (RoostError, TimeoutError):
            return []
        return await parsed(text, member.name, "node")

    async def parsed(text: bytes, instance: str, role: str) -> list[Sample]:
        try:
            return await runtime.in_thread(lambda: parse_samples(text.decode(), only, instance=instance, role=role))
        except ValueError:  # another release's: what cannot be read is not there
            return []

    async def look() -> Sequence[Sample]:
        turn = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(one(member, turn)) for member in nodes()]
        found = await parsed(await own(), COORDINATOR, COORDINATOR)
        return [*found, *(sample for task in asked for sample in task.result())]

    return look
