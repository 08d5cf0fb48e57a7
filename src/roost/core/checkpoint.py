"""What a checkpoint is to every layer: its redundancy, its health, its place in a run."""

import enum
import re
from dataclasses import dataclass

from roost.core.errors import UsageError
from roost.core.ids import CheckpointName

CHUNK_BYTES_MAX = 8 * 1024 * 1024
MANIFEST_BYTES_MAX = 64 * 1024 * 1024
FILES_MAX = 1_000_000
CHECKPOINT_BYTES_MAX = 16 * 1024**4

_REDUNDANCY = re.compile(r"([0-9]{1,3})(?:\+([0-9]{1,3}))?\Z")
_INTEGER = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Redundancy:
    """How a checkpoint is kept: `copies` whole copies, or (later) `data` + `parity` shards of each chunk.

    `losses` is how many machines may be lost at once without losing the checkpoint.
    """

    data: int
    parity: int

    @classmethod
    def parse(cls, text: str) -> "Redundancy":
        """``"2"``, ``"3"``, or ``"k+m"``; UsageError for what is not built or not sensible."""
        match = _REDUNDANCY.match(text)
        if match and match[2] is not None:
            raise UsageError(
                f"redundancy {text!r}: parity (k+m) is not built yet", hint='use "2" (two copies) or "3" (three copies)'
            )
        if not match or int(match[1]) not in (2, 3):
            raise UsageError(f"redundancy {text!r} is not known", hint='use "2" (two copies) or "3" (three copies)')
        return cls(data=1, parity=int(match[1]) - 1)

    @property
    def losses(self) -> int:
        return self.parity

    @property
    def copies(self) -> int:
        """Objects kept of each chunk, one a machine."""
        return self.data + self.parity

    def __str__(self) -> str:
        return str(self.copies) if self.data == 1 else f"{self.data}+{self.parity}"


class Health(enum.StrEnum):
    """What the nodes' answers say of a checkpoint, worst object first."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    AT_RISK = "at-risk"
    LOST = "lost"
    UNKNOWN = "unknown"


def health_of(copies: int, redundancy: Redundancy) -> Health:
    """The health of something whose least-kept object has `copies` good copies on distinct machines."""
    if copies >= redundancy.copies:
        return Health.HEALTHY
    if copies > redundancy.data:
        return Health.DEGRADED
    return Health.AT_RISK if copies == redundancy.data else Health.LOST


def run_of(name: CheckpointName) -> str:
    """The run a checkpoint belongs to: its name up to the last ``/``, or the empty string."""
    return name.rpartition("/")[0]


def step_of(name: CheckpointName) -> int | None:
    """The last integer in the name's last segment, or None."""
    found = _INTEGER.findall(name.rpartition("/")[2])
    return int(found[-1]) if found else None
