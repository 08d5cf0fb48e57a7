"""What OpenAPI says of the answers, held against the answers."""

import json
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from cli_stand_in import NODE, STATUS, StandInCluster, verdict
from roost.client import RemoveResult, WatchRow
from roost.node import Inside
from unit.apps.api.test_api import serve

LOOKS = (
    "status",
    "nodes",
    "checkpoints",
    "checkpoints/run/step-7",
    "checkpoints/run/step-7?map=true",
    "series",
    "watching",
    "operations",
)
DOES = {
    "store": {"path": "/x"}, "gather": {"reference": "run/step-7", "to": "/y"}, "verify": {}, "repair": {},
    "drain": {"node": "pi-1"}, "remove": {"reference": "run/step-7"}, "undelete": {"reference": "run/step-7@1-abcdef"},
}  # fmt: skip


def cluster() -> StandInCluster:
    """One with something in every list."""
    return StandInCluster(
        found=replace(STATUS, watching=(WatchRow("/runs", (("step-8", "still written"),)),), nodes=(NODE,)),
        verdicts=(verdict("degraded", ("ab" * 32, "pi-1")),),
        removed=RemoveResult((("run/step-7", "1-abcdef"),), ("pi-1",), True, False, 7),
    )


def strict(told: Any) -> Any:
    """A schema that allows no field which it does not name; `type` stands beside those of a result."""
    if isinstance(told, list):
        return [strict(each) for each in told]
    if not isinstance(told, dict):
        return told
    found = {key: strict(part) for key, part in told.items()}
    if "title" in told and "properties" in told:
        found["properties"]["type"] = {}
        found["additionalProperties"] = False
    return found


def schema_at(description: Any, path: str, method: str, kind: str) -> Any:
    """What the description says of the good answer; there is no other kind of it."""
    path = f"/api/v1/{'checkpoints/{reference}' if path.startswith('checkpoints/') else path}"
    responses = description["paths"][path][method]["responses"]
    assert "default" in responses, "errors are described too"
    assert list(responses["200"]["content"]) == [kind]
    return strict(responses["200"]["content"][kind]["schema"])


@pytest.mark.parametrize("path", LOOKS)
def test_an_answer_is_as_it_is_described(path: str) -> None:
    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        description = (await client.get("/openapi.json")).json()
        answer = await client.get(f"/api/v1/{path}")
        assert answer.status_code == 200
        Draft202012Validator(schema_at(description, path, "get", "application/json")).validate(answer.json())

    serve(scenario, cluster())


@pytest.mark.parametrize("path", list(DOES))
def test_what_is_done_is_told_as_it_is_described(path: str) -> None:
    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        description = (await client.get("/openapi.json")).json()
        answer = await client.post(f"/api/v1/{path}", content=json.dumps(DOES[path]))
        assert answer.status_code == 200
        kind = answer.headers["content-type"].partition(";")[0]
        validator = Draft202012Validator(schema_at(description, path, "post", kind))
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert lines
        for line in lines:
            validator.validate(line)

    serve(scenario, cluster())


def test_a_schema_is_told_whole_and_wrong_answers_do_not_fit_it() -> None:
    async def scenario(client: httpx.AsyncClient, inside: Inside) -> None:
        text = (await client.get("/openapi.json")).text
        assert "$defs" not in text
        told = schema_at(json.loads(text), "nodes", "get", "application/json")
        assert not Draft202012Validator(told).is_valid({"nodes": [{"id": "x"}]})
        assert not Draft202012Validator(told).is_valid({"nodes": [], "more": 1})
        assert Draft202012Validator(told).is_valid({"nodes": []})

    serve(scenario, cluster())
