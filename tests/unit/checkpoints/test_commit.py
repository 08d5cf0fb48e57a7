"""The commit: a manifest is written only where all that is counted lies, and the votes say what each node answered."""

import asyncio

import pytest

from checkpoint_kits import KIB, Kit, KitNode, noise, simulate
from record_specimens import TOMBSTONE, manifest
from record_specimens import file as file_entry
from roost.checkpoints.commit import Votes, ask_commit, commit_handler
from roost.chunks import disk
from roost.codec.manifest import Chunk, Manifest
from roost.codec.records import encode_record, record_id
from roost.core.errors import Damaged, Leaving, NoSpace, ProtocolError, RoostError, Stalled, Unreachable
from roost.core.ids import NodeId, ObjectId, object_id
from roost.net.body import Body
from roost.net.server import Call, Reply
from roost.wire.fields import pack_bits
from roost.wire.messages import Commit, Committed, Ping

PIECES = [noise(KIB, seed) for seed in range(3)]
IDS = [object_id(piece) for piece in PIECES]


def small() -> Manifest:
    """A manifest of three raw chunks, one of them twice."""
    chunks = [Chunk(i, i, KIB, KIB, 0) for i in (*IDS, IDS[0])]
    return manifest([file_entry("x", 4 * KIB)], chunks)


DATA = encode_record(small())


async def put(node: KitNode, *numbers: int) -> None:
    for number in numbers:
        await node.store.put(IDS[number], Body.of(PIECES[number]))


async def commit(kit: Kit, node: KitNode, data: bytes, bits: bytes) -> Committed:
    answer = await kit.links.call(node.node_id, Commit(len(data), bits), body=Body.of(data), bulk=True)
    assert isinstance(answer, Committed)
    return answer


def test_a_manifest_is_written_where_all_that_is_counted_lies_and_repeating_is_harmless() -> None:
    async def scenario(kit: Kit) -> None:
        node = kit.nodes[1]
        await put(node, 0, 1, 2)
        for _ in range(2):
            assert (await commit(kit, node, DATA, pack_bits([True] * 3))).missing == b""
            assert node.records_of("manifest") == {record_id(DATA).hex()}
        assert all(node.store.reserved(i) for i in IDS)

    simulate(scenario, nodes=1)


def test_a_missing_object_is_named_and_nothing_is_written() -> None:
    async def scenario(kit: Kit) -> None:
        node = kit.nodes[1]
        await put(node, 0, 2)
        assert (await commit(kit, node, DATA, pack_bits([True] * 3))).missing == IDS[1]
        assert node.records_of("manifest") == set()
        node.disk.unlink(f"chunks/{IDS[0].hex()[:2]}/{IDS[0].hex()}")  # behind the store's back
        assert (await commit(kit, node, DATA, pack_bits([True, False, True]))).missing == IDS[0]
        assert node.records_of("manifest") == set()
        assert (await commit(kit, node, DATA, pack_bits([False, False, True]))).missing == b""
        assert node.records_of("manifest") == {record_id(DATA).hex()}

    simulate(scenario, nodes=1)


def test_a_node_may_hold_the_manifest_and_nothing_else() -> None:
    async def scenario(kit: Kit) -> None:
        assert (await commit(kit, kit.nodes[1], DATA, pack_bits([False] * 3))).missing == b""
        assert kit.nodes[1].records_of("manifest") == {record_id(DATA).hex()}

    simulate(scenario, nodes=1)


@pytest.mark.parametrize(
    ("data", "bits", "error"),
    [
        (DATA, pack_bits([True] * 9), ProtocolError),
        (DATA, b"", ProtocolError),
        (DATA[:-1], pack_bits([True] * 3), Damaged),
        (b"no record", b"", Damaged),
        (encode_record(TOMBSTONE), b"", ProtocolError),
    ],
)
def test_what_is_no_manifest_or_does_not_fit_it_is_refused(data: bytes, bits: bytes, error: type[RoostError]) -> None:
    async def scenario(kit: Kit) -> None:
        node = kit.nodes[1]
        await put(node, 0, 1, 2)
        with pytest.raises(RoostError) as caught:
            await commit(kit, node, data, bits)
        assert caught.value.code in (error.code, Unreachable.code), "the link is broken after a protocol error"
        assert len(node.records) == 0
        await kit.links.call(node.node_id, Ping())
        assert (await commit(kit, node, DATA, pack_bits([True] * 3))).missing == b""

    simulate(scenario, nodes=1)


@pytest.mark.parametrize("when", ["before", "while it writes"])
def test_a_node_that_is_leaving_commits_to_nothing(when: str) -> None:
    async def scenario(kit: Kit) -> None:
        node = kit.nodes[1]
        await put(node, 0, 1, 2)
        node.handlers[Commit] = commit_handler(
            kit.runtime, node.store, node.records, changed=lambda: None,
            leaving=lambda: when == "before" or record_id(DATA) in node.records,
        )  # fmt: skip
        for counted in (True, False):
            with pytest.raises(Leaving):
                await commit(kit, node, DATA, pack_bits([counted] * 3))
        assert node.records_of("manifest") == (set() if when == "before" else {record_id(DATA).hex()})

    simulate(scenario, nodes=1)


