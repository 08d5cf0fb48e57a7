"""`roost nodes drain` and `forget`, and `roost repair`: what they ask for, their words, their JSON, their codes."""

import asyncio

import pytest
from msgspec.structs import replace

from cli_stand_in import DRAINED, FORGOTTEN, GATHERED, REPAIRED, RunCommand, StandInCluster
from roost.client import RepairRow
from roost.core.errors import Endangers

CHUNKS = [f"{number:02x}" * 32 for number in range(5)]


def row(number: int, *, reason: str = "on 1 of 2 machines", target: str = "pi-3", work: str = "short") -> RepairRow:
    return RepairRow(CHUNKS[number], 1024, "pi-2", target, reason, work)


# -- nodes alone -----------------------------------------------------------------------------------------------------


def test_alone_it_lists(roost: RunCommand) -> None:
    cluster = StandInCluster()
    assert roost("nodes", "--json", cluster=cluster).result["nodes"][0]["name"] == "pi-1"
    assert roost("--json", "nodes", cluster=cluster).result["nodes"]
    assert cluster.asked == [("nodes",), ("nodes",)]


def test_help_names_what_can_be_done(roost: RunCommand) -> None:
    out = roost("nodes", "--help").out
    assert "drain" in out
    assert "forget" in out


def test_options_before_the_subcommand_are_not_swallowed(roost: RunCommand) -> None:
    ran = roost("nodes", "--json", "drain", "pi-1", cluster=StandInCluster())
    assert (ran.code, ran.error["code"]) == (2, "usage")


def test_an_unknown_subcommand_is_a_usage_error(roost: RunCommand) -> None:
    assert roost("nodes", "fly", cluster=StandInCluster()).code == 2


# -- drain -----------------------------------------------------------------------------------------------------------


def test_drain_waits_and_says_that_the_node_has_left(roost: RunCommand) -> None:
    cluster = StandInCluster()
    ran = roost("nodes", "drain", "pi-1", cluster=cluster)
    assert ran.code == 0
    assert ran.out == "pi-1 has left: everything is kept by the others (3 copies made, 3.00 KiB)\n"
    assert cluster.asked == [("drain", "pi-1", False, False)]
    result = roost("nodes", "drain", "pi-1", "--json", cluster=cluster).result
    assert (result["state"], result["copies"], result["reason"], result["plan"]) == ("left", 3, "", [])


def test_options_of_drain_are_handed_on(roost: RunCommand) -> None:
    cluster = StandInCluster()
    roost("nodes", "drain", "pi-1", "--cancel", cluster=cluster)
    roost("nodes", "drain", "pi-1", "--dry-run", cluster=cluster)
    assert cluster.asked == [("drain", "pi-1", True, False), ("drain", "pi-1", False, True)]


@pytest.mark.parametrize(("full", "code"), [(False, 3), (True, 8)])
def test_a_drain_that_cannot_end_says_why(roost: RunCommand, full: bool, code: int) -> None:
    stuck = replace(
        DRAINED, state="draining", copies=0, objects_left=2, bytes_left=2048, reason="no room", full=full,
        notes=("pi-2 is slow",),
    )  # fmt: skip
    ran = roost("nodes", "drain", "pi-1", cluster=StandInCluster(drained=stuck))
    assert ran.code == code
    assert ran.out == "pi-1 is being emptied; 2 chunks to go (2.00 KiB)\nit cannot leave yet: no room\n"
    assert "pi-2 is slow" in ran.err
    assert roost("nodes", "drain", "pi-1", "--json", cluster=StandInCluster(drained=stuck)).result["objects_left"] == 2


def test_a_dry_run_shows_the_plan(roost: RunCommand) -> None:
    reason = "on pi-1, which is being emptied"
    planned = replace(
        DRAINED, state="draining", copies=0, dry_run=True,
        plan=tuple(row(n, reason=reason, work="leaving") for n in range(3)),
    )  # fmt: skip
    ran = roost("nodes", "drain", "pi-1", "--dry-run", cluster=StandInCluster(drained=planned))
    assert ran.code == 0
    assert reason in ran.out
    assert "3 copies would be made before pi-1 can leave" in ran.out
    result = roost("nodes", "drain", "pi-1", "--dry-run", "--json", cluster=StandInCluster(drained=planned)).result
    assert result["plan"][0] == {
        "id": CHUNKS[0], "bytes": 1024, "source": "pi-2", "target": "pi-3", "work": "leaving", "reason": reason
    }  # fmt: skip


