"""The API's answers: the same values as ``--json``, errors as they are there, filters, lines, events, metrics."""

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any, cast

import httpx
import pytest
from msgspec.structs import replace

from cli_stand_in import NODE, STATUS, StandInCluster, row
from roost.apps.api.app import make_app
from roost.apps.api.series import Series
from roost.apps.vitals import Vitals
from roost.client import AsyncCluster
from roost.core.errors import Damaged, NotFound, Unreachable
from roost.core.ids import NodeId
from roost.core.runtime import SystemRuntime
from roost.node import Event, History, Inside
from roost.node.operations import Operations
from roost.observe.metrics import Tally
from roost.wire.observing import Report

Scenario = Callable[[httpx.AsyncClient, Inside], Awaitable[None]]


def serve(scenario: Scenario, cluster: StandInCluster, *, token: str | None = None) -> None:
    """Run `scenario` with a client of the application."""

    async def main() -> None:
        async def told(url: str, text: str) -> None:
            raise AssertionError("nobody serves here")

        async def metrics() -> bytes:
            made.append(1)
            return b"roost_made %d\n" % len(made)

        made: list[int] = []
        operations = Operations(SystemRuntime(), Tally(), own=NodeId("0" * 32), called=str)
        pending = [("/runs", [("step-8", "still written")])]
        inside = Inside(
            cast(AsyncCluster, cluster), History(lambda: 1000.0), lambda: pending, told, operations, metrics
        )  # fmt: skip
        vitals = Vitals(cluster.node_metrics, lambda: 0.0)
        series = Series(nodes=cluster.nodes, operations=operations.rows, wall=lambda: 1000.0)
        with contextlib.suppress(ZeroDivisionError):
            await series.sample()
        app = cast(Any, make_app(inside, series, vitals, token=token, grace_s=600.0))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7480") as client:
            await scenario(client, inside)

    asyncio.run(main())


def test_what_is_looked_at_is_what_the_commands_say() -> None:
    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        status = (await client.get("/api/v1/status")).json()
        assert (status["cluster"], status["verdict"][:12], status["nodes"][0]["name"]) == (
            "home",
            "All is well:",
            NODE.name,
        )
        assert status["vitals"][NODE.id] == {"rate_in": None, "rate_out": None, "temperature_celsius": None}
        assert (await client.get("/api/v1/nodes")).json()["nodes"][0]["state"] == "alive"
        shown = (await client.get("/api/v1/checkpoints/run/step-7")).json()
        assert shown["files"][0]["path"] == "model.safetensors"
        [waiting] = (await client.get("/api/v1/watching")).json()["watching"]
        assert waiting["pending"] == [{"name": "step-8", "waits_for": "still written"}]

        drawn = (await client.get("/api/v1/checkpoints/run/step-7?map=true")).json()
        assert (drawn["files"], drawn["chunks"], drawn["map"]["files"]) == ([], [], 1)
        assert [strip["node"] for strip in drawn["map"]["nodes"]] == ["pi-1", "pi-2"]
        assert (await client.get("/api/v1/series")).json()["used"] == [10]
        assert (await client.get("/api/v1/series?since=1000")).json()["used"] == []

    serve(scenario, StandInCluster())


def test_what_is_wrong_comes_with_what_is_done_about_it() -> None:
    cluster = StandInCluster()
    cluster.found = replace(STATUS, by_health={"degraded": 1}, nodes=(NODE, replace(NODE, name="pi-2", state="down")))

    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        assert "Waiting 10 min for pi-2" in (await client.get("/api/v1/status")).json()["doing"]

    serve(scenario, cluster)


