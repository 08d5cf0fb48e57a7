"""The memory of a steward: what those that are waited for kept elsewhere, to a bound, and for how long it counts."""

import hashlib

import pytest

from checkpoint_kits import node_id
from roost.checkpoints import memory as memory_module
from roost.checkpoints.memory import FAILED_S, FAILED_S_MAX, Away, Memory
from roost.core.ids import ObjectId

ONE, TWO = node_id(1), node_id(2)
IDS = [ObjectId(hashlib.sha256(str(number).encode()).digest()) for number in range(8)]


def away(**nodes: list[ObjectId]) -> Away:
    seen = Away()
    for name, ids in nodes.items():
        for object_id in ids:
            seen.note(object_id, [{"one": ONE, "two": TWO}[name]])
    return seen


def test_what_one_kept_elsewhere_counts_while_it_is_waited_for_and_no_longer() -> None:
    memory = Memory(600.0)
    memory.note_away(away(one=IDS[:3], two=IDS[2:4]), 0.0)
    assert memory.last_holders(IDS, 0.0) == {}, "both answer"
    memory.note_times([ONE], {TWO: 1e6}, [ONE, TWO], 100.0)
    memory.note_away(away(two=IDS[2:4]), 100.0)
    memory.note_away(away(two=IDS[2:4]), 200.0)
    assert memory.last_holders(IDS[1:], 200.0) == dict.fromkeys(IDS[1:3], frozenset({ONE}))
    memory.note_times([ONE, TWO], {}, [ONE, TWO], 300.0)
    assert memory.last_holders(IDS[2:3], 300.0) == {IDS[2]: frozenset({ONE, TWO})}
    assert memory.last_holders(IDS, 700.0) == dict.fromkeys(IDS[2:4], frozenset({TWO}))
    memory.note_away(Away(), 700.0)
    memory.note_times([ONE], {TWO: 1.0}, [ONE, TWO], 701.0)
    memory.note_away(Away(), 701.0)
    assert memory.last_holders(IDS, 701.0) == {}


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "AWAY_MAX", 2)
    memory = Memory(600.0)
    memory.note_away(away(one=IDS), 0.0)
    memory.note_silent([ONE], 1.0)
    assert memory.last_holders(IDS, 2.0) == dict.fromkeys(IDS[:2], frozenset({ONE}))


def test_who_is_no_member_any_more_is_forgotten_and_what_is_over_too() -> None:
    memory = Memory(600.0)
    memory.note_times([ONE], {TWO: 10.0}, [ONE, TWO], 100.0)
    memory.note_full(TWO, 100.0)
    memory.note_failure((ONE, TWO), 100.0)
    assert sorted(memory.changes_at()) == [105.0, 690.0, 700.0]
    memory.note_times([], {TWO: 20.0}, [TWO], 110.0)
    assert (memory.down_since, memory.failed_until, set(memory.full_until)) == ({}, {}, {TWO})
    memory.note_times([], {}, [], 111.0)
    assert (memory.back_since, memory.full_until) == ({}, {})


def test_each_further_failure_makes_the_pause_longer_until_a_copy_comes_through() -> None:
    memory, now, pauses = Memory(600.0), 0.0, []
    for _ in range(7):
        memory.note_failure((ONE, TWO), now)
        memory.note_failure((ONE, TWO), now)
        pauses.append(memory.failed_until[ONE, TWO] - now)
        now = memory.failed_until[ONE, TWO]
    assert pauses == [5, 10, 20, 40, 80, FAILED_S_MAX, FAILED_S_MAX]
    memory.note_copied((ONE, TWO))
    memory.note_failure((ONE, TWO), now)
    assert memory.failed_until[ONE, TWO] - now == FAILED_S
