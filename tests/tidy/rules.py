"""The rules that every Python file of ours keeps, each a function from a file to what is wrong in it.

A rule is a theory of how code rots: it is here because a reviewer would say the same sentence every week. Each one has
a planted violation in `tests/test_tidy.py` that proves it sees what it says it sees.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath

from tidy.source import Function, Source, Violation, dotted, functions_of, imported_modules, is_protocol

Rule = Callable[[Source], Iterator[Violation]]

FILE_LINES_AIM = 400
FILE_LINES_MAX = 420
FUNCTION_LINES_MAX = 60
OBVIOUS_METHOD_LINES_MAX = 5
"""A public method with a body up to this long may let its name and its types speak."""

NAMELESS = re.compile(r"_*(utils?|helpers?|commons?|managers?|bases?|misc)\Z")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")
UNCODED_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[[a-z])")

DOOR = "src/roost/core/runtime.py"
OUTSIDE_THE_DOOR = ("src/roost/security/", "src/roost/integrations/", "src/roost/apps/")
DOOR_MODULES = frozenset({"time", "random", "uuid", "threading", "secrets"})
DOOR_NAMES = frozenset({"os.urandom", "asyncio.to_thread"})
DOOR_METHODS = frozenset({"run_in_executor", "utcnow", "utcfromtimestamp"})

SLEEPING_TESTS: Mapping[str, str] = {}
"""Tests that may call `time.sleep`: path -> why no event, lock, pipe or virtual clock can stand in its place."""


def opens_with_a_sentence(source: Source) -> Iterator[Violation]:
    """Every file of the product says in its first sentence what it is."""
    if not source.is_product:
        return
    paragraph = (ast.get_docstring(source.tree) or "").split("\n\n")[0]
    end = re.search(r"[.!?](?=\s|\Z)", paragraph)
    if end is None or end[0] != "." or len(paragraph[: end.start()].split()) < 3:
        yield Violation(
            source.path, 1, "begin with a docstring whose first sentence, ended by a period, says what it is"
        )


def stays_small(source: Source) -> Iterator[Violation]:
    """A file or a function of the product that outgrows its limit is two ideas."""
    if not source.is_product:
        return
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield Violation(source.path, lines, f"{lines} lines: aim below {FILE_LINES_AIM}; this is two files")
    for function in functions_of(source.tree):
        length = (function.end_lineno or function.lineno) - function.lineno + 1 - _docstring_lines(function)
        if length > FUNCTION_LINES_MAX:
            yield source.at(function, f"{function.name} has {length} lines; the limit is {FUNCTION_LINES_MAX}")


def _docstring_lines(function: Function) -> int:
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is None:
        return 0
    return (first.end_lineno or first.lineno) - first.lineno + 1


def names_its_subject(source: Source) -> Iterator[Violation]:
    """No module or package is a drawer for odds and ends."""
    for part in PurePosixPath(source.path).with_suffix("").parts:
        if NAMELESS.match(part):
            yield Violation(source.path, 1, f"{part!r} names no subject; name it for what it holds")


def catches_by_name(source: Source) -> Iterator[Violation]:
    """Only a supervisor of tasks catches everything, and says so; a handler that raises again swallows nothing."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            ends = node.body[-1]
            passes_on = isinstance(ends, ast.Raise) and ends.exc is None
        elif isinstance(node, ast.Call) and dotted(node.func).endswith("suppress"):
            kinds, passes_on = node.args, False
        else:
            continue
        broad = any(kind is None or dotted(kind) in ("Exception", "BaseException") for kind in kinds)
        if broad and not passes_on and "supervised:" not in source.comments.get(node.lineno, ""):
            yield source.at(node, "catch errors by name, or say on this line `# supervised: by whom and why`")


