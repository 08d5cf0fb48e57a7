"""The cluster that the demo and the benchmark run in a temporary folder: real processes, a real network, and nothing is
left of it."""

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TextIO

from roost.core.errors import Failed
from roost.settings.paths import Home

READY_LIMIT_S = 60.0
COMMAND_LIMIT_S = 120.0
STOP_LIMIT_S = 15.0
KILL_LIMIT_S = 5.0
POLL_S = 0.05
EVENTS_MAX = 1000
SAID_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed as its result, its exit code, and how long it took."""

    exit_code: int
    result: dict[str, Any]
    seconds: float


class DemoCluster:
    """A coordinator and `nodes` local nodes below `folder`, which must exist and is not removed here.

    A context manager: started when the block begins, stopped when it ends."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder = folder
        self._nodes = nodes
        self.home = Home(folder / "home")
        self._settings = folder / "roost.yaml"
        self._log = folder / "coordinator.log"
        self._coordinator: subprocess.Popen[str] | None = None
        self._events: queue.Queue[dict[str, Any]] = queue.Queue(EVENTS_MAX)

    def __enter__(self) -> "DemoCluster":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with undisturbed():
            self.stop()

    def start(self) -> None:
        """Return when all nodes are in; Failed when they are not within a minute."""
        self._settings.write_text(
            f'cluster: demo\nnode: {{listen: "127.0.0.1:{_free_port()}", reserve: 64MiB}}\n', encoding="utf-8"
        )
        count = str(self._nodes)
        with open(self._log, "w", encoding="utf-8") as log:
            # A session of its own, so that Ctrl-C reaches the demo alone, which then ends the processes in order.
            self._coordinator = subprocess.Popen(
                self.command("start", "--local", count, "-n", count), cwd=self.folder, env=environment(),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
            )  # fmt: skip
        assert self._coordinator.stdout is not None
        threading.Thread(target=self._listen, args=(self._coordinator.stdout,), daemon=True).start()
        deadline = time.monotonic() + READY_LIMIT_S
        while True:
            try:
                event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise Failed(f"the cluster was not ready within {READY_LIMIT_S:.0f} s{self._said()}") from None
            if event.get("event") == "ready":
                return
            if event.get("type") in ("error", "end"):
                raise Failed(f"the coordinator ended: {event.get('message', 'no reason given')}{self._said()}")

    def _listen(self, stdout: TextIO) -> None:
        """Take what the coordinator says, for as long as it runs, so that it never has to wait for us."""
        for line in stdout:
            with contextlib.suppress(ValueError, queue.Full):
                self._events.put_nowait(json.loads(line))
        with contextlib.suppress(queue.Full):
            self._events.put_nowait({"type": "end"})

    def _said(self) -> str:
        said = self._log.read_text(encoding="utf-8", errors="replace").strip()[-SAID_CHARACTERS:]
        return f"; it said: {said}" if said else ""

    def roost(self, *arguments: str, expect: tuple[int, ...] = (0,)) -> Answer:
        """Run a command against the cluster; Failed when its exit code is not one of `expect`."""
        begun = time.monotonic()
        try:
            done = subprocess.run(
                self.command(*arguments), cwd=self.folder, env=environment(), stdin=subprocess.DEVNULL,
                capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Failed(f"roost {arguments[0]} did not end within {COMMAND_LIMIT_S:.0f} s") from None
        seconds = time.monotonic() - begun
        lines = done.stdout.strip().splitlines()
        try:
            result = json.loads(lines[-1]) if lines else {}
        except ValueError:
            result = {}
        if done.returncode not in expect or result.get("type") != "result":
            why = result.get("message") or done.stderr.strip()[-SAID_CHARACTERS:]
            raise Failed(f"roost {arguments[0]} ended with exit code {done.returncode}: {why}")
        return Answer(done.returncode, result, seconds)

    def command(self, *arguments: str) -> list[str]:
        """What to run for `roost` with these arguments against this cluster."""
        places = ["--home", str(self.home.root), "--config", str(self._settings), "--json"]
        return [sys.executable, "-m", "roost", *arguments, *places]

    def kill(self, pid: int) -> None:
        """``kill -9`` one of this cluster's processes, and wait until it is gone."""
        if not self._is_ours(pid):
            raise Failed(f"process {pid} is not a node of the demo")
        self._end([pid])

    def stop(self) -> None:
        """End every process, politely first. Never raises for one that is gone already."""
        coordinator = self._coordinator
        nodes = self.node_pids()
        if coordinator is not None:
            with contextlib.suppress(ProcessLookupError):
                coordinator.send_signal(signal.SIGTERM)
            try:
                coordinator.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                coordinator.kill()
                coordinator.wait(KILL_LIMIT_S)
        self._end([pid for pid in {*nodes, *self.node_pids()} if self._is_ours(pid)])

    def _end(self, pids: list[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + KILL_LIMIT_S
        while any(self._is_ours(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def node_pids(self) -> list[int]:
        """The process ids that the local nodes wrote into their homes."""
        found = []
        for state in self.home.nodes.glob(f"*/{self.home.run_state.name}"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found.append(int(json.loads(state.read_bytes())["pid"]))
        return found

    def _is_ours(self, pid: int) -> bool:
        """Whether `pid` lives and was started with a place in our folder on its command line."""
        try:
            spelled = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            if Path("/proc/self").exists():
                return False
            done = subprocess.run(
                ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
            )
            spelled = done.stdout
        return str(self.folder) in spelled


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment() -> dict[str, str]:
    """Ours, without what would lead to another cluster."""
    return {key: value for key, value in os.environ.items() if key not in ("ROOST_HOME", "ROOST_TOKEN")}


@contextlib.contextmanager
def temporary_folder(prefix: str, *, keep: bool = False) -> Iterator[Path]:
    """A temporary folder that is gone afterwards, also after SIGTERM, which here is as Ctrl-C."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    folder = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    try:
        yield folder
    finally:
        with undisturbed():
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Cleaning up is bounded by its own limits; another Ctrl-C does not leave processes behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
