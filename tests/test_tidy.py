"""The house keeps its own style: every rule of `tests/tidy` holds for every file, and catches what it claims to."""

from pathlib import Path

import pytest

from tidy import rules
from tidy.links import broken_links, documents
from tidy.source import Source, Violation, protocol_methods, read_sources

ROOT = Path(__file__).resolve().parent.parent
SOURCES = read_sources(ROOT, "src", "tests", "bench", "scripts")
DOCUMENTED = rules.documents_the_public(protocol_methods(SOURCES))

CORE = "src/roost/core/planted.py"
TEST = "tests/unit/test_planted.py"


def name_of(rule: rules.Rule) -> str:
    return rule.__qualname__.split(".")[0]


def broken(rule: rules.Rule, *sources: Source) -> list[str]:
    return [str(violation) for source in sources for violation in rule(source)]


@pytest.mark.parametrize("rule", [*rules.RULES, DOCUMENTED], ids=name_of)
def test_every_file_keeps_the_rule(rule: rules.Rule) -> None:
    problems = broken(rule, *SOURCES)
    assert not problems, "\n" + "\n".join(problems)


def test_every_link_in_the_documents_leads_somewhere() -> None:
    problems = [str(problem) for document in documents(ROOT) for problem in broken_links(ROOT, document)]
    assert not problems, "\n" + "\n".join(problems)


def test_the_rules_see_the_whole_house() -> None:
    paths = {source.path for source in SOURCES}
    assert {"src/roost/__init__.py", rules.DOOR, "tests/test_tidy.py"} <= paths


def test_no_reason_to_sleep_outlives_its_test() -> None:
    stale = [path for path in rules.SLEEPING_TESTS if "time.sleep" not in (ROOT / path).read_text(encoding="utf-8")]
    assert not stale
    assert all(rules.SLEEPING_TESTS.values())


LONG_FUNCTION = "def f() -> None:\n" + "    x = 1\n" * rules.FUNCTION_LINES_MAX
LONG_METHOD = 'class C:\n    """A thing."""\n    def unknown_to_any_port(self) -> None:\n' + "        f()\n" * 6