def raises_after_groups(source: Source) -> Iterator[Violation]:
    """What is raised inside `except*` comes out as a group before Python 3.11.4 (Debian 12 has 3.11.2), and as itself
    since; a bare `raise` is the same everywhere."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.TryStar):
            for inner in (part for handler in node.handlers for part in ast.walk(handler)):
                if isinstance(inner, ast.Raise) and inner.exc is not None:
                    yield source.at(inner, "remember the error and raise it after the `except*` block")


def is_finished(source: Source) -> Iterator[Violation]:
    """No comment or docstring leaves work for later, and no checker is silenced without the name of what it says."""
    for line, comment in source.comments.items():
        if UNFINISHED.search(comment):
            yield Violation(source.path, line, "do it or open an issue; no reminders in the code")
        if UNCODED_IGNORE.search(comment):
            yield Violation(source.path, line, "write `# type: ignore[code]`")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function):
            documentation = ast.get_docstring(node) or ""
            if UNFINISHED.search(documentation):
                yield Violation(source.path, getattr(node, "lineno", 1), "no reminders in a docstring")


def uses_the_door(source: Source) -> Iterator[Violation]:
    """Time, chance and threads enter through core/runtime.py, so that one seed replays a whole cluster."""
    if not source.is_product or source.path == DOOR or source.within(*OUTSIDE_THE_DOOR):
        return
    modules = DOOR_MODULES - ({"random"} if source.within("src/roost/testing/") else set())
    for statement, name in imported_modules(source.tree):
        if name.split(".")[0] in modules or name in DOOR_NAMES:
            yield source.at(statement, f"{name} is reached through Runtime (core/runtime.py) only")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and _passes_the_door(node):
            yield source.at(node, f"{dotted(node) or node.attr} is reached through Runtime (core/runtime.py) only")


def _passes_the_door(node: ast.Attribute) -> bool:
    owner = dotted(node.value).rpartition(".")[2]
    if node.attr in ("now", "today") and owner in ("datetime", "date"):
        return True
    return node.attr in DOOR_METHODS or dotted(node) in DOOR_NAMES


def documents_the_public(port_methods: frozenset[str]) -> Rule:
    """The rule that public functions, classes and longer methods have docstrings.

    A method named in `port_methods` is documented at its port. A port documents each method or itself as a whole.
    """

    def rule(source: Source) -> Iterator[Violation]:
        if not source.is_product:
            return
        for node in source.tree.body:
            if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
                if ast.get_docstring(node) is None:
                    yield source.at(node, f"{node.name} is public: give it a docstring")
                elif isinstance(node, ast.ClassDef) and not is_protocol(node):
                    yield from _undocumented_methods(source, node, port_methods)

    return rule


def _undocumented_methods(source: Source, owner: ast.ClassDef, port_methods: frozenset[str]) -> Iterator[Violation]:
    for method in owner.body:
        if not isinstance(method, Function) or method.name.startswith("_") or method.name in port_methods:
            continue
        length = (method.end_lineno or 0) - method.body[0].lineno + 1
        if ast.get_docstring(method) is None and length > OBVIOUS_METHOD_LINES_MAX:
            yield source.at(method, f"{owner.name}.{method.name} is public and not obvious: give it a docstring")


def prints_only_in_apps(source: Source) -> Iterator[Violation]:
    """What people see is the business of apps; everything else returns or logs."""
    if not source.is_product or source.within("src/roost/apps/"):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and dotted(node.func) in ("print", "pprint.pprint", "breakpoint", "input"):
            yield source.at(node, f"{dotted(node.func)} belongs to apps")


def packages_load_nothing(source: Source) -> Iterator[Violation]:
    """A package's `__init__` imports nothing from outside its package, so that importing one module loads no others."""
    path = PurePosixPath(source.path)
    if not source.is_product or path.name != "__init__.py" or path.parent.name == "roost":
        return
    package = ".".join(path.parent.parts[1:])
    for statement, name in imported_modules(source.tree):
        if not name.startswith((package, ".")) and name.split(".")[0] not in ("typing", "importlib"):
            yield source.at(statement, f"a package's __init__ imports nothing but its own modules, not {name}")


