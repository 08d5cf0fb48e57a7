"""Which tests stay together when several processes run them (`--dist loadgroup`): those of a file that share a cluster.

pytest-xdist's own groups are told by the ids of tests, which pytest 9.2 does not let it change any more.
"""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

TOGETHER = ("tests/browser/", "tests/e2e/", "tests/lab/", "tests/security/")


class FilesTogether(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out files of tests that share something, those with most tests first, and then all others one by one."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0] if nodeid.startswith(TOGETHER) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    return FilesTogether(config, log) if config.getvalue("dist") == "loadgroup" else None