def test_the_list_is_filtered_by_run_step_and_time() -> None:
    rows = (
        row("a/step-1", stored_at="2025-01-01T00:00:00Z"), row("a/step-20", stored_at="2025-02-01T00:00:00Z"),
        row("a/step-3", stored_at="2025-03-01T00:00:00Z"), row("a/b/step-9", stored_at="2025-03-01T00:00:00Z"),
    )  # fmt: skip
    cluster = StandInCluster()
    cluster.listing = replace(cluster.listing, checkpoints=rows)

    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        async def names(query: str) -> list[str]:
            answer = await client.get(f"/api/v1/checkpoints?{query}")
            assert answer.status_code == 200, answer.text
            return [each["name"] for each in answer.json()["checkpoints"]]

        assert await names("run=a") == ["a/step-1", "a/step-20", "a/step-3"]
        assert await names("run=a&sort=step") == ["a/step-1", "a/step-3", "a/step-20"]
        assert await names("step_min=2&step_max=10") == ["a/step-3", "a/b/step-9"]
        assert await names("since=2025-02-01&limit=1&sort=time") == ["a/b/step-9"]
        for wrong in ("limit=0", "sort=colour", "since=yesterday", "step_min=x"):
            answer = await client.get(f"/api/v1/checkpoints?{wrong}")
            assert (answer.status_code, answer.json()["code"]) == (400, "usage"), wrong

    serve(scenario, cluster)


@pytest.mark.parametrize(
    ("error", "status"), [(NotFound("no such"), 404), (Unreachable("away"), 503), (Damaged("bits"), 422)]
)
def test_errors_are_those_of_the_commands(error: Exception, status: int) -> None:
    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        answer = await client.get("/api/v1/checkpoints/run/step-7")
        assert (answer.status_code, answer.json()["type"]) == (status, "error")
        lines = (await client.post("/api/v1/verify", content="{}")).text.splitlines()
        assert json.loads(lines[-1])["type"] == "error"
        assert (await client.get("/api/v1/nothing")).json()["code"] == "not-found"
        assert (await client.put("/api/v1/status")).status_code == 405

    serve(scenario, StandInCluster(error=error))


def test_a_bug_is_told_as_one() -> None:
    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        answer = await client.get("/api/v1/nodes")
        assert (answer.status_code, answer.json()["code"]) == (500, "bug")

    serve(scenario, StandInCluster(error=ZeroDivisionError("zero")))


def test_events_are_a_stream_that_goes_on_from_where_it_was() -> None:
    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        for kind in ("ready", "stored", "recovery-code"):
            inside.history.add(Event(kind, f"it is {kind}", {"secret": 1}))
        asyncio.get_running_loop().call_later(0.1, inside.history.close)
        answer = await client.get("/api/v1/events", headers={"Last-Event-ID": "1"})
        told = answer.text.strip().split("\n\n")
        assert [each.splitlines()[0] for each in told] == ["id: 2", "id: 3"]
        assert "secret" in told[0]
        assert "secret" not in told[1]
        assert (await client.get("/api/v1/events")).text == "", "it has ended"

    serve(scenario, StandInCluster())


def test_a_number_of_the_coordinator_before_this_one_begins_anew() -> None:
    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        inside.history.add(Event("ready", "it is ready"))
        asyncio.get_running_loop().call_later(0.1, inside.history.close)
        answer = await client.get("/api/v1/events", headers={"Last-Event-ID": "99"})
        assert "id: 1\nevent: ready" in answer.text

    serve(scenario, StandInCluster())


def test_long_operations_answer_with_lines_as_they_run() -> None:
    cluster = StandInCluster(moves=(500, 500))

    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        answer = await client.post("/api/v1/store", content=json.dumps({"path": "/x/step-7", "name": "run/step-7"}))
        last = json.loads(answer.text.splitlines()[-1])
        assert (answer.headers["content-type"], last["type"], last["copies"]) == ("application/x-ndjson", "result", 2)
        for wrong in ("{", '{"path": 3}', '{"path": "x", "colour": 1}', "[]", '{"name": "x"}'):
            answer = await client.post("/api/v1/store", content=wrong)
            assert (answer.status_code, answer.json()["code"]) == (400, "usage"), wrong
        assert (await client.post("/api/v1/store", content=b"x" * 2_000_000)).status_code == 400

    serve(scenario, cluster)


