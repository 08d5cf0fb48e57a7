"""The commands that look: ls, show, verify, nodes, status, rm, config; their JSON, their words, their exit codes."""

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from cli_stand_in import CHUNK, NODE, SHOWN, STATUS, RunCommand, StandInCluster, row, verdict
from roost.apps.cli.status import verdict as verdict_of
from roost.client import ClusterStatus, FileRow, FreedRow, Listing, RemoveResult, Verdict, WatchRow


def test_ls_in_words(roost: RunCommand) -> None:
    cluster = StandInCluster(listing=Listing((row("a/step-1"), row("b/step-22", count=3 << 20)), True, ()))
    ran = roost("ls", cluster=cluster)
    assert (ran.code, ran.err) == (0, "")
    header, first, second = ran.out.splitlines()
    assert header.split() == ["NAME", "VERSION", "SIZE", "STORED", "COPIES", "HEALTH", "VERIFIED"]
    assert first.index("1-abcdef") == second.index("1-abcdef") == header.index("VERSION")
    assert "3.00 MiB" in second


def test_ls_in_json(roost: RunCommand) -> None:
    cluster = StandInCluster(listing=Listing((row("a/step-1"),), False, ("pi-3",)))
    result = roost("ls", "a/", "--newest", "--health", "--json", cluster=cluster).result
    assert result["complete"] is False
    assert set(result["checkpoints"][0]) >= {"name", "version", "bytes", "stored_at", "health"}
    assert cluster.asked == [("list", "a/", True, True)]


def test_ls_of_nothing_and_of_too_few(roost: RunCommand) -> None:
    ran = roost("ls", cluster=StandInCluster(listing=Listing((), False, ("pi-3",))))
    assert (ran.code, ran.out) == (0, "")
    assert "nothing is stored yet" in ran.err
    assert "not reached: pi-3" in ran.err
    assert "TOO FEW NODES ANSWERED" in ran.err


def test_ls_selects(roost: RunCommand) -> None:
    rows = (row("a/step-1"), row("a/step-2", count=5), row("a/step-3", count=4), row("a/final"))
    cluster = StandInCluster(listing=Listing(rows, True, ()))
    arguments = ("--step-min", "1", "--sort", "size", "--limit", "2", "--json")
    result = roost("ls", *arguments, cluster=cluster).result
    assert [listed["name"] for listed in result["checkpoints"]] == ["a/step-3", "a/step-2"]


def test_show_in_json(roost: RunCommand) -> None:
    result = roost("show", "run/step-7", "--json", cluster=StandInCluster()).result
    assert result["files"] == [{"path": "model.safetensors", "kind": "f", "bytes": 2048, "sha256": "cd" * 32}]
    verified = {"pi-1": "2025-02-01T12:00:00Z", "pi-2": "2025-02-03T12:00:00Z"}
    assert result["chunks"] == [{"id": CHUNK, "bytes": 1024, "nodes": ["pi-1", "pi-2"], "verified_at": verified}]
    assert (result["health"], result["verified_at"]) == ("healthy", "2025-02-01T12:00:00Z")


