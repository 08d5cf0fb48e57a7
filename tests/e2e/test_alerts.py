"""A cluster whose settings name a mailbox and a webhook: what is wrong arrives there, once, and that it is over too."""

import json
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, flip, local_cluster, spread_cluster
from receivers import Certificates, Hook, Mailbox

QUICK = "repair: {grace: 1h}\nalerts:\n  every: 1s\n  node_down: 1s\n"
PASSWORD = "geheim"
USER = "roost@home.test"


@pytest.fixture
def mailbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """A mail server that everything started here trusts, and has the password of."""
    certificates = Certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.trusted))
    with Mailbox(tls=certificates.context, user=USER, password=PASSWORD) as mailbox:
        yield mailbox


def mailing(mailbox: Mailbox) -> str:
    return f"{QUICK}  email: {{smtp: 'smtp://{USER}@localhost:{mailbox.port}', to: [you@home.test]}}"


def with_password(cluster: Cluster) -> None:
    cluster.home.mkdir(exist_ok=True)
    (cluster.home / "smtp-password").write_text(PASSWORD)
    (cluster.home / "smtp-password").chmod(0o600)


def lose_a_chunk(cluster: Cluster, folder: Path) -> None:
    """Store something, and damage every copy of a part of it."""
    path = trees.write(folder / "some.safetensors", trees.model([500_000] * 4, seed=9))
    cluster.done("store", path, "--name", "run/step-1")
    chunk = cluster.done("show", "run/step-1")["chunks"][1]
    for file in cluster.copies(chunk["id"]).values():
        flip(file, offset=chunk["bytes"] // 2)
    assert cluster.cli("scrub").code == 5


def until(mailbox: Mailbox, words: str) -> EmailMessage:
    """The next mail that has these words in its text; those before it tell of no machine."""
    while words not in (mail := mailbox.next()).get_content():
        assert "RoostNodeDown" not in mail.get_content()
    return mail


def test_what_is_lost_is_mailed_at_once(tmp_path: Path, mailbox: Mailbox) -> None:
    with Cluster(tmp_path / "cluster", more=mailing(mailbox)) as cluster:
        with_password(cluster)
        cluster.start(local=2)
        lose_a_chunk(cluster, tmp_path)
        mail = until(mailbox, "LOST")
        assert mail["Subject"].startswith("[roost] test: CRITICAL: Something that is stored is LOST")
        assert mail["Importance"] == "high"
        assert "What to do: See what: roost ls --health" in mail.get_content()
        assert mailbox.encrypted[-1]
        assert "RoostUnrecoverable" in {alert["alert"] for alert in cluster.done("alerts")["firing"]}


def noted(cluster: Cluster) -> None:
    """Wait until it is on the disk that nobody is told to be down: a mail is here before its sender knows."""
    deadline = time.monotonic() + 30
    while "RoostNodeDown" in (cluster.home / "alerts.json").read_text():
        assert time.monotonic() < deadline
        cluster.done("nodes")


@pytest.mark.slow
def test_who_is_down_is_mailed_once_and_that_it_is_back_and_a_restart_tells_nothing_again(
    tmp_path: Path, mailbox: Mailbox
) -> None:
    with Cluster(tmp_path / "cluster", more=mailing(mailbox)) as cluster:
        with_password(cluster)
        cluster.start(local=3)
        lose_a_chunk(cluster, tmp_path)
        until(mailbox, "LOST")
        first, second = sorted(cluster.nodes.values(), key=lambda node: node.name)[:2]
        first.handle.kill()
        mail = until(mailbox, f"warning: {first.name} does not answer")
        assert mail["Subject"].startswith(f"[roost] test: warning: {first.name} does not answer")
        assert "roost doctor" in mail.get_content()
        cluster.restart(first)
        mail = until(mailbox, f"{first.name} does not answer")
        assert "That is over." in mail.get_content()
        noted(cluster)

        cluster.stop()
        cluster.start(local=3)
        again = cluster.nodes[second.name]
        again.handle.kill()
        mail = mailbox.next()
        assert again.name in mail["Subject"]
        assert "LOST" not in mail.get_content()


@pytest.mark.slow
def test_a_node_with_alerts_of_its_own_tells_of_a_dead_coordinator(tmp_path: Path) -> None:
    with Hook() as hook:
        more = f"{QUICK}  webhook: {{url: 'http://127.0.0.1:{hook.port}/hook'}}"
        with spread_cluster(tmp_path / "cluster", nodes=2, more=more) as cluster:
            assert cluster.coordinator is not None
            for node in cluster.nodes.values():
                cluster.watch_state(node, until="alive", limit_s=60)
            cluster.coordinator.handle.kill()
            told = [json.loads(hook.next().body) for _ in cluster.nodes]
            assert {one["title"].rpartition(": ")[0] for one in told} == {
                "test: CRITICAL: The coordinator does not answer"
            }
            assert "roost start" in told[0]["text"]
            cluster.start(local=0)
            over = [json.loads(hook.next().body) for _ in cluster.nodes]
            assert {(one["state"], one["title"].split(": ")[1]) for one in over} == {("resolved", "over")}


@pytest.mark.slow
@pytest.mark.slow
def test_a_mail_server_that_refuses_harms_nothing_and_is_told_in_the_status(tmp_path: Path) -> None:
    with Mailbox(refuse="550 not here") as mailbox, Hook() as hook:
        more = (
            f"{QUICK}  email: {{smtp: 'localhost:{mailbox.port}', from: a@b.test, to: [you@home.test]}}\n"
            f"  webhook: {{url: 'http://127.0.0.1:{hook.port}/hook', template: ntfy}}"
        )
        with local_cluster(tmp_path / "cluster", nodes=2, more=more) as cluster:
            answer = cluster.cli("alerts", "test")
            assert answer.code == 1
            assert [way["ok"] for way in answer.result["ways"]] == [False, True]
            assert b"test of the alerts" in hook.next().body
            node = next(iter(cluster.nodes.values()))
            node.handle.kill()
            assert node.name in hook.next().headers["Title"]
            assert cluster.coordinator is not None
            cluster.coordinator.until("warning", timeout_s=60)
            problems = cluster.done("status")["problems"]
            assert any(
                "alerts cannot be told by email" in problem and "550 not here" in problem for problem in problems
            )
