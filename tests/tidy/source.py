"""What the tidy rules look at: one file of the repository, parsed once, and what a rule says about it."""

import ast
import io
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: where (`path`, `line`), and what is wrong and what to do, in one sentence."""

    path: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.problem}"


@dataclass(frozen=True)
class Source:
    """A Python file: its `path` relative to the repository with forward slashes, its text, tree and comments.

    `comments` maps a line to the comment on it. SyntaxError when the text is not Python.
    """

    path: str
    text: str
    tree: ast.Module
    comments: dict[int, str] = field(hash=False)

    @classmethod
    def of(cls, path: str, text: str) -> "Source":
        """The file `path` with the content `text`, which need not exist on disk."""
        comments = {
            token.start[0]: token.string
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type == tokenize.COMMENT
        }
        return cls(path, text, ast.parse(text), comments)

    @property
    def is_product(self) -> bool:
        """Whether the file is part of what is installed."""
        return self.path.startswith("src/")

    @property
    def is_test(self) -> bool:
        """Whether the file belongs to the tests."""
        return self.path.startswith("tests/")

    def within(self, *prefixes: str) -> bool:
        """Whether the path begins with one of `prefixes`."""
        return self.path.startswith(prefixes)

    def at(self, node: ast.stmt | ast.expr | ast.excepthandler, problem: str) -> Violation:
        """A violation at `node`."""
        return Violation(self.path, node.lineno, problem)


def read_sources(root: Path, *folders: str) -> list[Source]:
    """Every Python file below `folders` of the repository at `root`, sorted by path."""
    paths = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    return [Source.of(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


def functions_of(tree: ast.AST) -> Iterator[Function]:
    """Every function in `tree`, nested ones and methods included."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def is_protocol(node: ast.ClassDef) -> bool:
    """Whether the class is a port: it names Protocol among its bases."""
    named = (base.value if isinstance(base, ast.Subscript) else base for base in node.bases)
    return any(dotted(name).endswith("Protocol") for name in named)


def protocol_methods(sources: Iterable[Source]) -> frozenset[str]:
    """The names of all methods that some port of ours declares, and so documents."""
    return frozenset(
        function.name
        for source in sources
        if source.is_product
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef) and is_protocol(node)
        for function in node.body
        if isinstance(function, Function)
    )


def dotted(node: ast.AST) -> str:
    """``a.b.c`` for a name or a chain of attributes, the empty text for any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def imported_modules(tree: ast.Module) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    """Every import with the full name of what it imports: ``os.path`` for ``from os import path``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node, f"{'.' * node.level}{node.module or ''}.{alias.name}") for alias in node.names)
