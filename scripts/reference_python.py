"""The reference page of the Python interface, from the signatures and docstrings in the source, which is not run."""

import ast
from collections.abc import Iterator
from pathlib import Path

INTEGRATIONS = ("huggingface", "lightning", "accelerate", "filesystem")
"""What people import; the other modules there are parts of these."""
SOURCE = Path(__file__).resolve().parent.parent / "src" / "roost"

HEAD = """\
# Python

`import roost`. Everything here is for programs without an event loop, scripts, notebooks, trainings. What fails raises
one of `roost.core.errors`: [Errors](errors.md). [Python, URLs, export](../guides/python.md) and
[Training](../guides/training.md) have examples."""

Defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Function = ast.FunctionDef | ast.AsyncFunctionDef


def page() -> str:
    """What a program may call, and what it gets back."""
    program, cluster = _Module("client/program.py"), _Module("client/cluster.py")
    opened, results = _Module("client/opened.py"), _Module("client/results.py")
    parts = [
        HEAD,
        *_function("roost.connect", program.named("connect")),
        *_class("roost.Cluster", program.named("Cluster"), cluster.named("AsyncCluster")),
        *_class("Opened", program.named("Opened"), opened.named("AsyncOpened")),
        *_function("roost.save_hook", _Module("client/backups.py").named("save_hook")),
        *_function("roost.resume", _Module("client/resuming.py").named("resume")),
        "",
        "## Results",
        "",
        "Values whose fields are those of the command's `--json`; they cannot be changed.",
    ]
    for defined in results.public_classes():
        parts += ["", f"### {defined.name}", "", _prose(defined), "", *_fields(defined)]
    parts += ["", "## Integrations", "", "Each is imported only by whoever has the library that it is for."]
    for module in INTEGRATIONS:
        for found in _Module(f"integrations/{module}.py").public():
            name = f"roost.integrations.{module}.{found.name}"
            parts += ["", f"### {name}", "", *_code(_begun(found)), "", _prose(found)]
    return "\n".join(parts)


class _Module:
    """What one file defines at its top."""

    def __init__(self, path: str) -> None:
        self._defined = [
            node
            for node in ast.parse(SOURCE.joinpath(path).read_text(encoding="utf-8")).body
            if isinstance(node, Defined)
        ]

    def named(self, name: str) -> Defined:
        """The class or function of that name. StopIteration when it is gone, and the page must change."""
        return next(node for node in self._defined if node.name == name)

    def public(self) -> Iterator[Defined]:
        return (node for node in self._defined if not node.name.startswith("_"))

    def public_classes(self) -> Iterator[ast.ClassDef]:
        return (node for node in self.public() if isinstance(node, ast.ClassDef))


def _function(title: str, function: Defined) -> list[str]:
    return ["", f"## {title}", "", *_code(_begun(function)), "", _prose(function)]


def _class(title: str, kind: Defined, spoken_of: Defined) -> Iterator[str]:
    """A class and its methods. The docstring of one that says *See ...* is that of its twin in `spoken_of`."""
    yield from ["", f"## {title}", "", _prose(kind)]
    twins = {node.name: node for node in spoken_of.body if isinstance(node, Function)}
    for method in kind.body:
        if not isinstance(method, Function) or method.name.startswith("_"):
            continue
        told = _prose(method)
        if told.startswith("See `"):
            told = _prose(twins[told.split(".")[1].split("`")[0]])
        yield from ["", f"### {title.rpartition('.')[2]}.{method.name}", "", *_code(_begun(method)), "", told]


def _fields(kind: ast.ClassDef) -> Iterator[str]:
    yield from ["| field | type |", "|---|---|"]
    for node in kind.body:
        if isinstance(node, ast.AnnAssign):
            kind_of = ast.unparse(node.annotation).replace(" | ", " or ")
            yield f"| `{ast.unparse(node.target)}` | `{kind_of}` |"


def _begun(defined: Defined) -> str:
    """The line that defines it, without what a caller does not write."""
    if isinstance(defined, ast.ClassDef):
        begin = next((node for node in defined.body if isinstance(node, Function) and node.name == "__init__"), None)
        return _signature(defined.name, begin, returns=False) if begin is not None else f"{defined.name}(...)"
    return _signature(defined.name, defined, returns=True)


def _signature(name: str, function: Function, *, returns: bool) -> str:
    arguments = ast.unparse(function.args).removeprefix("self, ").removeprefix("self")
    told = f" -> {ast.unparse(function.returns)}" if returns and function.returns is not None else ""
    whole = f"{name}({arguments}){told}"
    if len(whole) <= 100:
        return whole
    return f"{name}(\n    " + _broken(arguments) + f"\n){told}"


def _broken(arguments: str) -> str:
    """One argument a line; commas in brackets are part of an argument."""
    parts, depth = [""], 0
    for letter in arguments:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return ",\n    ".join(part.strip() for part in parts)


def _code(text: str) -> list[str]:
    return ["```text", *text.splitlines(), "```"]


def _prose(defined: Defined) -> str:
    paragraphs = (ast.get_docstring(defined) or "").replace("``", "`").split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in paragraphs)
