"""The reference page of the HTTP API, from what the application says of itself."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast
from unittest.mock import MagicMock

import msgspec

from roost.apps.api.app import make_app
from roost.node import Inside

HEAD = """\
# HTTP

The coordinator answers at `api.listen`, on loopback by default. `/openapi.json` there says the same to programs,
`/docs` to people. [Seeing it](../guides/seeing.md) has examples, how errors are told, and when a token is asked for.
Answers have the fields of the command's `--json`. `/metrics` and `/sd` are for Prometheus, and are not told of here."""


def page() -> str:
    """Each path with what it takes."""
    found = description()
    parts = [HEAD]
    for path, methods in found["paths"].items():
        for method, about in methods.items():
            parts += ["", f"## {method.upper()} {path}", "", f"{about['summary']}."]
            rows = [*_parameters(about), *_body(about)]
            if rows:
                parts += ["", "| | |", "|---|---|", *rows]
    return "\n".join(parts)


def description() -> dict[str, Any]:
    """The OpenAPI description, asked of the application itself; no cluster stands behind it."""
    nobody: Any = MagicMock()  # it is asked for its parts, and none of them is used
    app = cast(Any, make_app(cast(Inside, nobody), nobody, nobody, token=None, grace_s=0.0))
    sent: list[dict[str, Any]] = []

    async def ask() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": "/openapi.json", "raw_path": b"/openapi.json", "query_string": b"", "root_path": "",
            "headers": [(b"host", b"127.0.0.1:7480")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 7480),
        }  # fmt: skip
        await app(scope, receive, send)

    asyncio.run(ask())
    body = b"".join(message.get("body", b"") for message in sent)
    return cast(dict[str, Any], msgspec.json.decode(body))


def _parameters(about: dict[str, Any]) -> Iterator[str]:
    for parameter in about.get("parameters", ()):
        where = "in the path" if parameter["in"] == "path" else "after the `?`"
        yield f"| `{parameter['name']}` | {where}: {_kind(parameter['schema'])} |"


def _body(about: dict[str, Any]) -> Iterator[str]:
    schema = about.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if schema is None:
        return
    for name, kind in schema["properties"].items():
        needed = name in schema.get("required", ())
        yield f"| `{name}` | in the JSON body{', required' if needed else ''}: {_kind(kind)} |"


def _kind(schema: dict[str, Any]) -> str:
    """A type in words; what names its values elsewhere is a text."""
    kinds = [part.get("type", "string") for part in schema.get("anyOf", [schema])]
    words = {"string": "text", "boolean": "true or false", "integer": "whole number", "array": "list of texts"}
    return " or ".join(words.get(kind, kind) for kind in kinds if kind != "null")
