"""Errors: how several that were raised together become the one that is told."""

import asyncio

import pytest

from roost.core.errors import BY_CODE, DiskFault, NoSpace, RoostError, first_of


def test_the_first_of_several_errors_is_found_however_deep_it_lies() -> None:
    full, broken = NoSpace("full"), DiskFault("broken")
    assert first_of(ExceptionGroup("", [full, broken])) is full
    nested = BaseExceptionGroup[RoostError]("", [ExceptionGroup("", [broken]), full])  # type: ignore[list-item]
    assert first_of(nested) is broken


async def test_it_is_raised_as_itself_and_not_in_a_group() -> None:
    async def fail() -> None:
        raise NoSpace("full")

    first: RoostError | None = None
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
    except* RoostError as errors:
        first = first_of(errors)
    with pytest.raises(NoSpace):
        raise first or AssertionError("nothing was raised")


def test_each_code_names_one_error() -> None:
    assert all(error.code == code for code, error in BY_CODE.items())
