"""What is seen of others: adverts, how they are written in a packet and in mDNS, and the bounded table of them. Pure.

Whatever is seen is a hint of where to dial, and no more: who is there is told by the certificate alone. So a liar costs
a failed dial, and the bounds of the table.

A packet is ``ROOST``, a byte for its version (1), and a byte for its kind. A question (``?``) goes on with the 32 bytes
of the cluster that is sought, zeros for any, and zeros up to 512 bytes, so that no answer is longer than what it
answers; an advert (``!``) with msgpack, ``[cluster, node, name, port, admits, label]``.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias

import msgspec

from roost.core.cluster import Address
from roost.core.ids import NodeId

MAGIC = b"ROOST\x01"
QUESTION = b"?"
ADVERT = b"!"
QUESTION_BYTES = 512
ANY_CLUSTER = bytes(32)
NODES_MAX = 2048
ADDRESSES_MAX = 8
FRESH_S = 3600.0


class Way(enum.StrEnum):
    """How somebody was seen."""

    REMEMBERED = "remembered"
    STATIC = "static"
    MDNS = "mdns"
    BROADCAST = "broadcast"


@dataclass(frozen=True, slots=True)
class Advert:
    """What a process that serves tells all who can hear it. `cluster` is the SHA-256 of the authority's certificate,
    `name` the cluster's and `label` the node's name for people; `admits`: a machine can join there."""

    cluster: bytes
    node: NodeId
    name: str
    port: int
    admits: bool
    label: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """An advert, and where it leads."""

    advert: Advert
    addresses: tuple[Address, ...]
    way: Way


_Digest: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
_Wire: TypeAlias = tuple[
    _Digest,
    Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")],
    Annotated[str, msgspec.Meta(min_length=1, max_length=63)],
    Annotated[int, msgspec.Meta(ge=1, le=65535)],
    bool,
    Annotated[str, msgspec.Meta(min_length=1, max_length=64)],
]


def _checked(fields: object) -> Advert | None:
    try:
        cluster, node, name, port, admits, label = msgspec.convert(fields, _Wire)
    except (msgspec.ValidationError, ValueError):
        return None
    if not name.isprintable() or not label.isprintable():
        return None
    return Advert(cluster, NodeId(node), name, port, admits, label)


def pack_advert(advert: Advert) -> bytes:
    """The packet that tells it."""
    fields = (advert.cluster, advert.node, advert.name, advert.port, advert.admits, advert.label)
    return MAGIC + ADVERT + msgspec.msgpack.encode(fields)


def pack_question(cluster: bytes | None) -> bytes:
    """The packet that asks who is there, of one cluster or (None) of any."""
    return (MAGIC + QUESTION + (cluster or b"")).ljust(QUESTION_BYTES, b"\0")


def read_advert(packet: bytes) -> Advert | None:
    """The advert in a packet; None for anything else."""
    if not packet.startswith(MAGIC + ADVERT):
        return None
    try:
        return _checked(msgspec.msgpack.decode(packet[len(MAGIC) + 1 :]))
    except (ValueError, RecursionError):
        return None


def read_question(packet: bytes) -> bytes | None:
    """The cluster (32 bytes, zeros for any) that a packet asks for; None for anything else."""
    if len(packet) != QUESTION_BYTES or not packet.startswith(MAGIC + QUESTION):
        return None
    begin = len(MAGIC) + len(QUESTION)
    return packet[begin : begin + len(ANY_CLUSTER)]


def to_text(advert: Advert) -> dict[str, str]:
    """An advert as the attributes of an mDNS service, whose instance is the node's id and whose port is the port."""
    return {
        "v": "1", "cluster": advert.cluster.hex(), "name": advert.name, "label": advert.label,
        "admits": "1" if advert.admits else "0",
    }  # fmt: skip


def from_text(instance: str, port: int, attributes: Mapping[str, str]) -> Advert | None:
    """The advert in the attributes of an mDNS service; None when it is none of ours."""
    try:
        cluster = bytes.fromhex(attributes.get("cluster", ""))
    except ValueError:
        return None
    if attributes.get("v") != "1":
        return None
    name, label = attributes.get("name", ""), attributes.get("label", "")
    return _checked((cluster, instance, name, port, attributes.get("admits") == "1", label))


@dataclass(slots=True)
class _Seen:
    advert: Advert
    addresses: dict[Address, tuple[float, frozenset[Way]]] = field(default_factory=dict)
    """When each was seen last, and by which ways."""


class Sightings:
    """The table: of at most 2,048 nodes, 8 addresses each, those seen last. Of one `cluster`, unless it is None."""

    def __init__(self, *, cluster: bytes | None) -> None:
        self._cluster = cluster
        self._seen: dict[tuple[bytes, NodeId], _Seen] = {}

    def note(self, sighting: Sighting, *, now: float) -> bool:
        """Take a sighting in; whether it leads somewhere that was not known."""
        advert = sighting.advert
        if self._cluster is not None and advert.cluster != self._cluster:
            return False
        key = (advert.cluster, advert.node)
        seen = self._seen.pop(key, None) or _Seen(advert)
        self._seen[key] = seen
        seen.advert = advert
        new = False
        for address in sighting.addresses:
            _, ways = seen.addresses.pop(address, (0.0, frozenset[Way]()))
            new = new or not ways
            seen.addresses[address] = (now, ways | {sighting.way})
        for oldest in list(seen.addresses)[: max(0, len(seen.addresses) - ADDRESSES_MAX)]:
            del seen.addresses[oldest]
        while len(self._seen) > NODES_MAX:
            del self._seen[next(iter(self._seen))]
        return new

    def addresses(self, node: NodeId, *, now: float) -> list[Address]:
        """Where a node of the one cluster was seen in the last hour, the newest first."""
        seen = self._seen.get((self._cluster or b"", node))
        if seen is None:
            return []
        return [address for address, (at, _) in reversed(seen.addresses.items()) if now - at < FRESH_S]

    def all(self) -> list[tuple[Advert, dict[Address, frozenset[Way]]]]:
        """Everybody seen, by cluster and node, with the ways by which each address was."""
        found = [(seen.advert, {a: ways for a, (_, ways) in seen.addresses.items()}) for seen in self._seen.values()]
        return sorted(found, key=lambda one: (one[0].name, one[0].cluster, one[0].label, one[0].node))


def clusters(sighted: Iterable[tuple[Advert, Mapping[Address, frozenset[Way]]]]) -> dict[bytes, list[Advert]]:
    """The adverts by cluster, those that admit first."""
    found: dict[bytes, list[Advert]] = {}
    for advert, _ in sighted:
        found.setdefault(advert.cluster, []).append(advert)
    for adverts in found.values():
        adverts.sort(key=lambda advert: (not advert.admits, advert.label, advert.node))
    return found
