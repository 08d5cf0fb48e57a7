"""Room: how much space is missing when the nodes are full, and why no node takes a copy, in words.

The figures are estimates, and honest ones: what is still to be put, at the ratio that was measured, less what the full
nodes said is free above their reserves.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from roost.checkpoints.delivery import Delivery
from roost.core.errors import NoSpace, RoostError, Unreachable
from roost.core.ids import NodeId, ObjectId
from roost.settings.units import readable_size

ANSWER_LIMIT_S = 2.0
GIVEN_NAMES_MAX = 4
NOT_REACHED = "it was not reached"
EMPTIED = "it is being emptied"


@dataclass(frozen=True, slots=True)
class Shortage:
    """`missing` bytes more are needed than the full nodes have, by name, in `free`. 0 when there is room by now."""

    missing: int
    free: Mapping[str, int]

    def __str__(self) -> str:
        words = f"about {readable_size(self.missing)} more are needed" if self.missing else "there was no room"
        has, their = ("has", "its reserve") if len(self.free) == 1 else ("have", "their reserves")
        return f"{words}: {_names(self.free)} {has} {readable_size(sum(self.free.values()))} free above {their}"


async def shortage(delivery: Delivery, sizes: Mapping[ObjectId, int], *, more: int = 0) -> Shortage:
    """What is missing to have as many copies as wanted of the objects in `sizes` (their bytes at rest) and of `more`
    bytes. Who does not tell within 2 s has nothing free."""
    lengths = [(sizes[i], max(0, delivery.wanted - delivery.copies(i))) for i in sizes]
    needed = more + sum(length * copies for length, copies in lengths)
    longest = max((length for length, copies in lengths if copies), default=0)
    full = sorted(delivery.chooser.full)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_free(delivery, node)) for node in full]
    free = {delivery.name(node): task.result() for node, task in zip(full, tasks, strict=True)}
    missing = max(needed - sum(free.values()), longest - max(free.values(), default=0), 0)
    return Shortage(missing, free)


async def _free(delivery: Delivery, node: NodeId) -> int:
    try:
        async with delivery.peers.runtime.timeout(ANSWER_LIMIT_S):
            return (await delivery.peers.store(node).space()).free
    except (TimeoutError, RoostError):
        return 0


async def why_nowhere(
    delivery: Delivery, what: str, sizes: Mapping[ObjectId, int], *, more: int = 0
) -> RoostError:  # fmt: skip
    """The error that ends `what` ("the store") when no node is left that takes a copy; NoSpace tells what is missing
    for the objects in `sizes` and `more` bytes."""
    chooser = delivery.chooser
    others = {m.node_id: NOT_REACHED for m in chooser.view.storage if m.node_id not in chooser.usable}
    others |= {node: why for node, why in chooser.failed.items() if node not in chooser.full}
    others |= {node: EMPTIED for node in chooser.leaving & chooser.usable if node not in chooser.failed}
    if chooser.full:
        short = await shortage(delivery, sizes, more=more)
        away = [delivery.name(node) for node, why in others.items() if why is not EMPTIED]
        back = f", or bring {_names(away)} back" if away else ""
        return NoSpace(
            f"the cluster is full: {short}",
            hint=f"free space on a node, lower node.reserve, add a machine with: roost join{back}",
            bytes_missing=short.missing,
        )
    why = "; ".join(f"{delivery.name(node)}: {text}" for node, text in sorted(others.items()))
    if why:
        return Unreachable(f"no node is left that takes a copy during {what} ({why})", hint="see: roost nodes")
    return Unreachable(
        f"chunks vanished from the nodes during {what}", hint="run it again: what is on the nodes is not sent again"
    )


async def note_shortage(delivery: Delivery, sizes: Mapping[ObjectId, int]) -> None:
    """Note what is missing for all copies, when nodes were full."""
    if delivery.chooser.full:
        short = await shortage(delivery, sizes)
        delivery.progress.note(f"fewer copies than asked because nodes are full: {short}")


def _names(names: Collection[str]) -> str:
    """``pi-1``, ``pi-1 and pi-2``, ``pi-1, pi-2, pi-3, pi-4 and 3 more``."""
    told = sorted(names)
    if len(told) > GIVEN_NAMES_MAX:
        told = [*told[:GIVEN_NAMES_MAX], f"{len(told) - GIVEN_NAMES_MAX} more"]
    return " and ".join(part for part in (", ".join(told[:-1]), *told[-1:]) if part)
