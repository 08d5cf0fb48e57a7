"""The bottleneck in words: what holds stores up, and how much faster they would be without it. Pure.

The model of a store: the sender encodes and sends each object once, and every node takes its share of the copies, at
the rate that it was measured at; the slowest of these is how long the store takes. Where objects go is placement's
affair (a machine's part of all capacity), so a slow node holds up the whole cluster. Two things it leaves out: a store
soon gives less to a node that it finds slow, and passing a copy on takes some of the holder's own rate.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from roost.core.ids import NodeId

MB = 1e6
DISK_RATIO = 0.6
"""A node that is put to slower than this part of what it gives has a slow disk: what it gives comes from its memory."""
SHARED_RATIO = 0.8
"""Nodes that together reach less than this part of what each reaches alone share something: our own way out."""
PROCESSOR_RATIO = 0.7
"""Who sends at this part of what its processor can encrypt is held up by that, not by a cable."""
STANDS_OUT = 1.25
"""Names a bottleneck when stores would be this many times as fast without it."""


@dataclass(frozen=True, slots=True)
class NodeSpeed:
    """One node as it was probed: bytes a second to its disk and back from it, None where that failed, and then why.
    `domain` is what it shares with other nodes (its machine); `capacity` is its weight in placement."""

    node_id: NodeId
    name: str
    domain: str
    capacity: int
    put: float | None
    get: float | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Sender:
    """This machine: bytes a second to all nodes at once, the bytes at rest a second that its processor can make,
    `ratio` of them for each plain byte, and those it can encrypt. `only` says that all nodes are on it too."""

    out: float | None
    makes: float
    ratio: float
    seals: float
    only: bool


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What stands out: a node's `disk` or the `way` to it, or, without a node, our own `way out` or `processor`.
    `without` is how many times as fast a store would be."""

    node: str | None
    what: str
    mb_per_s: float
    without: float
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The bottleneck, None when none stands out, and the sentence about it in any case."""

    bottleneck: Bottleneck | None
    text: str


def shares(nodes: Sequence[NodeSpeed], copies: int) -> dict[NodeId, float]:
    """Which part of all objects each node keeps: copies go to distinct machines in proportion to their capacity, at
    most one to each, and within a machine in proportion too."""
    weights: dict[str, int] = {}
    for node in nodes:
        weights[node.domain] = weights.get(node.domain, 0) + max(node.capacity, 1)
    parts = _one_at_most(weights, copies)
    return {node.node_id: parts[node.domain] * max(node.capacity, 1) / weights[node.domain] for node in nodes}


def _one_at_most(weights: Mapping[str, int], copies: int) -> dict[str, float]:
    """`copies` shared out by weight, but none gets more than 1 while others could have it."""
    parts: dict[str, float] = {}
    rest = dict(weights)
    while rest:
        left, total = copies - len(parts), sum(rest.values())
        full = [name for name, weight in rest.items() if left * weight >= total]
        if not full:
            return parts | {name: left * weight / total for name, weight in rest.items()}
        for name in full:
            parts[name] = 1.0
            del rest[name]
    return parts


def find(nodes: Sequence[NodeSpeed], sender: Sender, *, copies: int) -> Verdict:
    """What holds up a store of so many copies, of what was measured."""
    usable = [node for node in nodes if node.put]
    if not usable:
        return Verdict(None, "no node could be measured, so there is nothing to compare")
    own = _own_seconds(usable, sender)
    took = _node_seconds(usable, copies)
    slowest = max(usable, key=lambda node: took[node.node_id])
    node_s, own_s = took[slowest.node_id], max(own.values())
    if node_s >= own_s:
        found = _node_bottleneck(usable, slowest, node_s, own_s, copies)
    else:
        found = _own_bottleneck(own, node_s, sender)
    if found is None or found.without < STANDS_OUT:
        return Verdict(None, _nothing(usable, sender))
    return Verdict(found, found.text)


def _node_seconds(nodes: Sequence[NodeSpeed], copies: int) -> dict[NodeId, float]:
    """How long each node takes for its share of a byte at rest."""
    parts = shares(nodes, copies)
    return {node.node_id: parts[node.node_id] / node.put for node in nodes if node.put}


def _own_seconds(nodes: Sequence[NodeSpeed], sender: Sender) -> dict[str, float]:
    """How long this machine takes for a byte at rest, by what it needs for that. Its way out counts only when all nodes
    together show that they share it."""
    seconds = {"processor": 1 / sender.makes}
    alone = sum(node.put for node in nodes if node.put)
    if len(nodes) > 1 and sender.out and sender.out < SHARED_RATIO * alone:
        seconds["way out"] = 1 / sender.out
    return seconds


def _node_bottleneck(
    nodes: Sequence[NodeSpeed], slowest: NodeSpeed, node_s: float, own_s: float, copies: int
) -> Bottleneck | None:
    others = [node for node in nodes if node is not slowest]
    if not others or not slowest.put:
        return None
    enough = len(_domains(others)) >= copies
    rest = _node_seconds(others, copies) if enough else _without(_node_seconds(nodes, copies), slowest)
    faster = node_s / max(own_s, *rest.values())
    rate = slowest.put / MB
    disk = slowest.get is not None and slowest.put < DISK_RATIO * slowest.get
    what = f"{slowest.name}'s disk writes" if disk else f"the way to {slowest.name} carries"
    # With as few machines as copies nobody can take its place, so it can only become faster.
    change = "without it" if enough else "were it no slower than the rest,"
    text = f"{what} {_number(rate)} MB/s; {change} stores would be {_number(faster)} x faster"
    return Bottleneck(slowest.name, "disk" if disk else "way", rate, faster, text)


def _own_bottleneck(own: Mapping[str, float], node_s: float, sender: Sender) -> Bottleneck | None:
    what = max(own, key=lambda name: own[name])
    other_s = max(node_s, *(seconds for name, seconds in own.items() if name != what), 0.0)
    faster = own[what] / other_s
    rate = 1 / own[what]
    gain = f"stores would be {_number(faster)} x faster"
    if what == "way out" and sender.only:
        return None
    if what == "way out" and rate < PROCESSOR_RATIO * sender.seals:
        text = f"this machine's own way out carries {_number(rate / MB)} MB/s: a faster cable here is what would help"
        return Bottleneck(None, "way out", rate / MB, faster, f"{text}, {gain}")
    if what == "way out":
        text = f"this machine's processor: it encrypts and sends {_number(rate / MB)} MB/s; with a faster one {gain}"
        return Bottleneck(None, "processor", rate / MB, faster, text)
    plain = rate / sender.ratio
    text = f"this machine's processor: it encodes and hashes {_number(plain / MB)} MB/s; with a faster one {gain}"
    return Bottleneck(None, "processor", plain / MB, faster, text)


def _without(seconds: Mapping[NodeId, float], node: NodeSpeed) -> dict[NodeId, float]:
    return {other: each for other, each in seconds.items() if other != node.node_id}


def _domains(nodes: Collection[NodeSpeed]) -> set[str]:
    return {node.domain for node in nodes}


def _nothing(nodes: Sequence[NodeSpeed], sender: Sender) -> str:
    if sender.only:
        return "all nodes are on this machine and share its processor and its disk: none of them stands out"
    rates = sorted(node.put / MB for node in nodes if node.put)
    span = _number(rates[0]) if len(rates) == 1 else f"{_number(rates[0])} to {_number(rates[-1])}"
    return f"no single node stands out: they take {span} MB/s each"


def _number(value: float) -> str:
    """``9.4``, ``12``, ``250``: two digits, or all before the point."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
