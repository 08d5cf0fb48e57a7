"""Bugs that we plant are found by the simulator: each by some seed of the first hundred, and for what it breaks."""

import re
from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from sim import plants
from sim.plants import Plant
from sim.story import Failure, run

SEEDS = range(100)


def _caught(plant: Plant) -> str:
    """What the first seed that shows the planted bug says."""
    for seed in SEEDS:
        with ExitStack() as planted:
            plant(planted)
            try:
                run(seed)
            except Failure as failure:
                return str(failure)
    return f"nothing in {len(SEEDS)} seeds"


LOST = "a power cut would leave it on|drops|is durable nowhere"
PLANTS: Mapping[str, tuple[Plant, str]] = {
    "objects not synced": (plants.no_sync_below("chunks/"), "is durable nowhere"),
    "directories of objects not synced": (plants.no_directory_sync_below("chunks/"), "is durable nowhere"),
    "records not synced": (plants.no_sync_below("records/"), "would not hold the manifest"),
    "directory of records not synced": (plants.no_directory_sync_below("records/"), "would not hold the manifest"),
    "removals not synced": (plants.removals_not_synced, "would not hold the removal"),
    "removals forgotten": (plants.forgets_removals, "is listed, and was removed"),
    "commit before copies, unchecked": (plants.commits_unchecked, LOST),
    "yes without writing": (plants.says_yes_without_writing, "would not hold the manifest"),
    "stored without writing": (plants.says_stored_without_writing, "is durable nowhere"),
    "no hash looked at": (plants.trusts_what_it_reads, "not what was stored|a deep look|after the repair|left to"),
    "gathered files not synced": (plants.gathers_unsynced, "not what was stored after a power cut"),
    "surplus dropped without promises": (plants.drops_without_promises, "drops"),
    "surplus dropped by two": (plants.drops_by_two, "drops"),
    "made-up reference checksum": (plants.blesses_what_it_has, "a deep look|after the repair|left to the coordinators"),
    "no deadline": (plants.waits_for_ever, "is not done after|took"),
    "no repair unasked": (plants.repairs_only_when_asked, "left to the coordinators"),
    "no repair": (plants.repairs_nothing, "after the repair|left to the coordinators|does not leave"),
    "slots kept": (plants.keeps_slots, "does not give back"),
    "tasks without end": (plants.spawns_without_end, "tasks at once"),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found(name: str) -> None:
    plant, said = PLANTS[name]
    assert re.search(said, _caught(plant).splitlines()[0])


def test_the_check_of_the_commit_makes_good_what_the_sender_only_believes() -> None:
    with ExitStack() as planted:
        plants.believes_in_copies(planted)
        outcomes = [run(seed) for seed in (500, 502)]
    assert all("acknowledged" in outcome.covered for outcome in outcomes)


def test_a_failure_says_how_to_see_it_again() -> None:
    assert "again: .venv/bin/pytest tests/sim --seed " in _caught(plants.no_sync_below("chunks/"))
