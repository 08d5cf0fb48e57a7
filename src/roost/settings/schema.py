"""Every key of `roost.yaml`: its name, its default, what it may hold, and whether its feature is built in this release.

`KEYS` is the one table of it; the structs below it are what the rest of Roost sees. Sizes are bytes, rates bytes a
second, durations seconds. `load` turns a file into them.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from roost.core.checkpoint import CHUNK_BYTES_MAX, Redundancy
from roost.core.cluster import Address
from roost.core.errors import UsageError
from roost.core.ids import parse_checkpoint_name
from roost.settings.alerting import Alerts, MailServer, mailbox, recipient
from roost.settings.paths import LOCAL_NODES_MAX
from roost.settings.template import check_header, check_template, check_url
from roost.settings.units import format_duration, format_rate, format_size, parse_duration, parse_rate, parse_size

CHUNK_SIZE_MIN = 64 * 1024
CLUSTER_NAME_BYTES_MAX = 63
"""A label in discovery (RFC 6763) and a certificate's common name (RFC 5280: 64) both hold it."""
WATCH_MAX = 64
PEERS_MAX = 256
RECIPIENTS_MAX = 64
HEADERS_MAX = 16


class WatchFolder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder whose finished checkpoints are stored by themselves. `path` is absolute once the file is loaded; `name`
    is the prefix of the stored names, or empty."""

    path: str
    name: str


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept when nothing says otherwise; 0 keeps all."""

    keep_last: int
    keep_every: int
    undelete_s: int = msgspec.field(name="undelete")


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes a second; 0 is no limit."""

    up: int
    down: int


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`reserve` bytes of the disk stay free; `capacity` 0 is the whole disk."""

    listen: Address
    reserve: int
    capacity: int


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """Where the coordinator answers HTTP."""

    listen: Address


class Discovery(msgspec.Struct, frozen=True, kw_only=True):
    """`peers` are addresses to try besides those remembered."""

    mdns: bool
    broadcast: bool
    peers: tuple[Address, ...]


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """How long a copy may be missing before it is made again, and at how many bytes a second."""

    grace_s: int = msgspec.field(name="grace")
    rate: int


