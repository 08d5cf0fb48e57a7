"""Redundancy, health, runs and steps, addresses and views."""

import pytest

from roost.core.checkpoint import Health, Redundancy, health_of, run_of, step_of
from roost.core.cluster import Address, Member, View
from roost.core.errors import BY_CODE, RoostError, UsageError
from roost.core.ids import CheckpointName, MachineId, NodeId


def test_copies_and_the_losses_they_survive() -> None:
    assert [(r.copies, r.losses, str(r)) for r in map(Redundancy.parse, ("2", "3"))] == [(2, 1, "2"), (3, 2, "3")]


@pytest.mark.parametrize(
    ("text", "why"), [("2+1", "not built yet"), ("1", "not known"), ("4", "not known"), ("x", "not")]
)
def test_other_redundancies_are_refused_with_what_to_use(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        Redundancy.parse(text)
    assert '"2"' in caught.value.hint


@pytest.mark.parametrize(
    ("copies", "redundancy", "health"),
    [
        (2, "2", Health.HEALTHY),
        (5, "2", Health.HEALTHY),
        (1, "2", Health.AT_RISK),
        (0, "2", Health.LOST),
        (2, "3", Health.DEGRADED),
        (1, "3", Health.AT_RISK),
    ],
)
def test_health_follows_from_the_copies(copies: int, redundancy: str, health: Health) -> None:
    assert health_of(copies, Redundancy.parse(redundancy)) is health


def test_runs_and_steps() -> None:
    assert run_of(CheckpointName("a/b/step-10")) == "a/b"
    assert run_of(CheckpointName("step-10")) == ""
    assert step_of(CheckpointName("a/epoch-3-step-1000")) == 1000
    assert step_of(CheckpointName("a7/final")) is None


@pytest.mark.parametrize("text", ["127.0.0.1:7400", "[::1]:7400", "pi.local:1"])
def test_addresses_are_read_and_written(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize("text", ["", "7400", "host:", ":7400", "host:65536", "host:-1", "host:७", "host:x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Address.parse(text)


def test_loopback_is_told_from_the_rest() -> None:
    assert Address("127.3.4.5", 1).is_loopback
    assert Address("::1", 1).is_loopback
    assert Address("localhost", 1).is_loopback
    assert not Address("192.168.1.4", 1).is_loopback


def member(number: int, machine: int, *, storage: bool = True) -> Member:
    return Member(NodeId(f"{number:032x}"), f"n{number}", MachineId(f"{machine:032x}"), 1, (), storage, b"")


def test_copies_are_counted_by_machine_unless_there_is_only_one() -> None:
    several = View((member(1, 1), member(2, 1), member(3, 2)))
    assert several.domain_of(NodeId(f"{1:032x}")) == several.domain_of(NodeId(f"{2:032x}"))
    assert not several.single_machine
    single = View((member(1, 1), member(2, 1), member(3, 9, storage=False)))
    assert single.single_machine
    assert single.domain_of(NodeId(f"{1:032x}")) != single.domain_of(NodeId(f"{2:032x}"))


def test_every_error_has_a_code_of_its_own_and_comes_back_by_it() -> None:
    assert all(kind.code == code for code, kind in BY_CODE.items())
    assert {kind.exit_code for kind in BY_CODE.values()} >= {1, 2, 4, 5, 6, 7, 8, 9}
    assert RoostError("what", hint="next").hint == "next"
