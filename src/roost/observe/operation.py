"""The operation that a task works on: an id that every machine writes into its log, so that one can be followed.

It goes with the task, and with the tasks started there, and to the peers with each request.
"""

import contextlib
import contextvars
from collections.abc import Iterator

from roost.observe.log import bound

_current: contextvars.ContextVar[bytes | None] = contextvars.ContextVar("roost_operation", default=None)


def current_operation() -> bytes | None:
    """The id of the operation that this task works on; None when it works on none."""
    return _current.get()


@contextlib.contextmanager
def within_operation(operation: bytes) -> Iterator[None]:
    """What happens within belongs to `operation`, and the log says so."""
    token = _current.set(operation)
    try:
        with bound(operation=operation.hex()):
            yield
    finally:
        _current.reset(token)
