"""A command on a terminal of its own, as a person has it: what it shows is read, and what is typed goes in."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROWS, COLUMNS = 50, 120
READ_BYTES = 64 * 1024


class Terminal:
    """`command` on a terminal. Close it when done."""

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], directory: Path, rows: int = ROWS,
        columns: int = COLUMNS,
    ) -> None:  # fmt: skip
        self.shown = ""
        self._pid, self._descriptor = pty.fork()
        if self._pid == 0:
            os.chdir(directory)
            os.execvpe(command[0], list(command), dict(environment))
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, text: str, *, timeout_s: float = 60) -> str:
        """Read until `text` is shown; all that was shown since the last call."""
        deadline = time.monotonic() + timeout_s
        while text not in self.shown:
            assert self._read(deadline - time.monotonic()), f"no {text!r} within {timeout_s} s: {self.shown}"
        shown, self.shown = self.shown, ""
        return shown

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._descriptor], [], [], max(0.0, timeout_s))[0]:
            return False
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except OSError:  # how Linux tells that the other end is closed
            return False
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def interrupt(self, *, timeout_s: float = 30) -> int:
        """Ctrl-C; the exit code."""
        self.type("\x03")
        return self.ended(timeout_s=timeout_s)

    def ended(self, *, timeout_s: float = 30) -> int:
        """Read until the command closes the terminal; its exit code."""
        deadline = time.monotonic() + timeout_s
        while self._read(deadline - time.monotonic()):
            pass
        return self._end()

    def _end(self) -> int:
        pid, self._pid = self._pid, 0
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._end()
        os.close(self._descriptor)
