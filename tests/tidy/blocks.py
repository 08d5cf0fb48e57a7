"""The rules of what the documents show in code blocks: commands that exist, settings that load, Python that is Python,
excerpts that stand in the file that they name, and files that are there."""

import ast
import re
import shlex
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from roost.apps.cli.commands import COMMANDS, Command
from roost.core.errors import RoostError
from roost.settings.load import load
from roost.settings.paths import Home
from roost.settings.schema import KEYS
from tidy.source import Violation

_FENCE = re.compile(r"^(?P<mark>```+|~~~+)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=mark)[^\n]*$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`((?:[\w./$\"()-]*roost|\./launch\.sh) [^`]+)`(?!`)")
_EXCERPT = re.compile(r"(?:#|//) ((?:src|tests|scripts|bench)/[\w./-]+)\n")
_NAMED = re.compile(r"(?<!`)`((?:[\w-]+/)+[\w-]+\.(?:py|sh|yaml))`(?!`)")
_PROGRAM = re.compile(r"(?:^|(?<=[\s(]))(?:roost|\./launch\.sh)(?=\s|$|[;|)])")
_END = re.compile(r"[|;&>)\\]")
_NO_COMMANDS = ("pairing", "record", "recovery", "sealed")
"""What follows `roost` in the documents and is no command: words that are hashed, to tell purposes apart."""
_SHELLS = ("sh", "bash", "console")
_SETTINGS = {key.path.split(".")[0] for key in KEYS}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and the line of the document on which the text begins."""

    language: str
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a document."""
    return [
        Block(fence["info"].strip(), fence["text"], text.count("\n", 0, fence.start("text")) + 1)
        for fence in _FENCE.finditer(text)
    ]


def problems(root: Path, document: Path) -> Iterator[Violation]:
    """Everything that the code in `document`, a page of the repository at `root`, gets wrong."""
    text = document.read_text(encoding="utf-8")
    where = document.relative_to(root).as_posix()
    for block in blocks(text):
        if _EXCERPT.match(block.text):
            found = _excerpt(root, block)
        else:
            found = _CHECKS[block.language](block) if block.language in _CHECKS else iter(())
        yield from (Violation(where, line, problem) for line, problem in found)
    prose = _FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text)
    for match in _INLINE.finditer(prose):
        for words in command_lines(match[1]):
            problem = wrong_names(words)
            if problem:
                yield Violation(where, prose.count("\n", 0, match.start()) + 1, f"`{match[1]}`: {problem}")
    for match in _NAMED.finditer(prose):
        if not any((root / above / match[1]).is_file() for above in ("", "src/roost", "tests")):
            yield Violation(where, prose.count("\n", 0, match.start()) + 1, f"there is no file {match[1]}")


# -- commands --------------------------------------------------------------------------------------------------------


def command_lines(line: str) -> Iterator[list[str]]:
    """The words after `roost`, for each time that a line of shell calls it."""
    line = line.replace('"$(which roost)"', "roost")
    for begin in _PROGRAM.finditer(line):
        rest = line[begin.end() :]
        end = _END.search(rest)
        words = shlex.split(rest[: end.start()] if end else rest, comments=True)
        yield words or (["start"] if begin[0].endswith("launch.sh") else [])


def _shell(block: Block) -> Iterator[tuple[int, str]]:
    whole = re.sub(r"\\\n", "  ", block.text)
    for number, line in enumerate(whole.splitlines()):
        code = re.sub(r"(^|\s)#.*", "", line)
        for words in command_lines(code.removeprefix("$ ")):
            problem = wrong_call(words)
            if problem:
                yield block.line + number, f"{line.strip()}: {problem}"


def wrong_call(words: Sequence[str]) -> str:
    """What the real command line says against being called so; empty when it would run."""
    found = _found(words)
    if not found:
        return ""  # roost itself, or its --help or --version
    command, rest = found
    if command is None:
        return f"there is no command {' '.join(words[:2])}"
    try:
        command.make_context(" ".join(words), list(rest))
    except Exception as error:  # supervised: by whoever reads the rule; Typer has moved its classes between releases
        return str(getattr(error, "message", "") or error)
    return ""


def wrong_names(words: Sequence[str]) -> str:
    """As `wrong_call` for prose, where arguments may be left out or be placeholders: only the names are looked at."""
    found = _found(words)
    if not found:
        return ""
    command, rest = found
    if command is None:
        return f"there is no command {' '.join(words[:2])}"
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    options = [word.strip("[]") for word in rest if word.lstrip("[").startswith("-")]
    unknown = [word for word in options if word.partition("=")[0] not in {*known, "--help"}]
    return f"there is no option {unknown[0]}" if unknown else ""


def _found(words: Sequence[str]) -> tuple[Any, Sequence[str]] | None:
    """What Typer makes of the command that `words` name (None: there is none), and the words after it."""
    words = list(words)
    while words and words[0].startswith("-"):
        words = words[2 if words[0] in ("--home", "--config") else 1 :]
    if not words or not re.match(r"[a-z]", words[0]) or words[0] in _NO_COMMANDS:
        return None
    entry = COMMANDS.get(words[0])
    if entry is None or isinstance(entry, Command):
        return (None if entry is None else entry.load(words[0])), words[1:]
    if len(words) > 1 and not words[1].startswith("-"):
        below = entry.members.get(words[1])
        return (None if below is None else below.load(words[1])), words[2:]
    if entry.alone is None:
        return None, words
    return Command(entry.summary, entry.alone.module, entry.alone.function).load(words[0]), words[1:]


# -- settings, Python ------------------------------------------------------------------------------------------------


def _yaml(block: Block) -> Iterator[tuple[int, str]]:
    """YAML of any kind parses; with a key of ours at its top it is settings, and loads."""
    try:
        found = yaml.safe_load(block.text)
    except yaml.YAMLError as error:
        yield block.line, f"this is not YAML: {error}"
        return
    if not isinstance(found, dict) or not _SETTINGS & found.keys():
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "roost.yaml"
        file.write_text(block.text, encoding="utf-8")
        try:
            load(str(file), home=Home.find(folder))
        except RoostError as error:
            yield block.line, f"these settings do not load: {error.message}"


def _python(block: Block) -> Iterator[tuple[int, str]]:
    try:
        ast.parse(block.text)
    except SyntaxError as error:
        yield block.line + (error.lineno or 1) - 1, f"this is not Python: {error.msg}"


# -- excerpts --------------------------------------------------------------------------------------------------------


def _excerpt(root: Path, block: Block) -> Iterator[tuple[int, str]]:
    """The block's first line names a file. The others stand there, however far indented; a line of dots leaves some
    lines of the file out."""
    match = _EXCERPT.match(block.text)
    assert match is not None
    file = root / match[1]
    if not file.is_file():
        yield block.line, f"there is no file {match[1]}"
        return
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    begin = 0
    for piece in re.split(r"^\s*\.\.\.\n", block.text[match.end() :], flags=re.MULTILINE):
        wanted = [line.strip() for line in textwrap.dedent(piece).strip("\n").splitlines()]
        ends = [i + len(wanted) for i in range(begin, len(lines)) if lines[i : i + len(wanted)] == wanted]
        if not ends:
            yield block.line, f"{match[1]} does not say (any more): {wanted[0] if wanted else 'nothing'} ..."
            return
        begin = ends[0]


_CHECKS: dict[str, Callable[[Block], Iterator[tuple[int, str]]]] = {
    **dict.fromkeys(_SHELLS, _shell),
    "yaml": _yaml,
    "python": _python,
}