def test_show_in_words(roost: RunCommand) -> None:
    files = tuple(FileRow(f"shard-{i:02d}", "f", 1, "cd" * 32) for i in range(25))
    cluster = StandInCluster(shown=replace(SHOWN, files=files, complete=False))
    ran = roost("show", "run/step-7", cluster=cluster)
    assert ran.code == 0
    assert "and 5 more" in ran.out
    assert CHUNK not in ran.out
    assert "TOO FEW NODES ANSWERED" in ran.err
    assert re.search(r"^verified +2025-02-0\d .*, every copy since$", ran.out, re.MULTILINE)
    assert re.search(r"^pi-2 +1 of 1 +\[#{10}\] +1.00 KiB +2025-02-0[345]", ran.out, re.MULTILINE)
    everything = roost("show", "run/step-7", "--files", "--chunks", cluster=cluster).out
    assert "shard-24" in everything
    assert f"{CHUNK}  1.00 KiB  pi-1, pi-2" in everything


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((), 0),
        ((verdict("healthy"),), 0),
        ((verdict("healthy"), verdict("degraded")), 3),
        ((verdict("at-risk"),), 3),
        ((verdict("unknown"),), 3),
        ((verdict("unknown"), verdict("lost")), 5),
        ((verdict("healthy", (CHUNK, "pi-1")),), 5),
    ],
)
def test_the_exit_codes_of_verify(roost: RunCommand, verdicts: tuple[Verdict, ...], code: int) -> None:
    ran = roost("verify", "--json", cluster=StandInCluster(verdicts=verdicts))
    assert ran.code == code
    assert ran.result["healthy"] is (code == 0)
    assert len(ran.result["checkpoints"]) == len(verdicts)


def test_verify_names_the_damaged_copies(roost: RunCommand) -> None:
    cluster = StandInCluster(verdicts=(verdict("degraded", (CHUNK, "pi-1")),))
    ran = roost("verify", "run/step-7", "other", "--deep", cluster=cluster)
    assert f"damaged: chunk {CHUNK} on pi-1, of run/step-7" in ran.out
    assert re.search(r"run/step-7 .* 2025-02-0\d", ran.out)
    assert cluster.asked == [("verify", ("run/step-7", "other"), True)]
    scripts = roost("verify", "--json", cluster=cluster)
    assert scripts.result["checkpoints"][0]["damaged"] == [{"chunk": CHUNK, "node": "pi-1"}]


def test_nodes_tells_home_and_pid_only_of_its_own(roost: RunCommand) -> None:
    here = replace(NODE, name="desk-1", home="/var/roost", pid=42)
    down = replace(NODE, name="pi-9", state="down", bytes_used=None, bytes_free=None, problem="no answer")
    cluster = StandInCluster(rows=(NODE, here, down))
    away, own, gone = roost("nodes", "--json", cluster=cluster).result["nodes"]
    assert set(away) >= {"id", "name", "address", "state", "bytes_used", "bytes_free"}
    assert "home" not in away
    assert "pid" not in away
    assert (own["home"], own["pid"]) == ("/var/roost", 42)
    assert (gone["state"], gone["bytes_free"]) == ("down", None)
    assert "no answer" in roost("nodes", cluster=cluster).out


def test_rm_in_words_and_in_json(roost: RunCommand) -> None:
    cluster = StandInCluster()
    first, second = roost("rm", "run/step-7", cluster=cluster).out.splitlines()
    assert first == "removed run/step-7 version 1-abcdef"
    assert second == "it can be brought back for 7 d (roost undelete), then its space is freed"
    result = roost("rm", "run/step-7@1-abcdef", "--dry-run", "--json", cluster=cluster).result
    assert result["removed"] == [{"name": "run/step-7", "version": "1-abcdef"}]
    assert cluster.asked[-1] == ("remove", "run/step-7@1-abcdef", False, True)


def test_rm_now_says_what_was_freed_and_what_waits(roost: RunCommand) -> None:
    freed = (
        FreedRow("pi-1", 2, 3 << 20, ("1 chunk (5 B) waits: because",), ""),
        FreedRow("pi-2", 0, 0, (), "pi-3 is alive and silent"),
    )
    removed = RemoveResult((("a", "1-abcdef"),), ("pi-1",), True, False, 0, freed=freed)
    cluster = StandInCluster(removed=removed)
    assert roost("rm", "a", "--now", cluster=cluster).out.splitlines()[1:] == [
        "freed 2 chunks (3.00 MiB) on 2 nodes",
        "  pi-1: 1 chunk (5 B) waits: because",
        "  pi-2 freed nothing: pi-3 is alive and silent",
    ]
    assert cluster.asked == [("remove", "a", True, False)]
    result = roost("rm", "a", "--now", "--json", cluster=cluster).result
    assert result["freed"] == {"objects": 2, "bytes": 3 << 20}
    assert result["waiting"] == [{"node": "pi-1", "reason": "1 chunk (5 B) waits: because"}]
    assert result["problems"] == [{"node": "pi-2", "reason": "pi-3 is alive and silent"}]


