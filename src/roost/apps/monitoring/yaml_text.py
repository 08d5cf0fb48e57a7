"""YAML as it is written here: templates whose holes are filled with quoted texts, and plain trees of values."""

import json
from collections.abc import Mapping
from typing import Any


def quoted(text: str) -> str:
    """A text as YAML reads it in any place: in single quotes, or with escapes where those cannot hold it."""
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    escaped = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"{"".join(escaped)}"'


def tree(value: Any, indent: int = 0) -> str:
    """Mappings, lists, texts and numbers, a line each, `indent` spaces in. Texts are quoted: ``on`` stays a text."""
    return "".join(f"{' ' * indent}{line}\n" for line in _lines(value))


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping) and value:
        return [line for key, part in value.items() for line in _below(f"{key}:", part)]
    if isinstance(value, list | tuple) and value:
        return [line for part in value for line in _item(part)]
    return [_scalar(value)]


def _below(head: str, value: Any) -> list[str]:
    if isinstance(value, Mapping | list | tuple) and value:
        return [head, *(f"  {line}" for line in _lines(value))]
    return [f"{head} {_scalar(value)}"]


def _item(value: Any) -> list[str]:
    first, *rest = _lines(value)
    return [f"- {first}", *(f"  {line}" for line in rest)]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    return json.dumps(value)