PLANTED = [
    (rules.opens_with_a_sentence, CORE, ""),
    (rules.opens_with_a_sentence, CORE, "x = 1\n"),
    (rules.opens_with_a_sentence, CORE, '"""A file about many things"""\n'),
    (rules.opens_with_a_sentence, CORE, '"""Is this what the file is? It is."""\n'),
    (rules.opens_with_a_sentence, CORE, '"""Things."""\n'),
    (rules.stays_small, CORE, "x = 1\n" * (rules.FILE_LINES_MAX + 1)),
    (rules.stays_small, CORE, LONG_FUNCTION),
    (rules.stays_small, CORE, "class C:\n" + "".join(f"    {line}\n" for line in LONG_FUNCTION.splitlines())),
    (rules.names_its_subject, "src/roost/core/utils.py", ""),
    (rules.names_its_subject, "src/roost/helpers/disk.py", ""),
    (rules.names_its_subject, "tests/_common.py", ""),
    (rules.names_its_subject, "src/roost/net/base.py", ""),
    (rules.names_its_subject, "src/roost/net/manager.py", ""),
    (rules.catches_by_name, CORE, "try:\n    f()\nexcept Exception:\n    pass\n"),
    (rules.catches_by_name, CORE, "try:\n    f()\nexcept:\n    pass\n"),
    (rules.catches_by_name, CORE, "try:\n    f()\nexcept (OSError, Exception) as error:\n    g(error)\n"),
    (rules.catches_by_name, CORE, "try:\n    f()\nexcept* BaseException:\n    pass\n"),
    (rules.catches_by_name, CORE, "try:\n    f()\nexcept Exception:  # noqa\n    raise Other() from None\n"),
    (rules.catches_by_name, CORE, "with contextlib.suppress(Exception):\n    f()\n"),
    (rules.raises_after_groups, CORE, "try:\n    f()\nexcept* OSError as e:\n    raise e.exceptions[0]\n"),
    (rules.is_finished, CORE, "x = 1  # TODO later\n"),
    (rules.is_finished, TEST, "# FIXME\nx = 1\n"),
    (rules.is_finished, CORE, 'def f() -> None:\n    """Does it. XXX not yet."""\n'),
    (rules.is_finished, CORE, "x = f()  # type: ignore\n"),
    (rules.uses_the_door, CORE, "import time\n"),
    (rules.uses_the_door, CORE, "from random import Random\n"),
    (rules.uses_the_door, CORE, "def f() -> None:\n    import uuid\n"),
    (rules.uses_the_door, CORE, "import threading as t\n"),
    (rules.uses_the_door, "src/roost/testing/planted.py", "import time\n"),
    (rules.uses_the_door, CORE, "import os\nx = os.urandom(4)\n"),
    (rules.uses_the_door, CORE, "from os import urandom\n"),
    (rules.uses_the_door, CORE, "import datetime\nx = datetime.datetime.now()\n"),
    (rules.uses_the_door, CORE, "from datetime import date\nx = date.today()\n"),
    (rules.uses_the_door, CORE, "x = asyncio.to_thread(f)\n"),
    (rules.uses_the_door, CORE, "x = asyncio.get_running_loop().run_in_executor(None, f)\n"),
    (DOCUMENTED, CORE, "def f() -> None:\n    pass\n"),
    (DOCUMENTED, CORE, "async def f() -> None:\n    pass\n"),
    (DOCUMENTED, CORE, "class C:\n    pass\n"),
    (DOCUMENTED, CORE, LONG_METHOD),
    (rules.prints_only_in_apps, CORE, "print(1)\n"),
    (rules.prints_only_in_apps, CORE, "def f() -> None:\n    breakpoint()\n"),
    (rules.packages_load_nothing, "src/roost/net/__init__.py", "from roost.core import ids\n"),
    (rules.packages_load_nothing, "src/roost/codec/__init__.py", "import numpy\n"),
    (rules.tests_do_not_sleep, TEST, "import time\ntime.sleep(1)\n"),
    (rules.tests_do_not_sleep, TEST, "from time import sleep\n"),
    (rules.skips_with_a_reason, TEST, "pytest.skip()\n"),
    (rules.skips_with_a_reason, TEST, 'pytest.skip("")\n'),
    (rules.skips_with_a_reason, TEST, "@pytest.mark.skip\ndef test_it() -> None:\n    assert f()\n"),
    (rules.skips_with_a_reason, TEST, "@pytest.mark.skipif(x)\ndef test_it() -> None:\n    assert f()\n"),
    (rules.skips_with_a_reason, TEST, "@pytest.mark.xfail(strict=True)\ndef test_it() -> None:\n    assert f()\n"),
    (rules.tests_can_fail, TEST, "def test_it() -> None:\n    f()\n"),
    (rules.tests_can_fail, TEST, "async def test_it() -> None:\n    await f()\n"),
    (rules.tests_can_fail, TEST, "class TestIt:\n    def test_it(self) -> None:\n        f()\n"),
    (rules.tests_can_fail, TEST, "def g() -> None:\n    pass\ndef test_it() -> None:\n    g()\n"),
    (rules.tests_can_fail, TEST, "def test_it() -> None:\n    assert True\n"),
    (rules.tests_can_fail, TEST, "def test_it() -> None:\n    assert x.y == x.y\n"),
    (rules.tests_can_fail, TEST, 'def test_it() -> None:\n    assert (f(), "it holds")\n'),
]


@pytest.mark.parametrize(("rule", "path", "text"), PLANTED)
def test_a_planted_violation_is_caught(rule: rules.Rule, path: str, text: str) -> None:
    assert broken(rule, Source.of(path, text))