def tests_do_not_sleep(source: Source) -> Iterator[Violation]:
    """A test waits for an event or on virtual time; real sleep is slow when it is enough and flaky when it is not."""
    if not source.is_test or source.path in SLEEPING_TESTS:
        return
    for statement, name in imported_modules(source.tree):
        if name == "time.sleep":
            yield source.at(statement, "no time.sleep in tests; wait for an event, or list it in SLEEPING_TESTS")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and dotted(node.func) == "time.sleep":
            yield source.at(node, "no time.sleep in tests; wait for an event, or list it in SLEEPING_TESTS")


def skips_with_a_reason(source: Source) -> Iterator[Violation]:
    """Whoever reads the summary learns why a test did not run."""
    if not source.is_test:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            by_call = name in ("pytest.skip", "pytest.xfail")
            by_mark = name in ("pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail")
            if (by_call or by_mark) and not _gives_a_reason(node, positional=by_call or name == "pytest.mark.skip"):
                yield source.at(node, f"{name} needs a reason")
    for decorated in ast.walk(source.tree):
        if isinstance(decorated, Function | ast.ClassDef):
            for decorator in decorated.decorator_list:
                if dotted(decorator) in ("pytest.mark.skip", "pytest.mark.xfail"):
                    yield source.at(decorator, f"{dotted(decorator)} needs a reason")


def _gives_a_reason(call: ast.Call, *, positional: bool) -> bool:
    reasons = [keyword.value for keyword in call.keywords if keyword.arg == "reason"]
    if positional:
        reasons += call.args[:1]
    return any(not (isinstance(reason, ast.Constant) and not reason.value) for reason in reasons)


EXPECTING = re.compile(r"(assert|check|expect|raises\Z|warns\Z|fail\Z|deprecated_call\Z)")


def tests_can_fail(source: Source) -> Iterator[Violation]:
    """A test states what must hold: an assert that is not always true, `pytest.raises`, or a function that does so."""
    if not source.is_test:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Assert) and _always_true(node.test):
            yield source.at(node, "this assert cannot fail")
    if PurePosixPath(source.path).name.startswith("test_"):
        expecting = _functions_that_expect(source.tree)
        for function in _collected(source.tree):
            if function not in expecting:
                yield source.at(function, f"{function.name} asserts nothing, so it cannot fail")


def _always_true(test: ast.expr) -> bool:
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if isinstance(test, ast.Tuple):
        return bool(test.elts)
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq | ast.Is):
        pure = not any(isinstance(part, ast.Call | ast.Await) for part in ast.walk(test.left))
        return pure and ast.dump(test.left) == ast.dump(test.comparators[0])
    return False


def _functions_that_expect(tree: ast.Module) -> set[Function]:
    """The functions that state something, by themselves or by calling one of this file that does."""
    called = {
        function: {_last_name(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
        for function in functions_of(tree)
    }
    found = {function for function in called if any(_expects(node) for node in ast.walk(function))}
    while True:
        names = {function.name for function in found}
        more = {function for function in called if function not in found and called[function] & names}
        if not more:
            return found
        found |= more


def _expects(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return not _always_true(node.test)
    return isinstance(node, ast.Call) and EXPECTING.match(_last_name(node.func)) is not None


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _collected(tree: ast.Module) -> Iterator[Function]:
    """The functions that pytest runs: those of the module and of its classes, by their names."""
    owners: list[ast.Module | ast.ClassDef] = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    for owner in owners:
        for node in owner.body:
            if isinstance(node, Function) and node.name.startswith("test"):
                yield node


RULES: tuple[Rule, ...] = (
    opens_with_a_sentence,
    stays_small,
    names_its_subject,
    catches_by_name,
    raises_after_groups,
    is_finished,
    uses_the_door,
    prints_only_in_apps,
    packages_load_nothing,
    tests_do_not_sleep,
    skips_with_a_reason,
    tests_can_fail,
)
"""All rules but `documents_the_public`, which needs to know the ports first."""