@pytest.mark.parametrize(("keep_s", "words"), [(7 * 86_400, "freed after 7 d"), (0, "freed at once")])
def test_rm_dry_run_says_what_it_would_free(roost: RunCommand, keep_s: int, words: str) -> None:
    removed = RemoveResult((("a", "1-abcdef"),), (), False, True, keep_s, chunks=14, chunk_bytes=120 << 20)
    ran = roost("rm", "a", "--dry-run", cluster=StandInCluster(removed=removed))
    assert "would remove a version 1-abcdef" in ran.out
    assert "14 chunks (120 MiB a copy) are needed by nothing else" in ran.out
    assert words in ran.out
    assert ran.err == ""


def test_status_tells_why_a_node_does_not_free_what_nothing_needs(roost: RunCommand) -> None:
    waits = replace(NODE, name="pi-2", collection="14 chunks (120 MiB) wait: removed less than 7d ago")
    quiet = replace(NODE, collection="idle: nothing to free")
    cluster = StandInCluster(found=replace(STATUS, nodes=(quiet, waits)))
    ran = roost("status", cluster=cluster)
    assert "\ncollection\n  pi-2: 14 chunks (120 MiB) wait: removed less than 7d ago\n" in ran.out
    assert "idle" not in ran.out
    rows = roost("status", "--json", cluster=cluster).result["nodes"]
    assert [row["collection"] for row in rows] == [quiet.collection, waits.collection]


def test_rm_says_who_does_not_know_yet(roost: RunCommand) -> None:
    removed = RemoveResult((("a", "1-abcdef"),), ("pi-1",), False, False)
    assert "the other nodes learn of it" in roost("rm", "a", cluster=StandInCluster(removed=removed)).err


def test_control_characters_never_reach_the_terminal(roost: RunCommand) -> None:
    cluster = StandInCluster(rows=(replace(NODE, name="\x1b]0;pwned\x07"),))
    ran = roost("nodes", cluster=cluster)
    assert "\x1b" not in ran.out
    assert "\\x1b]0;pwned\\x07" in ran.out


DOWN = replace(NODE, name="pi-2", state="down")


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (STATUS, "All is well: 1 checkpoint, each with every copy asked, on 1 node."),
        (replace(STATUS, nodes=()), "There are no nodes yet, so nothing can be stored."),
        (replace(STATUS, nodes=(DOWN,)), "None of 1 node answers: nothing can be stored or gathered now."),
        (replace(STATUS, checkpoints=0, by_health={}), "All is ready: 1 node, and nothing is stored yet."),
        (
            replace(STATUS, checkpoints=3, by_health={"lost": 1, "degraded": 2}),
            "1 of 3 checkpoints is LOST: no good copy of some part is left.",
        ),
        (
            replace(STATUS, checkpoints=3, by_health={"at-risk": 1, "degraded": 1, "healthy": 1}),
            "2 of 3 checkpoints have fewer copies than asked, 1 of them only one loss away from being lost.",
        ),
        (
            replace(STATUS, nodes=(NODE, DOWN), by_health={"unknown": 1}),
            "1 of 1 checkpoint cannot be vouched for: 1 of 2 nodes not in sight (pi-2).",
        ),
        (replace(STATUS, nodes=(NODE, DOWN)), "1 of 2 nodes not in sight (pi-2); what is stored has all its copies."),
        (
            replace(STATUS, nodes=(NODE, replace(DOWN, state="draining"), replace(DOWN, state="left"))),
            "All is well: 1 checkpoint, each with every copy asked, on 2 nodes.",
        ),
        (
            replace(STATUS, nodes=(NODE, replace(DOWN, state="suspect"))),
            "1 of 2 nodes not in sight (pi-2); what is stored has all its copies.",
        ),
    ],
)
def test_status_opens_with_its_verdict(roost: RunCommand, found: ClusterStatus, sentence: str) -> None:
    assert verdict_of(found) == sentence
    assert roost("status", cluster=StandInCluster(found=found)).out.startswith(f"{sentence}\n")


