"""What tests of frameworks need: `./test.sh --all` installs it, and without it they are skipped and say so."""

import importlib.util

import pytest

INSTALL = "is not installed; ./test.sh --all does, or: pip install -e '.[dev,frameworks]'"


def need(*modules: str) -> None:
    """Skip the test unless all of them are there."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(reason=f"{module} {INSTALL}")
