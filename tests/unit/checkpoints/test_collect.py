"""The decisions of collection, each rule of protocol 2 by itself: what goes, what waits, and in which words."""

import random
from dataclasses import replace

import pytest

from checkpoint_kits import member, node_id
from roost.checkpoints.collect import (
    Blockers,
    Periods,
    Plan,
    Pressure,
    Removal,
    Surplus,
    Unneeded,
    Waiting,
    belongs_to,
    in_words,
    plan,
    why_it_stays,
    why_it_waits,
    why_surplus_stays,
)
from roost.checkpoints.placement import line
from roost.core.cluster import View
from roost.core.ids import ObjectId, object_id

HOUR, DAY = 3600.0, 86_400.0
PERIODS = Periods()
UP_S = 3 * HOUR
ONE = object_id(b"one")
OLD = Removal.of(age_s=8 * DAY, keep_s=7 * DAY)
YOUNG = Removal.of(age_s=6 * DAY, keep_s=7 * DAY)
NOW = Removal.of(age_s=0, keep_s=0)
LEFTOVER = Unneeded(ONE, 1000, None, 25 * HOUR, reserved=False)


def waits(one: Unneeded, *, up_s: float = UP_S) -> str:
    return why_it_waits(one, up_s=up_s, periods=PERIODS)


# Rule 2: what nothing needs


@pytest.mark.parametrize("removal", [None, OLD])
def test_what_nothing_needs_goes_after_a_day_untouched_on_a_node_that_is_up(removal: Removal | None) -> None:
    assert waits(replace(LEFTOVER, removal=removal)) == ""
    assert "not for 1d" in waits(replace(LEFTOVER, removal=removal, untouched_s=23 * HOUR))
    assert "up for less than 2h" in waits(replace(LEFTOVER, removal=removal), up_s=HOUR)


def test_what_can_be_brought_back_stays_however_long_nobody_touched_it() -> None:
    assert waits(replace(LEFTOVER, removal=YOUNG, untouched_s=400 * DAY)) == "removed less than 7d ago"


def test_what_was_removed_to_go_now_waits_neither_a_day_nor_for_the_node() -> None:
    assert waits(replace(LEFTOVER, removal=NOW, untouched_s=0), up_s=1) == ""


@pytest.mark.parametrize("removal", [None, OLD, NOW])
def test_what_is_reserved_stays(removal: Removal | None) -> None:
    assert "a store may count on them" in waits(replace(LEFTOVER, removal=removal, reserved=True))


def test_of_several_tombstones_of_one_version_the_first_end_counts() -> None:
    assert min(YOUNG, NOW) == NOW
    assert min(YOUNG, OLD).left_s == 0
    assert not min(OLD, YOUNG).at_once
    assert min(Removal.of(age_s=DAY, keep_s=30 * DAY), YOUNG) == YOUNG


def test_of_several_removed_versions_that_name_an_object_the_last_end_counts() -> None:
    assert max(NOW, YOUNG) == YOUNG
    assert max(NOW, OLD) == OLD
    assert not max(NOW, OLD).at_once
    assert max(NOW, NOW).at_once


def test_a_plan_counts_what_goes_and_what_waits_by_reason() -> None:
    found = [
        LEFTOVER,
        replace(LEFTOVER, object_id=object_id(b"2"), removal=NOW, untouched_s=0, bytes=24),
        *(replace(LEFTOVER, object_id=object_id(b"y%d" % i), removal=YOUNG, bytes=1 << 20) for i in range(14)),
        replace(LEFTOVER, object_id=object_id(b"r"), reserved=True),
    ]
    decided = plan(found, up_s=UP_S, periods=PERIODS)
    assert (decided.go, decided.bytes) == ((ONE, object_id(b"2")), 1024)
    assert [str(waiting) for waiting in decided.waiting] == [
        "14 chunks (14.0 MiB) wait: removed less than 7d ago",
        "1 chunk (0.98 KiB) waits: put or asked for less than 1h ago: a store may count on them",
    ]


def test_nothing_goes_while_blocked() -> None:
    decided = plan([LEFTOVER], up_s=UP_S, periods=PERIODS, blocked="pi-3 is away")
    assert (decided.go, decided.bytes, decided.blocked) == ((), 0, "pi-3 is away")


# Rule 3: what blocks everything


