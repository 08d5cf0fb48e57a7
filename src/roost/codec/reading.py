"""How a format reaches the bytes of a file: by ranges, so that it reads headers and directories only."""

from collections.abc import Callable

Read = Callable[[int, int], bytes]
"""`read(offset, length)`: those bytes of the file, fewer only at its end."""
