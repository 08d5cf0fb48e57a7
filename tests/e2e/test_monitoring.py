"""Real Prometheus and Alertmanager watch a real cluster by what `roost monitoring export` wrote.

They find the nodes by themselves, an alert becomes a mail and so does its end, every query of every dashboard has an
answer, and what is stored makes no new series.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import monitoring_kits as kits
from e2e import trees
from e2e.cluster import Cluster, flip, spread_cluster
from e2e.test_api import call
from e2e.watchers import START_LIMIT_S, Mailbox, Prometheus, running, words_of
from roost.net.ports import free_port
from roost.observe.alerts import Thresholds, all_rules

ALERT_LIMIT_S = 60.0
STORED = 200
LOST = "other/lost"
HEAT = "roost_host_temperature_celsius"
MINUTES_KEPT = 5
"""What is lost is told as lost for so long after it was last seen to be."""
SETTINGS = """\
cluster: test
local_nodes: 0
node: {{listen: "127.0.0.1:0", reserve: 16MiB}}
api: {{listen: "127.0.0.1:{api}"}}
discovery: {{mdns: false, broadcast: false}}
alerts: {{node_down: 2s, email: {{smtp: "127.0.0.1:{smtp}", from: roost@example.org, to: [me@example.org]}}}}
"""


@dataclass(frozen=True, slots=True)
class Watched:
    """A cluster of three nodes, what watches it, and the mail that arrives."""

    cluster: Cluster
    api: int
    prometheus: Prometheus
    mailbox: Mailbox
    export: Path


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    for name in kits.PROGRAMS:
        kits.program(name)
    root = tmp_path_factory.mktemp("monitoring")
    names = ("api", "smtp", "prometheus", "alertmanager")
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    # The coordinator mails of the same alerts by itself, if it is told where: here only the export is.
    told = root / "told.yaml"
    told.write_text(SETTINGS.format(api=ports["api"], smtp=ports["smtp"]))
    with spread_cluster(root / "cluster", nodes=3, more=_without_mail(ports["api"])) as cluster:
        chosen = [word for name in names[2:] for word in ("--port", f"{name}={ports[name]}")]
        export = root / "export"
        made = cluster.begin("monitoring", "export", export, "--every", "1s", *chosen, config=told).wait()
        assert made.code == 0, made
        kits.checked("promtool", "check", "config", export / "prometheus/prometheus.yml")
        kits.checked("amtool", "check-config", export / "alertmanager/alertmanager.yml")
        with Mailbox(ports["smtp"]) as mailbox, running(export, "prometheus", "alertmanager", log=root):
            prometheus = Prometheus(ports["prometheus"])
            yield Watched(cluster, ports["api"], prometheus, mailbox, export)


def _without_mail(api: int) -> str:
    quiet = "discovery: {mdns: false, broadcast: false}\nalerts: {node_down: 2s}\n"
    return f'api: {{listen: "127.0.0.1:{api}"}}\n{quiet}'


def _free_ports(count: int) -> list[int]:
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port("127.0.0.1"))
    return sorted(found)


def _stored(watched: Watched, folder: Path, numbers: range) -> None:
    for number in numbers:
        path = trees.write(folder / f"step-{number}.safetensors", trees.model([20_000], seed=number))
        code, said = call(watched.api, "POST", "/api/v1/store", {"path": str(path), "name": f"run/step-{number}"})
        assert (code, said[-1]["type"]) == (200, "result"), said


def _seen(count: int) -> str:
    return f"sum(roost_checkpoints) == {count}"


def test_the_machines_are_found_by_themselves(watched: Watched) -> None:
    everybody = dict.fromkeys(("coordinator", "a", "b", "c"), "up")
    watched.prometheus.until(lambda asked: asked.up() == everybody, "all answer", within_s=START_LIMIT_S)
    assert watched.prometheus.value('count(roost_build_info{role="node"})') == 3


@pytest.mark.slow
def test_what_is_stored_makes_no_new_series(watched: Watched, tmp_path: Path) -> None:
    few = STORED // 10
    series = 'count({__name__=~"roost_.+"})'
    _stored(watched, tmp_path, range(few))
    watched.prometheus.until_some(_seen(few), within_s=ALERT_LIMIT_S)
    before = watched.prometheus.value(series)
    _stored(watched, tmp_path, range(few, STORED))
    watched.prometheus.until_some(_seen(STORED), within_s=ALERT_LIMIT_S)
    assert watched.prometheus.value(series) == before


def test_a_node_that_is_killed_is_told_by_mail_and_so_is_its_return(watched: Watched) -> None:
    node = watched.cluster.nodes["c"]
    node.handle.kill()
    mail = watched.mailbox.until("FIRING", "RoostNodeDown", within_s=ALERT_LIMIT_S)
    assert mail["To"] == "me@example.org"
    assert "c does not answer" in words_of(mail)
    assert watched.prometheus.up() == {"coordinator": "up", "a": "up", "b": "up", "c": "down"}
    watched.cluster.restart(node)
    mail = watched.mailbox.until("RESOLVED", "RoostNodeDown", within_s=ALERT_LIMIT_S)
    assert "It is over: c does not answer" in words_of(mail)


def test_a_bad_copy_is_counted_and_so_is_the_one_that_is_made_again(watched: Watched, tmp_path: Path) -> None:
    _damage(watched, trees.write(tmp_path / "bad.safetensors", trees.model([400_000], seed=2)), "other/bad", copies=1)
    watched.cluster.cli("verify", "other/bad", "--deep")
    for metric in ("roost_integrity_failures_total", "roost_repair_bytes_total"):
        watched.prometheus.until_some(f"sum({metric}) > 0", within_s=ALERT_LIMIT_S)
    assert watched.prometheus.value('sum(roost_chunks{health="lost"})') == 0


def test_a_chunk_without_a_good_copy_is_told_by_mail(watched: Watched) -> None:
    _damage(watched, _lost(watched), LOST, copies=2)
    assert watched.cluster.cli("scrub").code == 5
    mail = watched.mailbox.until("FIRING", "RoostUnrecoverable", within_s=ALERT_LIMIT_S)
    assert "no good copy" in words_of(mail)


def _damage(watched: Watched, path: Path, name: str, *, copies: int) -> None:
    """Store a file, and change a bit of so many copies of its largest chunk."""
    watched.cluster.done("store", path, "--name", name)
    chunk = max(watched.cluster.done("show", name)["chunks"], key=lambda each: each["bytes"])
    for copy in sorted(watched.cluster.copies(chunk["id"]).values())[:copies]:
        flip(copy, offset=copy.stat().st_size // 2)


def _lost(watched: Watched) -> Path:
    path = watched.cluster.root / "lost.safetensors"
    return path if path.exists() else trees.write(path, trees.model([400_000], seed=1))


def test_every_query_of_every_dashboard_has_an_answer(watched: Watched) -> None:
    chosen = {"node": ".*", "peer": ".*", "__rate_interval": "1m", "__range": "1h"}
    asked = [question for question in kits.questions() if question.source == "prometheus"]
    silent = [str(question) for question in asked if not watched.prometheus.ask(question.asked(chosen))]
    if not watched.prometheus.ask(HEAT):  # where a machine does not tell it
        silent = [each for each in silent if HEAT not in each]
    assert silent == []
    for dashboard, metric, label in kits.chosen_labels():
        found = watched.prometheus.get(f"/api/v1/label/{label}/values", **{"match[]": metric})
        assert found, f"{dashboard} offers nothing for {label}"


def test_every_metric_that_is_asked_for_is_told_of(watched: Watched) -> None:
    texts = [question.text for question in kits.questions()] + [rule.expr for rule in all_rules(Thresholds())]
    asked = {name for text in texts for name in re.findall(r"\broost_\w+", text)}
    told = set(watched.prometheus.get("/api/v1/label/__name__/values"))
    # What tells of an event has no series before the first one: here no backup fails, and nothing was watched.
    told |= {HEAT, "roost_backup_failures_total", "roost_transfer_errors_total"}
    assert asked - told == set()


@pytest.mark.slow
def test_a_lost_chunk_that_is_stored_again_is_told_by_mail(watched: Watched) -> None:
    watched.cluster.done("store", _lost(watched), "--name", LOST)
    kept = 60 * MINUTES_KEPT
    mail = watched.mailbox.until("RESOLVED", "RoostUnrecoverable", within_s=kept + 2 * ALERT_LIMIT_S)
    assert "It is over" in words_of(mail)
