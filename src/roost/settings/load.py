"""The way from a `roost.yaml` to `Settings`: find the file, read it, and say exactly what is wrong with it and where.

The YAML is composed, not constructed: each scalar is taken as it is written and read by its key's own rule, so that
YAML's guesses (``off`` is false, ``1:30`` is ninety) never surprise, and every value keeps its line.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from roost.core.errors import Failed, NotFound, UsageError
from roost.settings.alerting import missing
from roost.settings.paths import SETTINGS_FILE, Home
from roost.settings.schema import KEYS, Items, Key, Scalar, Settings, build

if TYPE_CHECKING:
    from yaml.nodes import MappingNode, Node

FILE_BYTES_MAX = 1024 * 1024
SCALAR_CHARACTERS_MAX = 4096
DEFAULT = "default"

_SECTIONS = frozenset(key.path[:i] for key in KEYS for i, letter in enumerate(key.path) if letter == ".")
_KEYS = {key.path: key for key in KEYS}


@dataclass(frozen=True, slots=True)
class Effective:
    """One value in force: its dotted path, its text, and where it comes from (``FILE:LINE``, or ``default``)."""

    path: str
    text: str
    origin: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings in force, the file they come from (None: defaults only), and each value's origin, in order."""

    settings: Settings
    file: Path | None
    effective: tuple[Effective, ...]


def find_file(config: str | Path | None = None, *, home: Home, working_directory: Path | None = None) -> Path | None:
    """The settings file to read: `config`, else ``roost.yaml`` in the working directory, else the home's, else none.
    NotFound when `config` is given and is not there."""
    here = working_directory or Path.cwd()
    if config is not None:
        given = Path(os.path.abspath(here / Path(config).expanduser()))
        if not given.exists():
            raise NotFound(f"there is no settings file {given}", hint="check the path after --config")
        return given
    return next((file for file in (here / SETTINGS_FILE, home.settings) if file.exists()), None)


def load(config: str | Path | None = None, *, home: Home, working_directory: Path | None = None) -> Loaded:
    """Find, read and check the settings. UsageError names the file, the line and the dotted key of what is wrong;
    Failed when the file cannot be read."""
    file = find_file(config, home=home, working_directory=working_directory)
    if file is None:
        return parse("", file=None)
    try:
        with open(file, "rb") as opened:
            data = opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Failed(
            f"cannot read {file}: {error.strerror}", hint="make it readable, or name another: --config"
        ) from error
    if len(data) > FILE_BYTES_MAX:
        raise UsageError(f"{file} is longer than 1 MiB", hint="is it really a settings file?")
    try:
        return parse(data.decode("utf-8-sig"), file=file)
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text", hint="is it really a settings file?") from error


def parse(text: str, *, file: Path | None) -> Loaded:
    """The settings that `text` makes; `file` is named in messages, and relative folders are taken from beside it."""
    reading = _Reading(file)
    root = _compose(text, file)
    if root is not None:
        reading.section(root, "")
    values = {key.path: reading.values.get(key.path, key.default_value()) for key in KEYS}
    effective = tuple(
        Effective(key.path, key.kind.show(values[key.path]), reading.origins.get(key.path, DEFAULT)) for key in KEYS
    )
    settings = build(values)
    if absent := missing(settings.alerts):
        key, why = absent
        place = next(reading.origins[path] for path in reading.origins if path.startswith(key.rpartition(".")[0]))
        raise UsageError(f"{place}: {key} is missing: {why}", hint=f"add {key}, or remove the rest")
    return Loaded(settings, file, effective)


def _compose(text: str, file: Path | None) -> "Node | None":
    """The tree of YAML nodes, or None for an empty text."""
    if not text.strip():
        return None
    import yaml

    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else str(file)
        problem = getattr(error, "problem", None) or str(error)
        raise UsageError(f"{place}: not YAML: {problem}", hint="see the example in the README") from error
    except RecursionError as error:
        raise UsageError(f"{file}: nested too deeply", hint="is it really a settings file?") from error