ALLOWED = [
    (rules.opens_with_a_sentence, CORE, '"""Every way this can end: well, or badly.\n\nMore of it\n"""\n'),
    (rules.opens_with_a_sentence, TEST, "x = 1\n"),
    (rules.stays_small, CORE, 'def f() -> None:\n    """A promise.\n' + "\n" * 80 + '    """\n    x = 1\n'),
    (rules.names_its_subject, "src/roost/codec/basement.py", ""),
    (rules.catches_by_name, CORE, "try:\n    f()\nexcept OSError:\n    pass\n"),
    (rules.catches_by_name, CORE, "try:\n    f()\nexcept BaseException:\n    undo()\n    raise\n"),
    (rules.catches_by_name, CORE, "try:\n    f()\nexcept Exception:  # supervised: by the task group\n    g()\n"),
    (
        rules.catches_by_name,
        CORE,
        "with suppress(Exception):  # supervised: the call's end is all that counts\n    f()\n",
    ),
    (rules.raises_after_groups, CORE, "try:\n    f()\nexcept* OSError:\n    undo()\n    raise\n"),
    (rules.is_finished, CORE, 'x = "TODO"  # type: ignore[assignment]\n'),
    (rules.uses_the_door, rules.DOOR, "import time\n"),
    (rules.uses_the_door, "src/roost/apps/cli/top.py", "import time\n"),
    (rules.uses_the_door, "src/roost/testing/planted.py", "import random\n"),
    (rules.uses_the_door, TEST, "import time\n"),
    (rules.uses_the_door, CORE, "def f(runtime: Runtime) -> float:\n    return runtime.now()\n"),
    (DOCUMENTED, CORE, LONG_METHOD.replace("unknown_to_any_port", "wall")),
    (DOCUMENTED, CORE, 'class C:\n    """A thing."""\n    def f(self) -> int:\n        return 1\n'),
    (DOCUMENTED, CORE, "def _f() -> None:\n    pass\n"),
    (rules.prints_only_in_apps, "src/roost/apps/cli/show.py", "print(1)\n"),
    (rules.packages_load_nothing, "src/roost/net/__init__.py", "from roost.net import stream\n"),
    (rules.packages_load_nothing, "src/roost/net/tcp.py", "import asyncio\n"),
    (rules.tests_do_not_sleep, TEST, "import asyncio\nawaited = asyncio.sleep(0)\n"),
    (rules.skips_with_a_reason, TEST, 'pytest.skip("needs root")\npytest.mark.skipif(x, reason="needs root")\n'),
    (rules.tests_can_fail, TEST, "def test_it() -> None:\n    with pytest.raises(ValueError):\n        f()\n"),
    (rules.tests_can_fail, TEST, "def g() -> None:\n    assert f()\ndef test_it() -> None:\n    g()\n"),
    (rules.tests_can_fail, TEST, "def test_it() -> None:\n    assert f(1) == f(1)\n"),
]


@pytest.mark.parametrize(("rule", "path", "text"), ALLOWED)
def test_what_is_allowed_is_not_reported(rule: rules.Rule, path: str, text: str) -> None:
    assert broken(rule, Source.of(path, text)) == []


def test_every_rule_has_a_planted_violation() -> None:
    assert {name_of(rule) for rule, _, _ in PLANTED} == {name_of(rule) for rule in (*rules.RULES, DOCUMENTED)}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("see [it](docs/absent.md)", "leads nowhere"),
        ("see ![it](absent.svg)", "leads nowhere"),
        ("[it]: absent.md", "leads nowhere"),
        ('<img src="absent.svg">', "leads nowhere"),
        ("[it](#absent)", "names no heading there"),
        ("[it](other.md#absent)", "names no heading there"),
        ("[it](../outside.md)", "leaves the repository"),
    ],
)
def test_a_planted_broken_link_is_caught(tmp_path: Path, text: str, problem: str) -> None:
    found = _links(tmp_path, text)
    assert len(found) == 1
    assert problem in found[0].problem
    assert found[0].line == 3


@pytest.mark.parametrize(
    "text",
    [
        "[it](other.md#a-part-of-it) and [this](#top)",
        "[out](https://example.org/absent) and <mailto:a@example.org>",
        "`[code](absent.md)`",
        "```\n[code](absent.md)\n```",
    ],
)
def test_a_good_link_is_not_reported(tmp_path: Path, text: str) -> None:
    assert _links(tmp_path, text) == []


def _links(root: Path, text: str) -> list[Violation]:
    repository = root / "repository"
    repository.mkdir()
    (root / "outside.md").write_text("# Outside\n")
    (repository / "other.md").write_text("# Other\n## A part of it!\n")
    (repository / "README.md").write_text(f"# Top\n\n{text}\n")
    return list(broken_links(repository, repository / "README.md"))
