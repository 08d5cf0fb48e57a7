"""The HTTP of a real coordinator: what it says, what it does, what it tells as it happens, and to whom."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import trees
from e2e.cluster import Cluster, local_cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("api") / "cluster"
    with local_cluster(root, nodes=3, more="watch: [{path: ./watched, name: seen}]\n") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def port(cluster: Cluster) -> int:
    return port_of(cluster)


def port_of(cluster: Cluster) -> int:
    return int(cluster.page().rpartition(":")[2].strip("/"))


def call(port: int, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """The status, and the lines of the answer, each as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, [json.loads(line) for line in text.splitlines()] if text[:1] == "{" else text
    finally:
        connection.close()


def test_what_the_commands_say_and_do_goes_over_http_too(cluster: Cluster, port: int, tmp_path: Path) -> None:
    path = trees.write(tmp_path / "step-1.safetensors", trees.model([300_000], seed=1))
    code, said = call(port, "POST", "/api/v1/store", {"path": str(path), "name": "run/step-1"})
    assert (code, said[-1]["type"], said[-1]["copies"]) == (200, "result", 2)
    code, [listing] = call(port, "GET", "/api/v1/checkpoints?run=run")
    assert [row["name"] for row in listing["checkpoints"]] == ["run/step-1"]
    code, [shown] = call(port, "GET", f"/api/v1/checkpoints/run/step-1@{said[-1]['version']}")
    assert (code, shown["health"]) == (200, "healthy")
    code, said = call(port, "POST", "/api/v1/gather", {"reference": "run/step-1", "to": str(tmp_path / "back")})
    assert said[-1]["type"] == "result"
    assert trees.tree_of(tmp_path / "back/step-1.safetensors") == trees.tree_of(path)
    code, said = call(port, "POST", "/api/v1/verify", {"references": ["run/step-1"], "deep": True})
    assert said[-1]["checkpoints"][0]["health"] == "healthy"
    code, [status] = call(port, "GET", "/api/v1/status")
    assert status["verdict"] == cluster.done("status")["verdict"]
    assert {node["state"] for node in status["nodes"]} == {"alive"}
    assert call(port, "POST", "/api/v1/remove", {"reference": "run/step-1"})[0] == 200
    assert call(port, "GET", "/api/v1/checkpoints/run/step-1")[0] == 404
    code, [back] = call(port, "POST", "/api/v1/undelete", {"reference": f"run/step-1@{shown['version']}"})
    assert (code, back["copies"]) == (200, 2)
    code, [listing] = call(port, "GET", "/api/v1/operations")
    assert {"store", "gather", "verify", "undelete"} <= {row["kind"] for row in listing["operations"]}
    code, text = call(port, "GET", "/metrics")
    assert 'roost_node_state{peer="' in text
    assert call(port, "GET", "/")[1].startswith("<!doctype html>")


def test_events_are_told_as_they_happen(cluster: Cluster, port: int, tmp_path: Path) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        file = connection.makefile("rb")
        trees.write(cluster.root / "watched/step-9.safetensors", trees.model([50_000], seed=9))
        for line in file:
            if line.strip() == b"event: stored":
                break
        told = json.loads(file.readline().partition(b":")[2])
        assert told["name"] == "seen/step-9"
        assert not any(word in json.dumps(told) for word in ("recovery_code", "token"))


def test_names_of_other_machines_and_pages_of_other_sites_get_nothing(port: int) -> None:
    assert call(port, "GET", "/api/v1/status", Host="evil.example")[0] == 403
    assert call(port, "POST", "/api/v1/repair", {}, Origin="http://evil.example")[0] == 403


def test_the_next_port_is_taken_when_the_default_one_is_not_free(cluster: Cluster, port: int, tmp_path: Path) -> None:
    with local_cluster(tmp_path / "second", nodes=1) as second:
        other = port_of(second)
        assert other != port
        assert call(other, "GET", "/api/v1/status")[0] == 200


def test_it_ends_at_once_although_somebody_listens(tmp_path: Path) -> None:
    with local_cluster(tmp_path / "third", nodes=1) as third:
        with socket.create_connection(("127.0.0.1", port_of(third)), timeout=60) as connection:
            connection.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            file = connection.makefile("rb")
            assert file.readline().startswith(b"HTTP/1.1 200")
            ended = third.stop()
        assert ended.code == 0
        assert "Traceback" not in ended.errors


