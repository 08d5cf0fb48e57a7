"""`store` and `gather`: what is asked of the cluster, the receipts, the JSON, the exit codes, the warnings."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from cli_stand_in import GATHERED, STORED, RunCommand, StandInCluster
from roost.apps.cli import ticker

STORE_KEYS = {
    "type", "name", "version", "unchanged", "bytes", "bytes_sent", "chunks", "chunks_new", "copies", "degraded",
    "nodes", "seconds",
}  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "step-7"
    path.mkdir()
    return path


def test_the_receipt_of_a_store(roost: RunCommand, checkpoint: Path) -> None:
    cluster = StandInCluster()
    ran = roost("store", str(checkpoint), cluster=cluster)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("run/step-7: stored as version 1-abcdef\n  2.00 KiB in ")
    assert "2 chunks, 1 new, 1.00 KiB sent" in ran.out
    assert "2 copies of everything, on pi-1 and pi-2" in ran.out
    assert "ONE MACHINE" not in ran.out
    assert cluster.asked == [("store", checkpoint, None, False, None)]
    assert cluster.closed


def test_what_store_passes_on(roost: RunCommand, checkpoint: Path) -> None:
    cluster = StandInCluster()
    roost("store", "step-7", "--name", "a/b", "--follow", "--redundancy", "3", cluster=cluster)
    assert cluster.asked == [("store", Path("step-7"), "a/b", True, "3")]


def test_a_redundancy_that_is_not_built_is_refused_before_anything_is_asked(
    roost: RunCommand, checkpoint: Path
) -> None:
    cluster = StandInCluster()
    ran = roost("store", str(checkpoint), "--redundancy", "2+1", "--json", cluster=cluster)
    assert (ran.code, ran.error["code"], cluster.asked) == (2, "usage", [])


def test_the_json_of_a_store(roost: RunCommand, checkpoint: Path) -> None:
    ran = roost("store", str(checkpoint), "--json", cluster=StandInCluster())
    assert (ran.code, ran.err) == (0, "")
    assert set(ran.result) >= STORE_KEYS
    assert ran.result["nodes"] == ["pi-2", "pi-1"]
    assert 0 <= ran.result["seconds"] != STORED.seconds


def test_what_is_not_there_is_4(roost: RunCommand, tmp_path: Path) -> None:
    cluster = StandInCluster()
    ran = roost("store", str(tmp_path / "absent"), "--json", cluster=cluster)
    assert (ran.code, ran.error["code"], cluster.asked) == (4, "not-found", [])


def test_fewer_copies_than_asked_are_3_with_a_result(roost: RunCommand, checkpoint: Path) -> None:
    cluster = StandInCluster(stored=replace(STORED, copies=1, degraded=True, notes=("pi-3 is passed over",)))
    people = roost("store", str(checkpoint), cluster=cluster)
    assert people.code == 3
    assert "note: pi-3 is passed over" in people.err
    assert "WARNING: DEGRADED: 2 copies were asked, 1 could be made" in people.err
    scripts = roost("store", str(checkpoint), "--json", cluster=cluster)
    assert (scripts.code, scripts.err) == (3, "")
    assert scripts.result["degraded"] is True


def test_one_machine_is_said_loudly(roost: RunCommand, checkpoint: Path) -> None:
    ran = roost("store", str(checkpoint), cluster=StandInCluster(stored=replace(STORED, single_machine=True)))
    assert "ALL COPIES ARE ON ONE MACHINE" in ran.out
    assert ran.code == 0


def test_an_unchanged_store_says_so(roost: RunCommand, checkpoint: Path) -> None:
    stored = replace(STORED, unchanged=True, chunks_new=0, bytes_sent=0)
    ran = roost("store", str(checkpoint), cluster=StandInCluster(stored=stored))
    assert "unchanged since version 1-abcdef" in ran.out
    assert "B/s" not in ran.out


def test_progress_lines_come_before_the_result(
    roost: RunCommand, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker, "JSON_EVERY_S", 0.005)
    ran = roost("store", str(checkpoint), "--json", cluster=StandInCluster(moves=(1024, 1024, 1024)))
    assert ran.result["bytes"] == 2048
    progress = ran.lines[0]
    assert progress["event"] == "progress"
    assert set(progress) >= {"bytes_done", "bytes_total", "rate", "seconds_left", "waiting_for"}
    assert progress["bytes_total"] == 3072


def test_what_a_gather_tells(roost: RunCommand) -> None:
    cluster = StandInCluster(gathered=replace(GATHERED, failovers=2))
    ran = roost("gather", "run/step-7@1-abcdef", "--to", "there", "--only", "*.json", "--force", cluster=cluster)
    assert ran.code == 0
    assert ran.out.startswith("/there/step-7\n  run/step-7 version 1-abcdef, verified: 2.00 KiB in ")
    assert "2 chunks had to come from another node" in ran.out
    assert cluster.asked == [("gather", "run/step-7@1-abcdef", Path("there"), "*.json", True)]


def test_the_json_of_a_gather(roost: RunCommand) -> None:
    cluster = StandInCluster()
    result = roost("gather", "run/step-7", "--json", cluster=cluster).result
    assert set(result) >= {"name", "version", "path", "bytes", "seconds", "failovers"}
    assert result["path"] == "/there/step-7"
    assert cluster.asked == [("gather", "run/step-7", None, None, False)]


def test_a_gather_that_may_be_old_warns_loudly(roost: RunCommand) -> None:
    cluster = StandInCluster(gathered=replace(GATHERED, complete=False))
    assert "WARNING: TOO FEW NODES ANSWERED" in roost("gather", "run/step-7", cluster=cluster).err
    assert roost("gather", "run/step-7", "--json", cluster=cluster).result["complete"] is False


def test_what_was_there_already_is_said(roost: RunCommand) -> None:
    ran = roost("gather", "run/step-7", cluster=StandInCluster(gathered=replace(GATHERED, already_there=True)))
    assert "it was there already" in ran.out
