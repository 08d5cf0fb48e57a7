"""The view of the cluster: a pure fold of the member records, each signed by the node that it describes."""

from collections.abc import Callable, Iterable

from roost.codec.records import MemberRecord, Record, member_signing_bytes
from roost.core.cluster import Address, Member, View
from roost.core.errors import NotAdmitted
from roost.core.ids import MachineId, NodeId
from roost.security.authority import check_issued, fingerprint
from roost.security.identity import Identity, verify_signature


def check_member(record: MemberRecord, authority: bytes) -> None:
    """NotAdmitted unless the record's certificate is of this cluster's `authority` (DER), belongs to the node that
    the record names, and signed the record."""
    if check_issued(record.certificate, authority) != record.node_id:
        raise NotAdmitted(f"a member record of {record.node_id[:8]} carries another node's certificate")
    verify_signature(record.certificate, member_signing_bytes(record), record.signature)


def fold(records: Iterable[tuple[bytes, MemberRecord]]) -> View:
    """The view that (record id, member record) pairs make: of each node the record with the highest (seq, id).

    The order of the records does not matter, and a record more only ever replaces one of the same node.
    """
    newest: dict[str, tuple[int, bytes, MemberRecord]] = {}
    for record_id, record in records:
        known = newest.get(record.node_id)
        if known is None or (record.seq, record_id) > known[:2]:
            newest[record.node_id] = (record.seq, record_id, record)
    return View(tuple(_member(newest[node][2]) for node in sorted(newest)))


def _member(record: MemberRecord) -> Member:
    return Member(
        node_id=NodeId(record.node_id),
        name=record.name,
        machine=MachineId(record.machine),
        capacity=record.capacity,
        addresses=tuple(Address.parse(text) for text in record.addresses),
        storage=record.storage,
        fingerprint=fingerprint(record.certificate),
    )


def rounded_capacity(total_bytes: int) -> int:
    """A disk's size rounded down to a power of two (at least 1 GiB), so that the weights of placement rarely move."""
    return 1 << max(30, total_bytes.bit_length() - 1)


class Membership:
    """The member records seen so far and the view they make. `changed` is called with each new view."""

    def __init__(self, authority: bytes, *, changed: Callable[[View], None] | None = None) -> None:
        self._authority = authority
        self.changed = changed
        self._records: dict[str, tuple[bytes, MemberRecord]] = {}
        self.view = View(())

    def check(self, record: Record) -> None:
        """What a record set asks before it keeps a record."""
        if isinstance(record, MemberRecord):
            check_member(record, self._authority)

    def learn(self, record_id: bytes, record: Record) -> None:
        """Take a checked record into the view; only member records matter here."""
        if not isinstance(record, MemberRecord):
            return
        known = self._records.get(record.node_id)
        if known is not None and (known[1].seq, known[0]) >= (record.seq, record_id):
            return
        self._records[record.node_id] = (record_id, record)
        self.view = fold(self._records.values())
        if self.changed is not None:
            self.changed(self.view)

    def newest(self, node_id: NodeId) -> MemberRecord | None:
        """The newest member record of a node."""
        known = self._records.get(node_id)
        return known[1] if known else None

    def addresses(self, node_id: NodeId) -> tuple[Address, ...]:
        """Where a member said that it listens."""
        member = self.view.member(node_id)
        return member.addresses if member else ()


def describe_self(
    identity: Identity, known: MemberRecord | None, *, name: str, machine: MachineId, capacity: int,
    addresses: Iterable[Address], storage: bool,
) -> MemberRecord:  # fmt: skip
    """Our own member record: `known` again when nothing changed, else a new one with the next seq, signed."""
    fresh = MemberRecord(
        node_id=identity.node_id,
        seq=known.seq + 1 if known else 1,
        name=name,
        machine=machine,
        capacity=capacity,
        addresses=[str(address) for address in sorted(set(addresses))],
        storage=storage,
        certificate=identity.certificate,
        signature=b"",
    )
    if known is not None and _same(known, fresh):
        return known
    return fresh.signed(identity.sign(member_signing_bytes(fresh)))


def _same(known: MemberRecord, fresh: MemberRecord) -> bool:
    def facts(record: MemberRecord) -> tuple[object, ...]:
        return (
            record.name, record.machine, record.capacity, record.addresses, record.storage, record.certificate,
        )  # fmt: skip

    return facts(known) == facts(fresh)