def test_status_tells_how_the_scrub_stands_and_what_was_bad(roost: RunCommand) -> None:
    here = replace(NODE, damaged_total=0, quarantined=0, scrub="on pace: 41 % read, 12 days left")
    bad = replace(NODE, name="pi-2", damaged_total=1, quarantined=2, scrub="behind")
    down = replace(NODE, name="pi-9", state="down", problem="no answer")
    cluster = StandInCluster(found=replace(STATUS, nodes=(here, bad, down)))
    ran = roost("status", cluster=cluster)
    assert "\nscrub\n  pi-1: on pace: 41 % read, 12 days left\n" in ran.out
    assert "\n  pi-2: behind; 1 bad copy since it started, 2 files in quarantine\n" in ran.out
    assert "pi-9: \n" not in ran.out
    rows = roost("status", "--json", cluster=cluster).result["nodes"]
    assert [(row["damaged_total"], row["quarantined"]) for row in rows] == [(0, 0), (1, 2), (None, None)]
    assert rows[0]["scrub"] == "on pace: 41 % read, 12 days left"


def test_status_in_json_and_what_the_watcher_waits_for(roost: RunCommand) -> None:
    found = replace(STATUS, watching=(WatchRow("/runs", (("step-8", "still written"),)),), problems=("a problem",))
    cluster = StandInCluster(found=found)
    result = roost("status", "--json", cluster=cluster).result
    assert result["watching"] == [{"path": "/runs", "pending": [{"name": "step-8", "reason": "still written"}]}]
    assert result["verdict"].startswith("All is well")
    assert "home" not in result["nodes"][0]
    words = roost("status", cluster=cluster).out
    assert "  step-8: still written" in words
    assert "  ! a problem" in words


def test_config_show_tells_origins(roost: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "roost.yaml").write_text('redundancy: "3"\n')
    plain = roost("config", "show")
    assert plain.code == 0
    assert "default" not in plain.out
    told = roost("config", "show", "--origin")
    line = next(line for line in told.out.splitlines() if line.startswith("redundancy"))
    assert line.split() == ["redundancy", "3", f"{tmp_path / 'roost.yaml'}:1"]
    values = {value["key"]: value for value in roost("config", "show", "--json").result["settings"]}
    assert values["node.listen"] == {"key": "node.listen", "value": "0.0.0.0:7400", "origin": "default"}


def test_status_of_much_is_one_screen_on_a_terminal(roost: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = tuple(
        replace(NODE, name=f"pi-{n}", id=f"{n:032x}", scrub=f"{n} % of a pass", collection="waits for pi-9")
        for n in range(12)
    )
    waits = tuple((f"run/step-{step}", "is still being written to by a program") for step in range(40))
    problems = tuple(f"pi-{n} is down: not heard of for {n} min, and {'so on ' * 20}" for n in range(9))
    found = replace(STATUS, nodes=nodes, problems=problems, watching=(WatchRow("/a", waits), WatchRow("/b", waits)))
    whole = roost("status", cluster=StandInCluster(found=found)).out.splitlines()
    assert len(whole) > 100, "where it is no terminal everything is told"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    one = roost("status", cluster=StandInCluster(found=found)).out.splitlines()
    assert len(one) == 23, "and a row for the prompt"
    assert max(map(len, one)) <= 80
    assert sum("roost status --all" in line for line in one) == 1
    assert roost("status", "--all", cluster=StandInCluster(found=found)).out.splitlines() == whole
