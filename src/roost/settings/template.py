"""A template of what a webhook sends: text or JSON with words in braces, such as `{title}`, that are filled in.

Where the template is JSON, only its strings are filled, and written as JSON again: whatever a field holds, the result
is JSON. A string that is `{priority}` and nothing else becomes a number.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from roost.core.errors import UsageError

FIELDS = ("title", "text", "state", "severity", "priority", "cluster", "machine", "secret")
"""What may stand in braces. `state` is firing, resolved, repeated or test; `severity` critical, warning or info;
`priority` 5, 3 or 2, as ntfy counts; `secret` what the home keeps beside the settings."""
TEMPLATES: Mapping[str, str] = {
    "": '{"title": "{title}", "text": "{text}", "state": "{state}", "severity": "{severity}", "cluster": "{cluster}"}',
    "ntfy": "{text}",
    "slack": '{"text": "*{title}*\\n{text}"}',
    "discord": '{"content": "**{title}**\\n{text}"}',
}
"""Templates that have names."""
HEADERS: Mapping[str, tuple[str, ...]] = {"ntfy": ("Title: {title}", "Priority: {priority}")}
"""Headers that go with them."""
CHARACTERS_MAX = {"discord": 1900, "slack": 3000, "ntfy": 3800}
"""The longest text that these services take; a longer one is cut."""
TEXT_CHARACTERS_MAX = 4000
"""For all others; it is near what Telegram takes."""

_FIELD = re.compile(r"\{([a-z_]*)\}")
_JSON = re.compile(r'\s*(\{\s*["}]|\[)')
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: *\S.*\Z")
_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent."""

    data: bytes
    content_type: str


def check_template(text: str) -> str:
    """`text`, if it is the name of a template or can be one; else UsageError."""
    _check_fields(text)
    if _JSON.match(text):
        try:
            json.loads(text)
        except ValueError as error:
            raise UsageError(
                f"looks like JSON and is none: {error}", hint='words in braces stand inside of strings: "{title}"'
            ) from error
    elif re.fullmatch(r"[a-z0-9-]+", text) and text not in TEMPLATES:
        known = ", ".join(name for name in TEMPLATES if name)
        raise UsageError(
            f"no template has the name {text[:80]!r}", hint=f"write one of {known}, or the template itself"
        )
    return text


def check_header(text: str) -> str:
    """`text`, if it is a header such as ``Authorization: Bearer {secret}``; else UsageError."""
    if not _HEADER.match(text) or not text.isprintable():
        raise UsageError(f"not a header: {text[:80]!r}", hint='write one like "Authorization: Bearer {secret}"')
    _check_fields(text)
    return text


def check_url(text: str) -> str:
    """`text`, if it is empty or the URL of a webhook; else UsageError. It may have ``{secret}`` in it."""
    if text and not re.fullmatch(r"https?://[^\s/?#@]+([/?][^\s#]*)?", text):
        raise UsageError("not the URL of a webhook", hint="write one that begins with https:// (or http://)")
    if set(_FIELD.findall(text)) - {"secret"}:
        raise UsageError("only {secret} can be filled into a URL", hint="put all else into alerts.webhook.template")
    return text


def _check_fields(text: str) -> None:
    for name in _FIELD.findall(text):
        if name not in FIELDS:
            raise UsageError(f"nothing is known as {{{name}}}", hint=f"known are {', '.join(FIELDS)}, each in braces")


def fill(text: str, fields: Mapping[str, str]) -> str:
    """`text` with the words in braces replaced."""
    return _FIELD.sub(lambda match: fields.get(match[1], match[0]), text)


def fill_body(template: str, fields: Mapping[str, str]) -> Body:
    """What a template, or that of such a name, makes of `fields`."""
    most = CHARACTERS_MAX.get(template, TEXT_CHARACTERS_MAX)
    values = {**fields, "text": cut(fields["text"], most)}
    if template == "slack":
        values = {name: value.translate(_SLACK) for name, value in values.items()}
    text = TEMPLATES.get(template, template)
    if not _JSON.match(text):
        return Body(fill(text, values).encode(), "text/plain; charset=utf-8")
    filled = _walk(json.loads(text), lambda string: _fill_string(string, values))
    return Body(json.dumps(filled, ensure_ascii=False).encode(), "application/json")


def headers_of(template: str, own: tuple[str, ...], fields: Mapping[str, str]) -> dict[str, str]:
    """The headers that go with a template, and `own`, filled in."""
    found: dict[str, str] = {}
    for line in (*HEADERS.get(template, ()), *own):
        name, _, value = line.partition(":")
        found[name] = " ".join(fill(value, fields).split())
    return found


def cut(text: str, most: int) -> str:
    """At most so many characters of `text`."""
    return text if len(text) <= most else f"{text[: most - 4].rstrip()} ..."


def _fill_string(string: str, values: Mapping[str, str]) -> str | int:
    filled = fill(string, values)
    return int(filled) if string == "{priority}" else filled


def _walk(value: Any, change: Callable[[str], str | int]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_walk(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _walk(item, change) for key, item in value.items()}
    return value
