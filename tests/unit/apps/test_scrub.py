"""`roost scrub`: its words, its JSON, and its exit codes."""

import pytest

from cli_stand_in import CHUNK, RunCommand, StandInCluster
from roost.client import ScrubResult
from roost.client.results import ScrubRow
from roost.core.errors import NotFound

GOOD = ScrubRow("0" * 32, "pi-1", 1200, 3 << 30, (), "")
BAD = ScrubRow("1" * 32, "pi-2", 10, 5 << 20, (CHUNK,), "")
GONE = ScrubRow("2" * 32, "pi-3", 3, 1 << 20, (), "the connection broke")
LOST = (("run/step-7", "1-abcdef"),)


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (ScrubResult((GOOD,), 0, 0, (), ()), 0),
        (ScrubResult((GOOD, BAD), 1, 0, (), ()), 0),
        (ScrubResult((GOOD, BAD), 0, 1, (), ()), 3),
        (ScrubResult((GOOD, GONE), 0, 0, (), ()), 3),
        (ScrubResult((GOOD, GONE), 0, 1, LOST, ()), 5),
    ],
)
def test_the_exit_codes(roost: RunCommand, result: ScrubResult, code: int) -> None:
    assert roost("scrub", cluster=StandInCluster(scrubbed=result)).code == code


def test_in_words(roost: RunCommand) -> None:
    cluster = StandInCluster(scrubbed=ScrubResult((GOOD, BAD, GONE), 1, 2, LOST, ("pi-3 does not answer",)))
    ran = roost("scrub", cluster=cluster)
    header, *rows = ran.out.splitlines()
    assert header.split() == ["NODE", "OBJECTS", "BYTES", "DAMAGED"]
    assert [row.split()[:6] for row in rows[:2]] == [
        ["pi-1", "1,200", "3.00", "GiB", "0"], ["pi-2", "10", "5.00", "MiB", "1"],
    ]  # fmt: skip
    assert rows[2].endswith("NOT READ TO THE END: the connection broke")
    assert rows[3:] == [
        f"damaged: {CHUNK} on pi-2",
        "LOST: run/step-7@1-abcdef has a chunk of which no good copy is left",
        "1 damaged copy found, 1 copy made again; 2 chunks still short",
    ]
    assert ran.err == "note: pi-3 does not answer\n"


def test_in_words_when_all_is_well(roost: RunCommand) -> None:
    cluster = StandInCluster(scrubbed=ScrubResult((GOOD,), 0, 0, (), ()))
    assert roost("scrub", cluster=cluster).out.splitlines()[-1] == "nothing was damaged: every chunk has its copies"
    cluster = StandInCluster(scrubbed=ScrubResult((GOOD, BAD), 1, 0, (), ()))
    mended = "1 damaged copy found, 1 copy made again: every chunk has its copies"
    assert roost("scrub", cluster=cluster).out.splitlines()[-1] == mended


def test_many_damaged_copies_are_not_all_listed(roost: RunCommand) -> None:
    burnt = ScrubRow("1" * 32, "pi-2", 30, 0, tuple(f"{n:064x}" for n in range(30)), "")
    out = roost("scrub", cluster=StandInCluster(scrubbed=ScrubResult((burnt,), 30, 0, (), ()))).out
    assert out.count("damaged: ") == 20
    assert "... and 10 more" in out


def test_in_json(roost: RunCommand) -> None:
    cluster = StandInCluster(scrubbed=ScrubResult((BAD, GONE), 1, 2, LOST, ("a note",)))
    ran = roost("scrub", "pi-2", "--json", cluster=cluster)
    assert cluster.asked == [("scrub", "pi-2")]
    assert ran.result.pop("seconds", 0) >= 0
    told = {key: value for key, value in ran.result.items() if key not in ("seconds", "type")}
    assert told == {
        "nodes": [
            {"id": "1" * 32, "name": "pi-2", "objects": 10, "bytes": 5 << 20, "damaged": [CHUNK], "problem": ""},
            {
                "id": "2" * 32, "name": "pi-3", "objects": 3, "bytes": 1 << 20, "damaged": [],
                "problem": "the connection broke",
            },
        ],
        "damaged": 1, "copies": 1, "short": 2, "lost": [{"name": "run/step-7", "version": "1-abcdef"}],
        "notes": ["a note"],
    }  # fmt: skip


def test_a_node_that_is_nobody(roost: RunCommand) -> None:
    cluster = StandInCluster(error=NotFound("there is no node 'pi-9'", hint="see: roost nodes"))
    assert roost("scrub", "pi-9", cluster=cluster).code == 4
