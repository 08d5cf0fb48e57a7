"""What OpenAPI says of bodies and answers: the schemas of the very types that are read and written."""

from collections.abc import Mapping
from typing import Any

import msgspec

from roost.apps.cli import schema

NDJSON = "application/x-ndjson"
JSON = "application/json"
Extra = dict[str, Any]


def takes(kind: type[msgspec.Struct]) -> Extra:
    """A body that is a `kind`."""
    found, others = msgspec.json.schema_components([kind])
    return {"requestBody": {"content": {JSON: {"schema": _whole(found[0], others)}}}}


def gives(kind: type[msgspec.Struct]) -> Extra:
    """An answer that is a `kind`, or an error."""
    found, others = schema.components((kind,))
    return {"responses": {**_responses(JSON, "the answer", _whole(found[0], others)), **_ERROR}}


def runs(kind: type[msgspec.Struct], command: str) -> Extra:
    """A body that is a `kind`, and an answer of lines as they come, the same as `command` prints."""
    told = schema.schema_of(command)
    lines = {"oneOf": [_whole(each, told["$defs"]) for each in told["oneOf"]]}
    responses = {**_responses(NDJSON, "lines, each of which is one of these", lines), **_ERROR}
    return {**takes(kind), "responses": responses}


EVENTS: Extra = {"responses": {"200": {"description": "events, as they happen", "content": {"text/event-stream": {}}}}}
"""An answer of server-sent events."""


def _responses(kind: str, what: str, told: schema.Schema) -> Extra:
    return {"200": {"description": what, "content": {kind: {"schema": told}}}}


_ERROR: Extra = {"default": {"description": "an error", "content": {JSON: {"schema": schema.error_schema()}}}}


def _whole(told: Any, others: Mapping[str, Any]) -> Any:
    """A schema with those that it refers to in their places."""
    if isinstance(told, list):
        return [_whole(each, others) for each in told]
    if not isinstance(told, dict):
        return told
    if "$ref" in told:
        return _whole(others[told["$ref"].rpartition("/")[2]], others)
    return {key: _whole(part, others) for key, part in told.items()}
