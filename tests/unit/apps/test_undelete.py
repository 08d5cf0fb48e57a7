"""The command line of undelete, of what was removed, and of a full cluster: JSON, words, exit codes."""

import pytest
from msgspec.structs import replace

from cli_stand_in import UNDELETED, RunCommand, StandInCluster, row
from roost.client import Listing
from roost.core.errors import NoSpace, NotFound

REFERENCE = "run/step-7@1-abcdef"
REMOVED = replace(row("run/step-7"), removed_at="2025-02-01T12:00:00Z", kept_until="2025-02-08T12:00:00Z")


def test_undelete_in_json(roost: RunCommand) -> None:
    cluster = StandInCluster()
    ran = roost("undelete", REFERENCE, "--json", cluster=cluster)
    assert ran.code == 0
    assert cluster.asked == [("undelete", REFERENCE, False)]
    result = ran.result
    assert (result["name"], result["removed"], result["version"]) == ("run/step-7", "1-abcdef", "2-fedcba")
    assert set(result) >= {"unchanged", "bytes", "copies", "degraded", "nodes", "seconds", "dry_run", "notes"}


def test_undelete_in_words(roost: RunCommand) -> None:
    ran = roost("undelete", REFERENCE, cluster=StandInCluster())
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "run/step-7: version 1-abcdef is back as version 2-fedcba",
        "  2.00 KiB, 2 copies of everything, on pi-1 and pi-2",
    ]


def test_a_dry_run_of_undelete(roost: RunCommand) -> None:
    cluster = StandInCluster(undeleted=replace(UNDELETED, nodes=(), degraded=True, copies=1))
    ran = roost("undelete", REFERENCE, "--dry-run", cluster=cluster)
    assert (ran.code, ran.err) == (0, "")
    assert cluster.asked == [("undelete", REFERENCE, True)]
    assert ran.out.splitlines() == [
        "run/step-7: would bring version 1-abcdef back as version 2-fedcba",
        "  2.00 KiB, 1 copy there",
    ]


def test_undelete_of_what_is_there(roost: RunCommand) -> None:
    ran = roost("undelete", REFERENCE, cluster=StandInCluster(undeleted=replace(UNDELETED, unchanged=True)))
    assert ran.code == 0
    assert "version 2-fedcba is the same as 1-abcdef: there is nothing to bring back" in ran.out


def test_a_degraded_undelete_is_exit_3(roost: RunCommand) -> None:
    undeleted = replace(UNDELETED, degraded=True, copies=1, notes=("pi-3 is not reached",), single_machine=True)
    ran = roost("undelete", REFERENCE, cluster=StandInCluster(undeleted=undeleted))
    assert ran.code == 3
    assert "ONE MACHINE" in ran.out
    assert "note: pi-3 is not reached" in ran.err
    assert "DEGRADED: only 1 copy" in ran.err


def test_undelete_of_what_is_gone_is_exit_4(roost: RunCommand) -> None:
    error = NotFound("it is gone, too late", hint="store it again")
    ran = roost("undelete", REFERENCE, cluster=StandInCluster(error=error))
    assert (ran.code, ran.out) == (4, "")
    assert "too late" in ran.err


def test_ls_removed_in_words(roost: RunCommand) -> None:
    cluster = StandInCluster(listing=Listing((REMOVED,), True, ()))
    ran = roost("ls", "--removed", cluster=cluster)
    assert (ran.code, ran.err) == (0, "")
    assert cluster.asked == [("list", "", False, False, "removed")]
    header, line = ran.out.splitlines()
    assert header.split() == ["NAME", "VERSION", "SIZE", "STORED", "REMOVED", "KEPT", "UNTIL"]
    assert "1-abcdef" in line
    with_health = roost("ls", "--removed", "--health", cluster=cluster).out.splitlines()
    assert with_health[0].endswith("HEALTH")
    assert with_health[1].endswith("healthy")


def test_ls_removed_in_json(roost: RunCommand) -> None:
    result = roost("ls", "--removed", "--json", cluster=StandInCluster(listing=Listing((REMOVED,), True, ()))).result
    [listed] = result["checkpoints"]
    assert (listed["removed_at"], listed["kept_until"]) == ("2025-02-01T12:00:00Z", "2025-02-08T12:00:00Z")


@pytest.mark.parametrize(("prefix", "words"), [((), "nothing was removed"), (("x",), "nothing that fits was removed")])
def test_ls_removed_of_nothing_and_of_too_few(roost: RunCommand, prefix: tuple[str, ...], words: str) -> None:
    ran = roost("ls", "--removed", *prefix, cluster=StandInCluster(listing=Listing((), False, ("pi-3",))))
    assert (ran.code, ran.out) == (0, "")
    assert words in ran.err
    assert "more may have been removed" in ran.err


@pytest.mark.parametrize(("missing", "told"), [(None, False), (0, True), (3 << 30, True)])
def test_a_full_cluster_is_exit_8_and_tells_scripts_how_much_is_missing(
    roost: RunCommand, missing: int | None, told: bool
) -> None:
    error = NoSpace("the cluster is full", hint="roost join", bytes_missing=missing)
    ran = roost("undelete", REFERENCE, "--json", cluster=StandInCluster(error=error))
    assert ran.code == 8
    failure = ran.error
    assert failure["code"] == "no-space"
    assert ("bytes_missing" in failure) == told
    assert failure.get("bytes_missing") == missing