def test_a_port_that_was_asked_for_and_is_taken_ends_the_start(port: int, cluster: Cluster, tmp_path: Path) -> None:
    config = tmp_path / "roost.yaml"
    config.write_text(f'node: {{listen: "127.0.0.1:0"}}\napi: {{listen: "127.0.0.1:{port}"}}\nlocal_nodes: 0\n')
    if port == 7480:
        config.write_text(config.read_text().replace(f"127.0.0.1:{port}", f"127.0.0.2:{port}"))
        with socket.create_server(("127.0.0.2", port)):
            answer = cluster.begin("start", home=tmp_path / "home", config=config).wait()
    else:
        answer = cluster.begin("start", home=tmp_path / "home", config=config).wait()
    assert (answer.code, answer.result["code"]) == (9, "busy")


def samples(port: int, path: str = "/metrics") -> dict[str, float]:
    """The samples of a scrape by their name and labels as they are written."""
    code, text = call(port, "GET", path)
    assert code == 200, text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def until_logged(cluster: Cluster, operation: str, *requests: str, within_s: float = 10) -> list[dict[str, Any]]:
    """Wait until the nodes' logs tell of these requests of an operation, which is when it has rested for a second."""
    logs = [node.home / "logs/node.jsonl" for node in cluster.nodes.values()]
    deadline = time.monotonic() + within_s
    while True:
        told = [json.loads(line) for log in logs if log.exists() for line in log.read_text().splitlines()]
        followed = [line for line in told if line.get("operation") == operation]
        if set(requests) <= {line["request"] for line in followed}:
            return followed
        assert time.monotonic() < deadline, followed
        cluster.done("nodes")


def test_stores_made_elsewhere_are_seen_by_the_coordinator_and_in_the_logs_of_nodes(
    cluster: Cluster, port: int, tmp_path: Path
) -> None:
    path = trees.write(tmp_path / "step-3.safetensors", trees.model([300_000], seed=3))
    cluster.done("store", path, "--name", "elsewhere/step-3")
    assert cluster.cli("gather", "no/such", "--to", tmp_path / "x").code == 4
    _, [listing] = call(port, "GET", "/api/v1/operations")
    rows = {(row["kind"], row["name"]): row for row in listing["operations"]}
    stored, gathered = rows["store", "elsewhere/step-3"], rows["gather", "no/such"]
    assert (stored["state"], stored["bytes_done"]) == ("done", path.stat().st_size)
    assert (gathered["state"], gathered["message"]) == ("failed", "no checkpoint is named no/such")
    followed = until_logged(cluster, stored["id"], "Put", "Commit")
    assert {line["node"] for line in followed} <= set(cluster.nodes)


def test_every_node_is_scraped_through_the_coordinator_and_a_dead_one_is_missed(cluster: Cluster, port: int) -> None:
    _, text = call(port, "GET", "/sd")
    targets = {target["labels"]["instance"]: target["labels"]["__metrics_path__"] for target in json.loads(text)}
    assert set(targets) == {"coordinator", *cluster.nodes}
    own = samples(port)
    assert own['roost_store_seconds_count{result="ok"}'] >= 1
    for name in cluster.nodes:
        seen = samples(port, targets[name])
        assert seen["roost_disk_total_bytes"] > seen["roost_disk_free_bytes"] > 0
        assert 'roost_build_info{version="' in "".join(seen)
        assert own[f'roost_node_state{{peer="{name}",state="alive"}}'] == 1
    moved = 'roost_transfer_bytes_total{direction="in",peer="client"}'
    assert sum(samples(port, path).get(moved, 0.0) for name, path in targets.items() if name != "coordinator") > 0
    dead = next(iter(cluster.nodes.values()))
    dead.handle.kill()
    assert call(port, "GET", targets[dead.name])[0] == 503
    assert call(port, "GET", "/sd")[1] == text, "it stays listed"
    assert call(port, "GET", "/metrics/nodes/nobody")[0] == 404
