"""The condition of a node's disk: what the faults of single files add up to, in words. Pure.

One file that the disk does not give out is damage: it is counted, and made again. A disk that *keeps* failing is more:
what is made again on it may be lost next, so its node should be given nothing to keep. It is taken for failing when

* reading or writing failed on three different files within an hour of running time, or
* writing failed below ``state/``, where a node keeps what it needs to know about its own work, or
* sixteen different files went bad or away within a day, and it had said nothing.

That verdict stands until a scrub has read back everything without a fault, also when the process starts again.
"""

import collections
from dataclasses import dataclass

FILES_MAX = 3
WITHIN_S = 3600.0
SILENT_MAX = 16
SILENT_WITHIN_S = 86_400.0
STATE = "state"
TOLD_MAX = 400
"""Characters of an error that are repeated."""
_WAITING_MAX = 256


@dataclass(frozen=True, slots=True)
class Fault:
    """One read or write of the file `path` that the disk failed at `at` (seconds of running time), and its error. A
    `silent` one the disk did not own up to: the bytes were others, or the file was gone."""

    path: str
    writing: bool
    at: float
    error: str
    silent: bool = False


class DiskCondition:
    """The condition of one disk. `note` may be called from any thread, everything else from one."""

    def __init__(self) -> None:
        self._waiting: collections.deque[Fault] = collections.deque(maxlen=_WAITING_MAX)
        self._recent: dict[str, float] = {}
        self._silent: dict[str, float] = {}
        self._faults = 0
        self._trouble = ""

    def note(self, fault: Fault) -> None:
        """A fault happened. Of a flood only the last ones are looked at, which is enough."""
        self._waiting.append(fault)

    @property
    def faults(self) -> int:
        """How many faults were looked at so far."""
        self._look()
        return self._faults

    @property
    def trouble(self) -> str:
        """Why this disk should be given nothing to keep; empty when it is well."""
        self._look()
        return self._trouble

    def recover(self) -> None:
        """Everything was read back and all was good: take the disk for well again."""
        self._look()
        self._recent.clear()
        self._silent.clear()
        self._trouble = ""

    def restore(self, trouble: str) -> None:
        """Go on from the `trouble` that an earlier process saw last, and nobody took back."""
        self._trouble = self._trouble or trouble

    def _look(self) -> None:
        while self._waiting:
            self._judge(self._waiting.popleft())

    def _judge(self, fault: Fault) -> None:
        self._faults += 1
        if fault.silent:
            _note(self._silent, fault, SILENT_WITHIN_S)
        else:
            _note(self._recent, fault, WITHIN_S)
        if fault.writing and (fault.path == STATE or fault.path.startswith(f"{STATE}/")):
            self._trouble = f"its disk does not take what it needs to remember: {fault.error[:TOLD_MAX]}"
        elif len(self._recent) >= FILES_MAX:
            self._trouble = (
                f"its disk keeps failing, on {len(self._recent)} files within an hour; last: {fault.error[:TOLD_MAX]}"
            )
        elif len(self._silent) >= SILENT_MAX:
            self._trouble = (
                f"its disk loses what it keeps, {len(self._silent)} files within a day; last: {fault.error[:TOLD_MAX]}"
            )


def _note(seen: dict[str, float], fault: Fault, within_s: float) -> None:
    """Add the fault's file to those `seen`, which are so young, the last ones of a flood."""
    seen.pop(fault.path, None)
    seen[fault.path] = fault.at
    for path in [path for path, at in seen.items() if at <= fault.at - within_s]:
        del seen[path]
    while len(seen) > _WAITING_MAX:
        del seen[next(iter(seen))]