class Scrub(msgspec.Struct, frozen=True, kw_only=True):
    """How often everything is read back (0: never), and at how many bytes a second."""

    every_s: int = msgspec.field(name="every")
    rate: int


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings, checked."""

    cluster: str
    redundancy: Redundancy
    chunk_size: int
    compression: Literal["auto", "off"]
    watch: tuple[WatchFolder, ...]
    retention: Retention
    limit: Limit
    local_nodes: int
    node: NodeSettings
    api: Api
    discovery: Discovery
    repair: Repair
    scrub: Scrub
    alerts: Alerts


@dataclass(frozen=True, slots=True)
class Scalar:
    """What one YAML scalar may be. `parse` takes its text as written (so that `off` is a word and `2` may be a text)
    and raises UsageError; `show` is the text of a value."""

    expects: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str


@dataclass(frozen=True, slots=True)
class Items:
    """A list of at most `items_max` scalars, or of mappings with the given scalars (None as default: required)."""

    expects: str
    items_max: int
    item: Scalar | Mapping[str, tuple[Scalar, str | None]]
    build: Callable[..., Any] | None = None

    def show(self, values: tuple[Any, ...]) -> str:
        return f"[{', '.join(self._show_item(value) for value in values)}]"

    def _show_item(self, value: Any) -> str:
        if isinstance(self.item, Scalar):
            return self.item.show(value)
        return f"{{{', '.join(f'{key}: {json.dumps(getattr(value, key), ensure_ascii=False)}' for key in self.item)}}}"


@dataclass(frozen=True, slots=True)
class Key:
    """One key by its dotted path. `default` is the text that the file might say (of a list: always empty); a key that
    is not `built` may be written, but only at its default."""

    path: str
    default: str
    kind: Scalar | Items
    built: bool = field(default=True, kw_only=True)

    def default_value(self) -> Any:
        return self.kind.parse(self.default) if isinstance(self.kind, Scalar) else ()


def build(values: Mapping[str, Any]) -> Settings:
    """The settings that `values`, one for each of `KEYS` by dotted path, make."""
    settings: Settings = _build(Settings, "", values)
    return settings


def _build(kind: type[msgspec.Struct], prefix: str, values: Mapping[str, Any]) -> Any:
    parts: dict[str, Any] = {}
    for part in msgspec.structs.fields(kind):
        path = prefix + part.encode_name
        nested = isinstance(part.type, type) and issubclass(part.type, msgspec.Struct)
        parts[part.name] = _build(part.type, f"{path}.", values) if nested else values[path]
    return kind(**parts)


def _one_of(*words: str) -> Scalar:
    def parse(text: str) -> str:
        if text not in words:
            raise UsageError(f"not one of {', '.join(words)}: {text[:80]!r}")
        return text

    return Scalar(" or ".join(words), parse)


def _whole_number(least: int, most: int) -> Scalar:
    expects = f"a whole number from {least} to {most}"

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 19 and least <= int(text) <= most):
            raise UsageError(f"not {expects}: {text[:80]!r}")
        return int(text)

    return Scalar(expects, parse)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "yes", "on", "false", "no", "off"):
        raise UsageError(f"neither true nor false: {text[:80]!r}")
    return text.lower() in ("true", "yes", "on")


def _cluster_name(text: str) -> str:
    if not text.isprintable() or text != text.strip() or not 1 <= len(text.encode()) <= CLUSTER_NAME_BYTES_MAX:
        raise UsageError(f"not a cluster's name: {text[:80]!r}", hint="use 1 to 63 bytes of printable text, like home")
    return text


def _name_prefix(text: str) -> str:
    return parse_checkpoint_name(text) if text else ""


def _folder(text: str) -> str:
    if not text or "\0" in text:
        raise UsageError("not a folder", hint="give a path, relative to the settings file or absolute")
    return text


def _chunk_size(text: str) -> int:
    size = parse_size(text)
    if not CHUNK_SIZE_MIN <= size <= CHUNK_BYTES_MAX:
        raise UsageError(
            f"{text[:80]!r} is out of range",
            hint=f"a chunk has {format_size(CHUNK_SIZE_MIN)} to {format_size(CHUNK_BYTES_MAX)}",
        )
    return size


def _at_least_a_second(text: str) -> int:
    if (seconds := parse_duration(text)) < 1:
        raise UsageError(f"too short: {text[:80]!r}", hint="write a duration like 30s")
    return seconds


def _quoted_if_empty(text: str) -> str:
    return text or '""'


def _on_one_line(text: str) -> str:
    return text if text and text.isprintable() else json.dumps(text, ensure_ascii=False)


_SIZE = Scalar("a size like 1GiB", parse_size, format_size)
_RATE = Scalar("a rate like 20MiB/s", parse_rate, format_rate)
_DURATION = Scalar("a duration like 10m", parse_duration, format_duration)
_EVERY = Scalar("a duration of a second or more", _at_least_a_second, format_duration)
_TRUTH = Scalar("true or false", _truth, lambda value: "true" if value else "false")
_ADDRESS = Scalar("HOST:PORT", Address.parse)
_MAIL_SERVER = Scalar("a mail server like smtp://USER@HOST:587", MailServer.parse, lambda v: _quoted_if_empty(str(v)))
_MAILBOX = Scalar("an address of mail", mailbox, _quoted_if_empty)
_COUNT = _whole_number(0, 1_000_000_000)
_WATCH = Items(
    "a list of {path: FOLDER, name: PREFIX}",
    WATCH_MAX,
    {"path": (Scalar("a folder", _folder), None), "name": (Scalar("a checkpoint name", _name_prefix), "")},
    WatchFolder,
)

KEYS: tuple[Key, ...] = (
    Key("cluster", "home", Scalar("a text", _cluster_name)),
    Key("redundancy", "2", Scalar('"2" or "3"', Redundancy.parse)),
    Key("chunk_size", "8MiB", Scalar("a size like 8MiB", _chunk_size, format_size)),
    Key("compression", "auto", _one_of("auto", "off")),
    Key("watch", "", _WATCH),
    Key("retention.keep_last", "0", _COUNT, built=False),
    Key("retention.keep_every", "0", _COUNT, built=False),
    Key("retention.undelete", "7d", _DURATION),
    Key("limit.up", "0", _RATE, built=False),
    Key("limit.down", "0", _RATE, built=False),
    Key("local_nodes", "0", _whole_number(0, LOCAL_NODES_MAX)),
    Key("node.listen", "0.0.0.0:7400", _ADDRESS),
    Key("node.reserve", "1GiB", _SIZE),
    Key("node.capacity", "0", _SIZE),
    Key("api.listen", "127.0.0.1:7480", _ADDRESS),
    Key("discovery.mdns", "true", _TRUTH),
    Key("discovery.broadcast", "true", _TRUTH),
    Key("discovery.peers", "", Items("a list of HOST:PORT", PEERS_MAX, _ADDRESS)),
    Key("repair.grace", "10m", _DURATION),
    Key("repair.rate", "20MiB/s", _RATE),
    Key("scrub.every", "30d", _DURATION),
    Key("scrub.rate", "10MiB/s", _RATE),
    Key("alerts.email.smtp", "", _MAIL_SERVER),
    Key("alerts.email.from", "", _MAILBOX),
    Key("alerts.email.to", "", Items("a list of addresses", RECIPIENTS_MAX, Scalar("an address of mail", recipient))),
    Key("alerts.webhook.url", "", Scalar("a URL", check_url, _quoted_if_empty)),
    Key("alerts.webhook.template", "", Scalar("a template, or the name of one", check_template, _on_one_line)),
    Key("alerts.webhook.headers", "", Items("a list of headers", HEADERS_MAX, Scalar("a header", check_header))),
    Key("alerts.node_down", "5m", _DURATION),
    Key("alerts.backup_age", "7d", _DURATION),
    Key("alerts.hot", "85", _whole_number(1, 1000)),
    Key("alerts.slow", "1MiB/s", _RATE),
    Key("alerts.every", "30s", _EVERY),
    Key("alerts.repeat", "1d", _DURATION),
)


def default_settings() -> Settings:
    """What holds when no file says anything."""
    return build({key.path: key.default_value() for key in KEYS})
