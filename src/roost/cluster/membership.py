"""The view of the cluster: a pure fold of the member records, each signed by the node that it describes."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from roost.codec.records import (
    ABOUT_MEMBERS,
    MemberRecord,
    Record,
    Revoked,
    SealedAuthority,
    Standing,
    member_signing_bytes,
)
from roost.core.cluster import Address, Member, View
from roost.core.errors import NotAdmitted
from roost.core.ids import MachineId, NodeId
from roost.security.authority import check_issued, fingerprint
from roost.security.identity import Identity, verify_signature
from roost.security.recovery import check_sealed


def check_member(record: MemberRecord, authority: bytes) -> None:
    """NotAdmitted unless the record's certificate is of this cluster's `authority` (DER), belongs to the node that
    the record names, and signed the record."""
    if check_issued(record.certificate, authority) != record.node_id:
        raise NotAdmitted(f"a member record of {record.node_id[:8]} carries another node's certificate")
    verify_signature(record.certificate, member_signing_bytes(record), record.signature)


def fold(records: Iterable[tuple[bytes, Record]]) -> View:
    """The view that (record id, record) pairs make; records of other kinds do not matter.

    Of each node the member record with the highest (seq, id) counts, among those whose certificate is not revoked; and
    the standing with the highest (seq, id). The order of the records does not matter.
    """
    pairs = list(records)
    revoked = {record.fingerprint for _, record in pairs if isinstance(record, Revoked)}
    members: dict[str, tuple[int, bytes, MemberRecord]] = {}
    standings: dict[str, tuple[int, bytes, Standing]] = {}
    for record_id, record in pairs:
        if isinstance(record, MemberRecord) and fingerprint(record.certificate) not in revoked:
            _take_newer(members, record_id, record)
        elif isinstance(record, Standing):
            _take_newer(standings, record_id, record)
    here: list[Member] = []
    left: list[Member] = []
    for node in sorted(members):
        state = standings[node][2].state if node in standings else "staying"
        (left if state == "left" else here).append(_member(members[node][2], draining=state == "draining"))
    return View(tuple(here), tuple(left))


_Numbered = TypeVar("_Numbered", MemberRecord, Standing)


def _take_newer(known: dict[str, tuple[int, bytes, _Numbered]], record_id: bytes, record: _Numbered) -> None:
    newest = known.get(record.node_id)
    if newest is None or (record.seq, record_id) > newest[:2]:
        known[record.node_id] = (record.seq, record_id, record)


def _member(record: MemberRecord, *, draining: bool) -> Member:
    return Member(
        node_id=NodeId(record.node_id),
        name=record.name,
        machine=MachineId(record.machine),
        capacity=record.capacity,
        addresses=tuple(Address.parse(text) for text in record.addresses),
        storage=record.storage,
        fingerprint=fingerprint(record.certificate),
        draining=draining,
    )


def rounded_capacity(total_bytes: int) -> int:
    """A disk's size rounded down to a power of two (at least 1 GiB), so that the weights of placement rarely move."""
    return 1 << max(30, total_bytes.bit_length() - 1)


class Membership:
    """The records about members seen so far, and the view they make. `changed` is called with each new view."""

    def __init__(self, authority: bytes, *, changed: Callable[[View], None] | None = None) -> None:
        self._authority = authority
        self.changed = changed
        self._records: dict[bytes, Record] = {}
        self._newest: dict[str, tuple[int, bytes, MemberRecord]] = {}
        self._standings: dict[str, tuple[int, bytes, Standing]] = {}
        self._revoked: set[bytes] = set()
        self.view = View(())

    def check(self, record: Record) -> None:
        """What a record set asks before it keeps a record."""
        if isinstance(record, MemberRecord):
            check_member(record, self._authority)
        elif isinstance(record, SealedAuthority):
            check_sealed(record, self._authority)

    def learn(self, record_id: bytes, record: Record) -> None:
        """Take a checked record into the view; only those about members matter here."""
        if not isinstance(record, ABOUT_MEMBERS) or record_id in self._records:
            return
        self._records[record_id] = record
        if isinstance(record, MemberRecord):
            _take_newer(self._newest, record_id, record)
        elif isinstance(record, Standing):
            _take_newer(self._standings, record_id, record)
        elif isinstance(record, Revoked):
            self._revoked.add(record.fingerprint)
        before, self.view = self.view, fold(self._records.items())
        if self.changed is not None and self.view != before:
            self.changed(self.view)

    def newest(self, node_id: NodeId) -> MemberRecord | None:
        """The newest member record of a node."""
        known = self._newest.get(node_id)
        return known[2] if known else None

    def standing(self, node_id: NodeId) -> Standing | None:
        """The newest standing of a node; None while nobody decided anything."""
        known = self._standings.get(node_id)
        return known[2] if known else None

    def is_revoked(self, certificate_fingerprint: bytes) -> bool:
        """Whether a certificate (SHA-256 of its DER) is of no use any more."""
        return certificate_fingerprint in self._revoked

    def refuse_revoked(self, certificate_fingerprint: bytes | None) -> None:
        """NotAdmitted for whoever shows a revoked certificate; None is a stranger's, who has none."""
        if certificate_fingerprint is not None and self.is_revoked(certificate_fingerprint):
            raise NotAdmitted(
                "this machine was struck off the cluster: its certificate is revoked",
                hint="join again with a token, in a new home: roost join TOKEN --home DIR",
            )

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