def test_ctrl_c_says_that_the_coordinator_goes_on(roost: RunCommand) -> None:
    cluster = StandInCluster(error=asyncio.CancelledError())
    ran = roost("nodes", "drain", "pi-1", cluster=cluster)
    assert "the coordinator goes on; to stop that: roost nodes drain pi-1 --cancel" in ran.err
    ran = roost("nodes", "drain", "pi-1", "--dry-run", cluster=cluster)
    assert "goes on" not in ran.err


# -- forget ----------------------------------------------------------------------------------------------------------


def test_forget_says_who_knows(roost: RunCommand) -> None:
    cluster = StandInCluster()
    ran = roost("nodes", "forget", "pi-1", cluster=cluster)
    assert (ran.code, ran.out) == (0, "pi-1 is struck off; known to pi-2 and pi-3\n")
    assert cluster.asked == [("forget", "pi-1", False)]


def test_forget_that_endangers_names_the_checkpoints(roost: RunCommand) -> None:
    error = Endangers("without pi-1 fewer", hint="--force", checkpoints=("run/a@1-abcdef", "run/b@2-abcdef"))
    ran = roost("nodes", "forget", "pi-1", "--json", cluster=StandInCluster(error=error))
    assert ran.code == 1
    assert ran.error["code"] == "endangers"
    assert ran.error["checkpoints"] == ["run/a@1-abcdef", "run/b@2-abcdef"]


def test_forget_by_force_warns_of_what_lacks_copies_now(roost: RunCommand) -> None:
    cluster = StandInCluster(forgotten=replace(FORGOTTEN, endangered=(("run/a", "1-abcdef"),)))
    ran = roost("nodes", "forget", "pi-1", "--force", cluster=cluster)
    assert ran.code == 0
    assert "WARNING: fewer copies than asked are left of run/a@1-abcdef" in ran.err
    assert cluster.asked == [("forget", "pi-1", True)]
    assert roost("nodes", "forget", "pi-1", "--json", cluster=cluster).result["checkpoints"] == ["run/a@1-abcdef"]


# -- repair ----------------------------------------------------------------------------------------------------------


def test_a_plan_is_grouped_by_reason_and_way(roost: RunCommand) -> None:
    plan = (row(0), row(1), row(2, target="pi-4"), row(3, reason="belongs on pi-4", target="pi-4", work="home"))
    planned = replace(REPAIRED, plan=plan, short=3, dry_run=True)
    ran = roost("repair", "--dry-run", cluster=StandInCluster(repaired=planned))
    assert ran.code == 3
    header, first, second, third, total = ran.out.splitlines()
    assert header.split() == ["WHY", "FROM", "TO", "CHUNKS", "BYTES"]
    assert first.split()[-5:] == ["pi-2", "pi-3", "2", "2.00", "KiB"]
    assert second.split()[-5:] == ["pi-2", "pi-4", "1", "1.00", "KiB"]
    assert third.startswith("belongs on pi-4")
    assert total == "4 copies would be made; 3 chunks short"
    result = roost("repair", "--dry-run", "--json", cluster=StandInCluster(repaired=planned)).result
    assert [each["work"] for each in result["plan"]] == ["short", "short", "short", "home"]


def test_what_cannot_be_repaired_is_told_once_a_reason(roost: RunCommand) -> None:
    stuck = tuple((chunk, "nobody has it") for chunk in CHUNKS[:3])
    ran = roost("repair", cluster=StandInCluster(repaired=replace(REPAIRED, stuck=stuck, short=3)))
    assert ran.code == 3
    assert f"chunk {CHUNKS[0][:12]} and 2 more cannot be repaired now: nobody has it" in ran.out


def test_moving_home_alone_is_nothing_short(roost: RunCommand) -> None:
    ran = roost("repair", cluster=StandInCluster(repaired=replace(REPAIRED, copies=2, bytes=2048)))
    assert (ran.code, ran.out) == (0, "2 copies made (2.00 KiB): all is as it should be\n")


# -- gather ----------------------------------------------------------------------------------------------------------


def test_gather_says_what_it_mended(roost: RunCommand) -> None:
    cluster = StandInCluster(gathered=replace(GATHERED, repaired=2))
    assert "; 2 damaged copies made again" in roost("gather", "run/step-7", cluster=cluster).out
    assert roost("gather", "run/step-7", "--json", cluster=cluster).result["repaired"] == 2