def test_strangers_get_nothing_and_the_token_opens_the_page() -> None:
    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        for path in ("/", "/api/v1/status", "/metrics", "/docs", "/openapi.json", "/page.js"):
            assert (await client.get(path)).status_code == 401, path
        assert (await client.get("/?token=wrong")).status_code == 401
        let_in = await client.get("/?token=secret")
        assert (let_in.status_code, let_in.headers["location"]) == (303, "/")
        assert "HttpOnly; SameSite=Strict" in let_in.headers["set-cookie"]
        assert (await client.get("/")).status_code == 200

    serve(scenario, StandInCluster(), token="secret")


def test_the_page_loads_nothing_from_elsewhere() -> None:
    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        names = [path.name for path in files("roost.apps.api").joinpath("web").iterdir() if path.is_file()]
        asked = {"page.html": "", "docs.html": "docs"}
        assert {"page.html", "page.js", "charts.js"} <= set(names)
        for path in [f"/{asked.get(name, name)}" for name in names]:
            answer = await client.get(path)
            assert answer.status_code == 200, path
            assert "default-src 'self'" in answer.headers["content-security-policy"]
            assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", answer.text), path
            again = await client.get(path, headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        assert (await client.get("/vendored/uPlot.iife.min.js")).text.startswith(
            "/*! https://github.com/leeoniya/uPlot"
        )
        assert (await client.get("/vendored/uPlot.LICENSE")).status_code == 404

    serve(scenario, StandInCluster())


def test_prometheus_finds_every_node_and_is_told_of_those_that_are_down() -> None:
    cluster = StandInCluster()

    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        texts = await asyncio.gather(*(client.get("/metrics") for _ in range(5)))
        assert {answer.text for answer in texts} == {"roost_made 1\n"}, "made once for all"
        targets = (await client.get("/sd")).json()
        assert [(t["labels"]["role"], t["labels"]["instance"]) for t in targets] == [
            ("coordinator", "coordinator"), ("node", "pi-1"), ("node", "pi-9"),
        ]  # fmt: skip
        assert {t["targets"][0] for t in targets} == {"127.0.0.1:7480"}
        for target in targets[1:]:
            answer = await client.get(target["labels"]["__metrics_path__"])
            assert (answer.status_code, answer.text[:14]) == (200, "roost_objects ")
        cluster.error = Unreachable("pi-9 did not answer")
        assert (await client.get(targets[2]["labels"]["__metrics_path__"])).status_code == 503

    serve(scenario, cluster)


def test_operations_are_listed_and_told_as_they_move() -> None:
    report = Report(b"id-1", "store", "run/step-1", "running", 1.5, 10, 1000, "pi-1")

    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        def happen() -> None:
            inside.operations.take(NodeId("a" * 32), replace(report, state="done"))
            inside.history.add(Event("ready", "it is ready", {}))
            asyncio.get_running_loop().call_later(0.1, inside.history.close)

        inside.operations.take(NodeId("a" * 32), report)
        [row] = (await client.get("/api/v1/operations")).json()["operations"]
        assert (row["id"], row["from"], row["state"], row["bytes_done"]) == (b"id-1".hex(), "a" * 32, "running", 10)
        asyncio.get_running_loop().call_later(0.1, happen)
        told = (await client.get("/api/v1/events")).text.strip().split("\n\n")
        assert sorted(each.splitlines()[-2] for each in told) == ["event: operation", "event: ready"]
        assert '"state":"done"' in "".join(told)

    serve(scenario, StandInCluster())


def test_every_route_is_in_the_openapi_page() -> None:
    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        paths = (await client.get("/openapi.json")).json()["paths"]
        assert {"/api/v1/status", "/api/v1/checkpoints", "/api/v1/store", "/api/v1/events"} <= paths.keys()
        assert all(way["summary"] for each in paths.values() for way in each.values())
        assert all("requestBody" in each["post"] for each in paths.values() if "post" in each)
        body = paths["/api/v1/store"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert (body["required"], sorted(body["properties"])) == (["path"], ["name", "path", "redundancy"])

    serve(scenario, StandInCluster())
