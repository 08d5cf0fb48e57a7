#!/usr/bin/env python3
"""Writes docs/reference/json.md, what every command prints with --json, from the types of the results.

python scripts/json_reference.py          write it
python scripts/json_reference.py --check  only say whether it is as it must be
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roost.apps.cli import schema

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "json.md"
INTRO = """\
# What the commands print with `--json`

Made by `scripts/json_reference.py` from the types in `src/roost/apps/cli/results.py`, `results_here.py` and
`src/roost/client/results.py`; do not edit it.

Standard output has any number of progress lines, then exactly one result or error, each a JSON object on one line:

```json
{"type": "progress", "event": "progress", "phase": "storing", "bytes_done": 1, "bytes_total": 2, ...}
{"type": "result", "name": "qwen-sft/step-1000", ...}
{"type": "error", "code": "not-found", "message": "...", "hint": "..."}
```

More fields may come, and none goes. Times are RFC 3339 in UTC. The [HTTP API](../guides/seeing.md#for-programs) answers
with the same. The schemas that scripts can check against: `python -m roost.apps.cli.schema COMMAND...`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([INTRO, *_codes(), *_progress(), *_commands()]) + "\n"


def _codes() -> Iterator[str]:
    yield "## Exit codes\n"
    yield "| exit code | name | means | `code` of the error |"
    yield "|---|---|---|---|"
    for number, (name, meaning) in schema.EXIT_CODES.items():
        codes = ", ".join(f"`{code}`" for code, exit_code in sorted(schema.CODES.items()) if exit_code == number)
        yield f"| {number} | {name} | {meaning} | {codes} |"
    yield ""
    yield "An error has a `message` and a `hint` (what to do next; it may be empty). Those of `no-space` may have"
    yield "`bytes_missing`, those of `endangers` `checkpoints`."
    yield ""


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


def main() -> int:
    """Write or check it; 1 when it is not as it must be."""
    if "--check" not in sys.argv[1:]:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    return 0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page() else 1


if __name__ == "__main__":
    sys.exit(main())