@pytest.mark.parametrize(
    ("blockers", "words"),
    [
        (Blockers(), ""),
        (Blockers(store="chunks/store.id is missing"), "chunks/store.id is missing: the disk"),
        (Blockers(unmet={"pi-3": "it is frozen"}), "pi-3 is alive and did not exchange its records (it is frozen)"),
        (Blockers(unmet={"b": "x", "a": "x"}), "a, b are alive and did not exchange their records (x)"),
        (Blockers(unmet=dict.fromkeys("abcdef", "x")), "a, b, c, d and 2 more are alive"),
        (Blockers(lacking={"pi-3": 2}), "pi-3 told of 2 records that could not be had"),
        (Blockers(unread="EIO"), "cannot be read (EIO)"),
        (Blockers(unknown=1), "1 record here can only be read by a newer release"),
        (Blockers(wanted=3), "3 records missing here"),
        (Blockers(alone=True), "the records may have been lost"),
    ],
)
def test_each_blocker_is_told_in_words(blockers: Blockers, words: str) -> None:
    assert (words in blockers.reason) if words else not blockers.reason


# Rule 5: surplus


PRESSED = Pressure(fill=0.8, draining=False, up_s=UP_S)


def test_surplus_may_stay_while_the_disk_is_under_80_percent() -> None:
    assert why_surplus_stays(PRESSED, PERIODS) == ""
    assert "under 80% full" in why_surplus_stays(replace(PRESSED, fill=0.79), PERIODS)
    assert why_surplus_stays(replace(PRESSED, fill=0.01, draining=True), PERIODS) == ""


def test_a_node_that_may_have_forgotten_its_promises_drops_no_surplus() -> None:
    assert "up for less than 2h" in why_surplus_stays(replace(PRESSED, draining=True, up_s=HOUR), PERIODS)


def test_no_restart_may_forget_a_promise() -> None:
    with pytest.raises(ValueError, match="promised"):
        Periods(uptime_s=10, promise_s=11)


def view_of(*machines: int, draining: int | None = None) -> View:
    members = [member(n + 1, machine=machine) for n, machine in enumerate(machines)]
    return View(tuple(replace(m, draining=m.node_id == node_id(draining)) if draining else m for m in members))


@pytest.mark.parametrize("copies", [2, 3])
def test_it_belongs_to_the_first_of_its_line_and_they_never_drop_it(copies: int) -> None:
    view = view_of(1, 2, 3, 4, 5)
    for seed in range(50):
        name = ObjectId(random.Random(seed).randbytes(32))
        order = line(name, view)
        for place, node in enumerate(order):
            assert belongs_to(name, copies, node, view) == (() if place < copies else tuple(order[:copies]))


def test_it_belongs_to_nobody_when_there_are_too_few_machines() -> None:
    """The last machine but one is drained: what it holds may not end on one machine alone."""
    view = view_of(1, 1, 2, draining=3)
    assert len(line(ONE, view)) == 2
    assert belongs_to(ONE, 2, node_id(3), view) == ()
    assert belongs_to(ONE, 2, node_id(9), view_of(1)) == ()


def test_on_one_machine_it_belongs_to_single_nodes() -> None:
    view = view_of(1, 1, 1)
    order = line(ONE, view)
    assert belongs_to(ONE, 2, order[2], view) == tuple(order[:2])


KEEPERS = (node_id(1), node_id(2))
SAFE = Surplus(KEEPERS, KEEPERS, asked_s=1.0, same_view=True, reserved=False)


def test_surplus_goes_when_all_to_whom_it_belongs_promised() -> None:
    assert why_it_stays(SAFE, periods=PERIODS) == ""
    assert why_it_stays(replace(SAFE, promised={*KEEPERS, node_id(3)}), periods=PERIODS) == ""


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"promised": (node_id(1),)}, "not all"),
        ({"promised": (node_id(1), node_id(3))}, "not all"),
        ({"keepers": (), "promised": ()}, "not all"),
        ({"reserved": True}, "promised to keep"),
        ({"same_view": False}, "not fresh"),
        ({"asked_s": 0.51 * HOUR}, "not fresh"),
    ],
)
def test_surplus_stays_when_anything_is_missing(changed: dict[str, object], words: str) -> None:
    assert words in why_it_stays(replace(SAFE, **changed), periods=PERIODS)  # type: ignore[arg-type]


# What is said of it


def test_a_pass_in_words() -> None:
    nothing = Plan((), 0, ())
    assert in_words(nothing, objects=0, freed=0) == "idle: nothing to free"
    assert in_words(replace(nothing, blocked="pi-3 is away"), objects=0, freed=0) == "blocked: pi-3 is away"
    some = replace(nothing, waiting=(Waiting("removed less than 7d ago", 14, 120 << 20),))
    assert in_words(some, objects=0, freed=0) == "14 chunks (120 MiB) wait: removed less than 7d ago"
    assert in_words(some, objects=1, freed=5).startswith("freed 1 chunk (5 B); 14 chunks")
