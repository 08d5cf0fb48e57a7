"""Local nodes: storage nodes on the coordinator's own machine, each its own process and home, that outlive it.

Whether one runs is told by the lock on its home; a running one is taken over, a dead one started again by the next
start of the coordinator and not before. Which process it is, it says in its home itself; one whose disk does not take
that word serves too, and one that was taken over without it cannot be stopped from here.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from roost.client.run_state import is_served, read_run_state
from roost.cluster.membership import Membership
from roost.cluster.remembered import Remembered
from roost.core.cluster import Address
from roost.core.errors import DiskFault, Failed, NoSpace, NotAdmitted, NotFound, RoostError
from roost.core.ids import MachineId, NodeId
from roost.core.runtime import Runtime
from roost.disk.durable import read_small, write_durably
from roost.disk.posix import PosixDisk
from roost.net.ports import free_port, is_free
from roost.security.authority import Authority, fingerprint
from roost.security.identity import Identity, NodeKey
from roost.settings.load import parse
from roost.settings.paths import Home
from roost.settings.schema import Scrub, default_settings
from roost.settings.units import format_duration, format_rate

START_LIMIT_S = 30.0
STOP_LIMIT_S = 10.0
POLL_S = 0.05
UNSAID_S = 3.0
"""For how long a node that answers may say nothing in its home before its disk is taken for full."""
LOG_BYTES_MAX = 4 * 1024 * 1024
LOG_TAIL_BYTES = 4096
SETTINGS_BYTES_MAX = 64 * 1024


@dataclass(slots=True)
class LocalNode:
    """One local node. `pid` is that of its process while it runs; 0 while one that was taken over has not said it."""

    number: int
    home: Home
    pid: int
    taken_over: bool
    process: subprocess.Popen[bytes] | None = None


class LocalNodes:
    """The local nodes 1 to `count` below `home`, on loopback addresses."""

    def __init__(
        self, runtime: Runtime, home: Home, *, reserve_bytes: int, name: str, machine: MachineId,
        scrub: Scrub = default_settings().scrub,  # noqa: B008  # frozen
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._home = home
        self._reserve_bytes = reserve_bytes
        self._scrub = scrub
        self._name = name
        self._machine = machine
        self.nodes: list[LocalNode] = []

    def strange(self, count: int) -> list[int]:
        """Which of the first `count` no cluster has admitted yet. Blocks."""
        return [n for n in range(1, count + 1) if not (self._home.node(n).identity / "certificate.der").exists()]

    def gone(self, count: int, membership: Membership) -> dict[int, str]:
        """Which of the first `count` are no members any more, with what became of them. Blocks."""
        found: dict[int, str] = {}
        for number in range(1, count + 1):
            try:
                identity = Identity.load(PosixDisk(self._home.node(number).root))
            except RoostError:
                continue
            standing = membership.standing(identity.node_id)
            if membership.is_revoked(fingerprint(identity.certificate)):
                found[number] = "was struck off the cluster"
            elif standing is not None and standing.state == "left":
                found[number] = "has left the cluster"
        return found

    async def start(
        self, count: int, authority: Authority | None, *, coordinator: NodeId, at: Address,
        leave_out: Collection[int] = (),
    ) -> list[RoostError]:  # fmt: skip
        """Take over those that run and start the others, but for those to `leave_out`; returns when each serves its
        home, or has failed to: why is returned, with the log of the node.

        A home without an identity is admitted here, by the authority's key; NotAdmitted where that key is not.
        """
        reachable = Address("127.0.0.1" if at.host in ("0.0.0.0", "::") else at.host, at.port)  # noqa: S104
        problems: list[RoostError] = []
        for number in sorted(set(range(1, count + 1)) - set(leave_out)):
            home = self._home.node(number)
            try:
                prepared = await self._runtime.in_thread(self._prepare, home, authority, coordinator, reachable)
            except (NoSpace, DiskFault) as error:
                problems.append(RoostError(f"local node {number} cannot be started: {error.message}", hint=error.hint))
                continue
            if prepared is not None:
                self.nodes.append(LocalNode(number, home, prepared, taken_over=True))
            else:
                process = await self._runtime.in_thread(self._spawn, number, home)
                self.nodes.append(LocalNode(number, home, process.pid, taken_over=False, process=process))
        for node in list(self.nodes):
            try:
                await self._until_serving(node)
            except RoostError as error:
                problems.append(error)
                if not self._lives(node):
                    self.nodes.remove(node)
        return problems

    def _prepare(self, home: Home, authority: Authority | None, coordinator: NodeId, at: Address) -> int | None:
        """Get a home ready; the process id when a process serves it already, 0 when that has not said which it is."""
        disk = PosixDisk.make(home.root)
        if is_served(disk, home):
            return _said_pid(disk, home)
        try:
            Identity.load(disk)
        except NotAdmitted:
            if authority is None:
                raise
            key = NodeKey.load_or_create(disk)
            Identity.found(authority, key, machine=self._machine).save(disk)
        remembered = Remembered(disk)
        remembered.load()
        remembered.worked(coordinator, at)
        self._settle_port(disk, home)
        return None

    def _settle_port(self, disk: PosixDisk, home: Home) -> None:
        """Keep the port of the node's own settings while it is free, else choose a free one. Settings that the disk
        does not take stay as they are."""
        kept = _listen_of(home) or Address("127.0.0.1", 0)
        port = kept.port if kept.port and is_free(kept) else free_port("127.0.0.1")
        text = f'node: {{listen: "127.0.0.1:{port}", reserve: {self._reserve_bytes}}}\n'
        text += f"scrub: {{every: {format_duration(self._scrub.every_s)}, rate: {format_rate(self._scrub.rate)}}}\n"
        with contextlib.suppress(NotFound, Failed, NoSpace, DiskFault):
            if read_small(disk, home.relative(home.settings), bytes_max=SETTINGS_BYTES_MAX) == text.encode():
                return
        with contextlib.suppress(NoSpace, DiskFault):
            write_durably(disk, home.relative(home.settings), text.encode())

    def _spawn(self, number: int, home: Home) -> "subprocess.Popen[bytes]":
        command = [
            sys.executable, "-m", "roost", "join", "--home", str(home.root), "--config", str(home.settings),
            "--name", f"{self._name}-{number}"[-64:],
        ]  # fmt: skip
        with _log_of(home) as output:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, cwd=home.root,
            )  # fmt: skip

    async def _until_serving(self, node: LocalNode) -> None:
        """Until the node says that it serves, or answers for a while although it says nothing."""
        deadline = self._runtime.now() + START_LIMIT_S
        answers_since: float | None = None
        while True:
            said = await self._runtime.in_thread(_said_pid, PosixDisk(node.home.root), node.home)
            if said and self._lives(node) and said == (node.pid or said):
                node.pid = said
                return
            if not await self._runtime.in_thread(self._answers, node):
                answers_since = None
            elif answers_since is None:
                answers_since = self._runtime.now()
            elif self._runtime.now() - answers_since >= UNSAID_S:
                return
            if node.process is None and not self._lives(node):
                raise RoostError(f"local node {node.number} ended as it was taken over", hint="run roost start again")
            if node.process is not None and node.process.poll() is not None:
                log = node.home.logs / "node.log"
                why = await self._runtime.in_thread(_last_error, log)
                raise RoostError(
                    f"local node {node.number} did not start ({why or f'exit status {node.process.returncode}'})",
                    hint=f"its log tells more: {log}",
                )
            if self._runtime.now() > deadline:
                raise RoostError(
                    f"local node {node.number} is not ready after {START_LIMIT_S:.0f} s",
                    hint=f"see its log: {node.home.logs / 'node.log'}",
                )
            await self._runtime.sleep(POLL_S)

    def _answers(self, node: LocalNode) -> bool:
        """Whether somebody holds the node's home and listens where its settings say. Blocks."""
        listen = _listen_of(node.home)
        return is_served(PosixDisk(node.home.root), node.home) and listen is not None and not is_free(listen)

    def died(self) -> list[LocalNode]:
        """Those that ended since the last look; they are not started again here."""
        ended = [node for node in self.nodes if not self._lives(node)]
        self.nodes = [node for node in self.nodes if node not in ended]
        return ended

    @staticmethod
    def _lives(node: LocalNode) -> bool:
        """Whether a node's process is there, and is the one: of one that we did not start, its lock tells."""
        if node.process is not None:
            return node.process.poll() is None
        return is_served(PosixDisk(node.home.root), node.home)

    def _is_ending(self, node: LocalNode) -> bool:
        """Whether a node that was told to end is still there. A process lets go of its lock a little before it is
        gone, so its id is looked at too; it is never signalled by the id alone."""
        if self._lives(node):
            return True
        if node.process is not None:
            return False
        try:
            os.kill(node.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    async def stop(self) -> None:
        """Ask all to end, wait, and end by force those that do not; taken-over ones too."""
        told = [node for node in self.nodes if self._signal(node, signal.SIGTERM)]
        deadline = self._runtime.now() + STOP_LIMIT_S
        while any(self._is_ending(node) for node in told) and self._runtime.now() < deadline:
            await self._runtime.sleep(POLL_S)
        for node in told:
            if self._lives(node):
                self._signal(node, signal.SIGKILL)
                if node.process is not None:
                    await self._runtime.in_thread(node.process.wait)
        self.nodes = []

    def _signal(self, node: LocalNode, number: signal.Signals) -> bool:
        """Signal a node, if its home says that it is still the one, and which it is; whether it was."""
        if not self._lives(node):
            return False
        node.pid = node.pid or _said_pid(PosixDisk(node.home.root), node.home)
        if not node.pid:
            return False
        try:
            os.kill(node.pid, number)
        except ProcessLookupError:
            return False
        return True


def _said_pid(disk: PosixDisk, home: Home) -> int:
    """The process id that whoever serves a home wrote there; 0 when there is none yet. Blocks."""
    state = read_run_state(disk, home)
    return state.pid if state is not None else 0


def _listen_of(home: Home) -> Address | None:
    """Where a node listens, as its own settings say; None when they cannot be read. Blocks."""
    try:
        return parse(home.settings.read_text(), file=home.settings).settings.node.listen
    except (OSError, RoostError):
        return None


def _log_of(home: Home) -> IO[bytes]:
    """Where a node's words go: its log, or nowhere when the disk takes no such file."""
    log = home.logs / "node.log"
    try:
        home.logs.mkdir(exist_ok=True)
        if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_suffix(".log.1"))
        return log.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")


def _last_error(log: Path) -> str:
    """What a node that ended said last of why; empty when it said nothing."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return said[-1] if said else ""


async def watch_deaths(runtime: Runtime, nodes: LocalNodes, died: "asyncio.Queue[LocalNode]") -> None:
    """Put local nodes that end into `died`, for ever."""
    while True:
        await runtime.sleep(1.0)
        for node in nodes.died():
            await died.put(node)
