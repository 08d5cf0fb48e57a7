"""Every way an operation can end badly: whose fault, whether trying again helps, the exit code, and what to do next."""

from typing import ClassVar


class RoostError(Exception):
    """An error a person can act on. `hint` is the next step; `retry` says whether the same call may succeed later."""

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1
    retry: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Failed(RoostError):
    """Something on this machine or in this checkpoint prevents the operation."""


class Endangers(RoostError):
    """What was asked would leave checkpoints, each a ``NAME@VERSION``, with fewer copies than asked."""

    code = "endangers"

    def __init__(self, message: str, *, hint: str = "", checkpoints: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.checkpoints = checkpoints


class UsageError(RoostError):
    """The command or an argument is wrong."""

    code = "usage"
    exit_code = 2


class NotFound(RoostError):
    """No such checkpoint, version, file, node, object or record."""

    code = "not-found"
    exit_code = 4


class Damaged(RoostError):
    """Bytes do not have the SHA-256 they must have."""

    code = "integrity"
    exit_code = 5


class Lost(Damaged):
    """Every member answered and no good copy of something needed exists."""


class Unreachable(RoostError):
    """A peer, or too many peers, cannot be reached now."""

    code = "unreachable"
    exit_code = 6
    retry = True


class Stalled(Unreachable):
    """A peer went silent for longer than it may, or works without progress."""


class NotAdmitted(RoostError):
    """This machine is not a member, or its certificate, token or key is refused."""

    code = "not-admitted"
    exit_code = 7


class Refused(NotAdmitted):
    """A peer refuses this very process: its key is in use by another process, or its certificate was revoked."""

    code = "refused"


class Leaving(RoostError):
    """A node is being emptied: what it has can be had, but it takes on nothing that may be counted on it."""

    code = "leaving"


class NoSpace(RoostError):
    """A disk would fall below its reserve, or the cluster is full. `bytes_missing` is about how many more are needed;
    None where nobody knows."""

    code = "no-space"
    exit_code = 8

    def __init__(self, message: str, *, hint: str = "", bytes_missing: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.bytes_missing = bytes_missing


class Busy(RoostError):
    """Another process or request holds what is needed."""

    code = "busy"
    exit_code = 9
    retry = True


class DiskFault(RoostError):
    """The operating system failed a read or write on a disk of ours (I/O error, read-only, permission)."""

    code = "disk"


class ProtocolError(RoostError):
    """The peer sent what the protocol does not allow; the connection is of no further use."""

    code = "protocol"


class Unsupported(RoostError):
    """The peer, record or file is of a version or kind that this release does not know."""

    code = "unsupported"


def first_of(errors: "BaseExceptionGroup[RoostError]") -> RoostError:
    """The first of the errors that a task group raised together. Raise it after the ``except*`` block, not in it:
    Python before 3.11.4 wraps what is raised in there into a group again."""
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, RoostError)
    return found


BY_CODE: dict[str, type[RoostError]] = {
    error.code: error
    for error in (
        Failed, UsageError, NotFound, Damaged, Unreachable, NotAdmitted, NoSpace, Busy, DiskFault, ProtocolError,
        Unsupported, Refused, Leaving,
    )
}  # fmt: skip
"""How an error that crossed the wire becomes an exception again; an unknown code becomes `Failed`."""
