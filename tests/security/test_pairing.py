"""Pairing attacked: what an onlooker recorded and says again, and guesses of the join code, at a real coordinator."""

import json
import select
from pathlib import Path

from e2e.cluster import Cluster, Node
from roost.security.identity import NodeKey
from roost.security.pairing import ATTEMPT_BYTES, Bound, JoinCode, Joiner
from roost.wire.admission import Pair, Prove
from roost.wire.frames import Kind
from security.harm import address_of, expect_unharmed
from security.stranger import Rude, Stranger


def shown(cluster: Cluster) -> JoinCode:
    """The join code that was shown last."""
    assert cluster.coordinator is not None
    program = cluster.coordinator
    program.catch_up()
    told = [line for line in program.lines if line.get("event") == "join-code"]
    return JoinCode.parse((told[-1] if told else program.until("join-code"))["join_code"])


def first_step(rude: Rude, joiner: Joiner) -> tuple[bytes, bytes]:
    """Begin an attempt, asked for again while it is too soon; the other's message, and the attempt."""
    for number in range(1, 30):
        rude.request(Pair(joiner.message), number=number)
        kind, told = rude.answer()
        if kind is Kind.ANSWER:
            return told["message"], told["attempt"]
        assert told["code"] == "busy", told
        select.select([], [], [], 0.5)
    raise AssertionError("it is always too soon")


def bound_of(rude: Rude, member: Stranger, request: bytes) -> Bound:
    """What a proof on this connection is about."""
    assert member.identity is not None
    certificate = rude.stream.getpeercert(binary_form=True)
    assert certificate is not None
    return Bound(member.identity.authority, certificate, request)


def test_a_replayed_pairing_gets_nothing(cluster: Cluster, member: Stranger, node: Node) -> None:
    address, code, key = address_of(cluster.home), shown(cluster), NodeKey.create()
    joiner = Joiner(code)
    with Stranger(None).connected(address) as rude:
        message, attempt = first_step(rude, joiner)
        prove = Prove(attempt, joiner.prove(message, bound_of(rude, member, key.request())), key.request())
    with Stranger(None).connected(address) as rude:
        rude.request(prove)
        kind, told = rude.answer()
        assert (kind, told["type"]) == (Kind.ANSWER, "proved"), "what is replayed was good once"
    with expect_unharmed(cluster.home, node, member):
        for attempt_again in (prove.attempt, bytes(ATTEMPT_BYTES), b""):
            with Stranger(None).connected(address) as rude:
                rude.request(Prove(attempt_again, prove.proof, prove.request))
                kind, told = rude.answer()
                assert (kind, told["code"]) == (Kind.ERROR, "not-admitted")
        assert shown(cluster) == code, "none of these was a guess"


def test_a_wrong_code_is_worth_one_guess(cluster: Cluster, member: Stranger, node: Node, tmp_path: Path) -> None:
    assert cluster.coordinator is not None
    address, code, key = address_of(cluster.home), shown(cluster), NodeKey.create()
    with expect_unharmed(cluster.home, node, member):
        joiner = Joiner(code)
        with Stranger(None).connected(address) as rude:
            message, attempt = first_step(rude, joiner)
            prove = Prove(attempt, joiner.prove(message, bound_of(rude, member, key.request())), key.request())
        words = ["--at", told_at(cluster), "--client"]
        guess = cluster.cli("join", JoinCode.create().format(), *words, home=tmp_path / "guess")
        assert (guess.code, guess.result["code"]) == (7, "not-admitted"), guess
        with Stranger(None).connected(address) as rude:
            rude.request(prove)
            kind, told = rude.answer()
            assert (kind, told["code"]) == (Kind.ERROR, "not-admitted"), "the attempts of before are over too"
        again = cluster.cli("join", code.format(), *words, home=tmp_path / "guess")
        assert again.code == 7, "and so is the code that was right"
    for _ in range(2):  # one after each guess
        cluster.coordinator.until("join-code")
    fresh = shown(cluster)
    honest = cluster.cli("join", fresh.format(), *words, home=tmp_path / "honest")
    assert honest.code == 0, honest


def told_at(cluster: Cluster) -> str:
    return str(json.loads((cluster.home / "run.json").read_text())["address"])