@dataclass(slots=True)
class _Reading:
    """A walk over one file's nodes that collects values and their places; each method raises UsageError."""

    file: Path | None
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def section(self, node: "Node", section: str) -> None:
        """Read a mapping of keys; `section` is its dotted path with a dot at the end, or empty for the whole file."""
        if _is_null(node):
            return
        known = [path.removeprefix(section) for path in (*_KEYS, *_SECTIONS) if path.startswith(section)]
        names = [name for name in known if "." not in name]
        mapping = self._mapping(node, section.removesuffix(".") or "the file", names)
        for name, key_node, value_node in self._entries(mapping, section):
            path = section + name
            if "." in name or (path not in _KEYS and path not in _SECTIONS):
                raise self._wrong(key_node, f"unknown key {path}", hint=_meant(path))
            if path in _SECTIONS:
                self.section(value_node, f"{path}.")
            else:
                self._key(_KEYS[path], value_node)

    def _key(self, key: Key, node: "Node") -> None:
        if isinstance(key.kind, Scalar):
            value = self._scalar(key.kind, node, key.path)
        else:
            value = self._items(key.kind, node, key.path)
        if not key.built and value != key.default_value():
            raise self._wrong(
                node,
                f"{key.path}: its feature is not built yet in this release",
                hint=f"remove it, or leave it at its default: {key.kind.show(key.default_value())}",
            )
        self.values[key.path] = value
        self.origins[key.path] = self._place(node)

    def _scalar(self, kind: Scalar, node: "Node", path: str) -> Any:
        from yaml.nodes import ScalarNode

        if not isinstance(node, ScalarNode) or _is_null(node):
            raise self._wrong(
                node, f"{path}: expected {kind.expects}, found {_what(node)}", hint=f"write {kind.expects}"
            )
        if len(node.value) > SCALAR_CHARACTERS_MAX:
            raise self._wrong(node, f"{path}: longer than {SCALAR_CHARACTERS_MAX} characters")
        try:
            return kind.parse(node.value)
        except UsageError as error:
            hint = error.hint or f"write {kind.expects}"
            raise self._wrong(node, f"{path}: {error.message}", hint=hint) from error

    def _items(self, kind: Items, node: "Node", path: str) -> tuple[Any, ...]:
        from yaml.nodes import SequenceNode

        if _is_null(node):
            return ()
        if not isinstance(node, SequenceNode):
            raise self._wrong(
                node, f"{path}: expected {kind.expects}, found {_what(node)}", hint=f"write {kind.expects}"
            )
        if len(node.value) > kind.items_max:
            raise self._wrong(node, f"{path}: more than {kind.items_max} entries")
        if isinstance(kind.item, Scalar):
            scalar = kind.item
            return tuple(self._scalar(scalar, item, f"{path}[{i}]") for i, item in enumerate(node.value))
        assert kind.build is not None
        return tuple(
            self._anchored(kind.build(**self._record(kind.item, item, f"{path}[{i}]")))
            for i, item in enumerate(node.value)
        )

    def _record(self, parts: Mapping[str, tuple[Scalar, str | None]], node: "Node", path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, key_node, value_node in self._entries(self._mapping(node, path, list(parts)), f"{path}."):
            if name not in parts:
                raise self._wrong(
                    key_node, f"unknown key {path}.{name}", hint=f"did you mean {path}.{_nearest(name, tuple(parts))}?"
                )
            found[name] = self._scalar(parts[name][0], value_node, f"{path}.{name}")
        for name, (scalar, default) in parts.items():
            if name not in found and default is None:
                raise self._wrong(node, f"{path}.{name} is missing", hint=f"add {name}: with {scalar.expects}")
            found.setdefault(name, default)
        return found

    def _anchored(self, item: Any) -> Any:
        """`item` with its folder made absolute: relative to the file's own, whatever the working directory."""
        beside = self.file.parent if self.file else Path()
        path = os.path.abspath(beside / os.path.expanduser(item.path))
        return msgspec.structs.replace(item, path=path)

    def _mapping(self, node: "Node", path: str, names: list[str]) -> "MappingNode":
        from yaml.nodes import MappingNode

        if not isinstance(node, MappingNode):
            raise self._wrong(
                node, f"{path}: expected keys and values, found {_what(node)}", hint=f"its keys are {', '.join(names)}"
            )
        return node

    def _entries(self, node: "MappingNode", prefix: str) -> "Iterator[tuple[str, Node, Node]]":
        from yaml.nodes import ScalarNode

        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise self._wrong(key, f"{prefix.removesuffix('.') or 'the file'}: a key must be one word")
            if key.value in seen:
                raise self._wrong(key, f"{prefix}{key.value} is given twice", hint="keep one of the two")
            seen.add(key.value)
            yield key.value, key, value

    def _place(self, node: "Node") -> str:
        return f"{self.file or 'settings'}:{node.start_mark.line + 1}"

    def _wrong(self, node: "Node", message: str, *, hint: str = "") -> UsageError:
        return UsageError(f"{self._place(node)}: {message}", hint=hint or "see the example in the README")


def _meant(path: str) -> str:
    nearest = _nearest(path, (*_KEYS, *_SECTIONS))
    if nearest == path:
        section, _, last = path.rpartition(".")
        return f"write {last}: below {section}:, not with a dot"
    return f"did you mean {nearest}?"


def _nearest(path: str, known: tuple[str, ...]) -> str:
    """The known path most like `path`, as a whole or by its last word alone (a key put into the wrong section)."""

    def likeness(candidate: str) -> tuple[float, float]:
        whole = difflib.SequenceMatcher(None, path, candidate).ratio()
        last = difflib.SequenceMatcher(None, path.rpartition(".")[2], candidate.rpartition(".")[2]).ratio()
        return max(whole, 0.9 * last), whole

    return max(sorted(known), key=likeness)


def _is_null(node: "Node") -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def _what(node: "Node") -> str:
    """A node in words."""
    from yaml.nodes import MappingNode, SequenceNode

    if isinstance(node, MappingNode):
        return "keys and values"
    if isinstance(node, SequenceNode):
        return "a list"
    return "nothing" if _is_null(node) else f"{str(node.value)[:80]!r}"
