"""Which seeds run: `--sim N` the first N, `--seed N` that one alone."""

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        only = metafunc.config.getoption("--seed")
        count = metafunc.config.getoption("--sim")
        metafunc.parametrize("seed", [only] if only is not None else range(count))
