"""The signs that a file is a finished checkpoint, judged from what was seen of it alone, with the reason. Pure.

A safetensors file says in its header how long it is, so its size alone tells. Any other file counts as finished when
two looks at least `QUIET_S` apart find the same size and time. (Signs of the other writers have an issue of their own.)
"""

from dataclasses import dataclass

from roost.codec.safetensors import JSON_BYTES_MAX, LENGTH_BYTES, header_length, parse_header
from roost.core.errors import Failed

QUIET_S = 10.0
HEADER_BYTES_MAX = LENGTH_BYTES + JSON_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a file saw: when (seconds of running time), its size, its time, and its identity."""

    at: float
    size: int
    mtime_ns: int
    inode: int

    def same(self, other: "Look") -> bool:
        return (self.size, self.mtime_ns, self.inode) == (other.size, other.mtime_ns, other.inode)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the file is finished, and why or what it waits for."""

    finished: bool
    reason: str


def is_ignored(name: str) -> bool:
    """Names that no finished checkpoint has: hidden, temporary and partial files."""
    return name.startswith(".") or name.endswith((".tmp", ".part", ".partial", ".crdownload", "~"))


def judge_safetensors(header: bytes, size: int) -> Verdict:
    """A safetensors file of `size` bytes that begins with `header` (its first 8 + N bytes as far as there are)."""
    length = header_length(header[:LENGTH_BYTES]) if len(header) >= LENGTH_BYTES else None
    if length is None:
        return Verdict(False, "its header is not written yet")
    if len(header) < length:
        return Verdict(False, f"its header has {len(header)} of {length} bytes")
    try:
        parse_header(header[:length], file_bytes=size)
    except Failed as error:
        return Verdict(False, f"its size does not fit its header yet ({error.message})")
    return Verdict(True, "its size is what its header says")


def judge_quiet(first: Look, now: Look) -> Verdict:
    """Any other file: `first` is the first of the looks that have seen what `now` sees."""
    if not first.same(now):
        return Verdict(False, "it is being written")
    quiet = now.at - first.at
    if quiet < QUIET_S:
        return Verdict(False, f"unchanged for {quiet:.0f} of {QUIET_S:.0f} s")
    return Verdict(True, f"unchanged for {quiet:.0f} s")