def test_a_disk_that_does_not_take_the_manifest_is_a_no() -> None:
    async def scenario(kit: Kit) -> None:
        node = kit.nodes[1]
        await put(node, 0, 1, 2)
        node.disk.bytes_max = 3 * KIB + 40
        with pytest.raises(NoSpace):
            await commit(kit, node, DATA, pack_bits([True] * 3))
        assert len(node.records) == 0
        assert node.records_of("manifest") == set()

    simulate(scenario, nodes=1)


def test_the_guard_is_held_while_the_commit_looks_and_writes() -> None:
    async def scenario(kit: Kit) -> None:
        node = kit.nodes[1]
        await put(node, 0, 1, 2)
        async with node.store.guard():
            committing = asyncio.create_task(commit(kit, node, DATA, pack_bits([True] * 3)))
            await asyncio.sleep(2)
            assert node.records_of("manifest") == set()
            assert not committing.done()
        assert (await committing).missing == b""

        holding: list[bool] = []
        add = node.records.add

        async def watched(data: bytes) -> bool:
            holding.append(node.store.guard().locked())
            return await add(data)

        node.records.add = watched  # type: ignore[method-assign]
        other = encode_record(manifest([file_entry("y", KIB)], [Chunk(IDS[0], IDS[0], KIB, KIB, 0)]))
        assert (await commit(kit, node, other, pack_bits([True]))).missing == b""
        assert holding == [True]

    simulate(scenario, nodes=1)


def test_the_votes_tell_who_has_all_who_lacks_what_and_who_cannot_be_asked() -> None:
    async def scenario(kit: Kit) -> None:
        await put(kit.nodes[1], 0, 1, 2)
        await put(kit.nodes[2], 0)
        kit.crash(3)
        counted: dict[NodeId, frozenset[ObjectId]] = {
            kit.nodes[1].node_id: frozenset(IDS),
            kit.nodes[2].node_id: frozenset(IDS[:2]),
            kit.nodes[3].node_id: frozenset(IDS),
            kit.nodes[4].node_id: frozenset(),
        }
        votes = await ask_commit(kit.peers, DATA, IDS, counted)
        assert votes.yes == {kit.nodes[1].node_id, kit.nodes[4].node_id}
        assert votes.missing == {kit.nodes[2].node_id: {IDS[1]}}
        assert set(votes.problems) == {kit.nodes[3].node_id}
        assert isinstance(votes.problems[kit.nodes[3].node_id], Unreachable)
        assert kit.nodes[2].records_of("manifest") == set()

    simulate(scenario)


@pytest.mark.parametrize("answer", [Committed(b"x" * 32), None])
def test_a_nonsense_answer_is_a_problem(answer: Committed | None) -> None:
    async def scenario(kit: Kit) -> None:
        async def nonsense(call: Call) -> Reply:
            return Reply(answer) if answer else await kit.nodes[1].handlers[Ping](call)

        kit.nodes[1].handlers[Commit] = nonsense
        votes = await ask_commit(kit.peers, DATA, IDS, {kit.nodes[1].node_id: frozenset(IDS)})
        assert not votes.yes
        assert list(votes.problems) == [kit.nodes[1].node_id]
        assert not votes.missing

    simulate(scenario, nodes=1)


def test_a_frozen_node_is_a_problem_within_its_limit() -> None:
    async def scenario(kit: Kit) -> None:
        kit.world.freeze(kit.nodes[2].host)
        begun = kit.runtime.now()
        votes: Votes = await ask_commit(
            kit.peers, DATA, IDS, {kit.nodes[n].node_id: frozenset[ObjectId]() for n in (1, 2)}
        )
        assert votes.yes == {kit.nodes[1].node_id}
        assert isinstance(votes.problems[kit.nodes[2].node_id], Stalled)
        assert kit.runtime.now() - begun < 6

    simulate(scenario, nodes=2)


def test_a_check_that_takes_minutes_says_that_it_moves_also_to_who_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each file of a cold disk takes its time, and a client waits 30 s for a node that does not get on."""
    monkeypatch.setattr(disk, "_LOOKED_AT_A_TIME", 1)

    async def scenario(kit: Kit) -> None:
        node = kit.nodes[1]
        await put(node, 0, 1, 2)
        kit.runtime.on_thread = lambda work: 12.0 if getattr(work, "__name__", "") == "_look" else 0.0
        answers = await asyncio.gather(*(commit(kit, node, DATA, pack_bits([True] * 3)) for _ in range(3)))
        assert [answer.missing for answer in answers] == [b""] * 3

    simulate(scenario, nodes=1)
