"""The reference page of what every command prints with ``--json``, from the types of the results."""

from collections.abc import Iterator
from typing import Any

from roost.apps.cli import schema

HEAD = """\
# JSON

Standard output has any number of progress lines, then exactly one result or [error](errors.md), each a JSON object on
one line:

```json
{"type": "progress", "event": "progress", "phase": "reading", "bytes_done": 1048576, "bytes_total": 2097152}
{"type": "result", "name": "qwen-sft/step-1000"}
{"type": "error", "code": "not-found", "message": "there is no checkpoint a/b", "hint": "see: roost ls"}
```

More fields may come, and none goes. Times are RFC 3339 in UTC. The [HTTP API](http.md) answers with the same. JSON
Schemas to check against: `python -m roost.apps.cli.schema COMMAND...`.

An error of `no-space` may have `bytes_missing`, one of `endangers` `checkpoints`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_progress(), *_commands()]).rstrip("\n")


def _progress() -> Iterator[str]:
    yield "## Progress\n"
    yield "Each line has an `event`. Long commands tell how far they are as the event `progress`, some twice a second;"
    yield "others tell what happened, in `text` or by `name`.\n"
    yield from _fields(schema.progress_schema()["then"])


def _commands() -> Iterator[str]:
    yield "## Results\n"
    types: dict[str, Any] = {}
    for command in schema.commands():
        found, others = schema.components(schema.RESULTS[command])
        types |= others
        yield f"### `roost {command}`\n"
        if not found:
            yield "Is for people, and refuses `--json` (exit code 2).\n"
        for number, each in enumerate(found):
            if number:
                yield "or, as its options ask:\n"
            told = others[each["$ref"].rpartition("/")[2]]
            yield f"{_words(told)}\n"
            yield from _fields(told)
    top = {each.__name__ for kinds in schema.RESULTS.values() for each in kinds}
    yield "## Types\n"
    for name in sorted(set(types) - top):
        yield f"### {name}\n"
        yield f"{_words(types[name])}\n"
        yield from _fields(types[name])


def _words(told: dict[str, Any]) -> str:
    return " ".join(told.get("description", "").split())


def _fields(told: dict[str, Any]) -> Iterator[str]:
    yield "| field | type |"
    yield "|---|---|"
    for name, field in told["properties"].items():
        absent = "" if name in told["required"] else "; may be absent"
        yield f"| `{name}` | {_type(field)}{absent} |"
    yield ""


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(_type(each) for each in field["anyOf"])
    kind = field["type"]
    if kind == "array":
        if "prefixItems" in field:
            return f"list of {', '.join(_type(each) for each in field['prefixItems'])}"
        return f"list of {_type(field['items'])}"
    if kind == "object":
        return f"object of {_type(field['additionalProperties'])}"
    return str(kind)
