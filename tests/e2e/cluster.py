"""A real cluster for a test: a coordinator and nodes as processes of their own, in a directory of its own, driven
through the command line.

Everything that was started is ended when the cluster is closed, by the handles taken when it started.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from e2e.processes import Answer, Handle, Program

READY_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
AT_ONCE = 4
CONFIG = """\
cluster: test
local_nodes: 0
node: {{listen: "127.0.0.1:0", reserve: {reserve}}}
{more}
"""


@dataclass
class Node:
    """One storage node: who it is, where its things are, and its process."""

    name: str
    id: str
    home: Path
    handle: Handle
    program: Program | None = None

    @property
    def chunks(self) -> dict[str, Path]:
        """The files of its objects, by name."""
        return {path.name: path for path in sorted(self.home.glob("chunks/[0-9a-f][0-9a-f]/*"))}

    @property
    def rss_bytes(self) -> int:
        """The memory that its process has now."""
        told = subprocess.run(["ps", "-o", "rss=", "-p", str(self.handle.pid)], capture_output=True, check=True)
        return int(told.stdout) * 1024


@dataclass
class Seen:
    """A state that a node was seen in: it began before `first_told_s`, when the first answer that told it had come, and
    did not end before `last_asked_s`, when the last one was asked for, however long a busy machine takes to answer."""

    state: str
    first_told_s: float
    last_asked_s: float


class Cluster:
    """A cluster below `root`. `home` is the coordinator's home, which commands use unless they are given another."""

    def __init__(self, root: Path, *, reserve: str = "16MiB", more: str = "") -> None:
        self.root = root
        self.home = root / "home"
        self.config = root / "roost.yaml"
        self.prefix: Sequence[str] = ()
        self.nodes: dict[str, Node] = {}
        self.coordinator: Program | None = None
        self._programs: list[Program] = []
        self._handles: dict[int, Handle] = {}
        root.mkdir(parents=True, exist_ok=True)
        (root / "errors").mkdir()
        self.config.write_text(CONFIG.format(reserve=reserve, more=more))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- commands ------------------------------------------------------------------------------------------------

    def begin(
        self, *arguments: object, home: Path | None = None, config: Path | None = None, machine: int | None = None,
        prefix: Sequence[str] = (),
    ) -> Program:  # fmt: skip
        """Start a command and return at once. `machine` makes it run as if on another machine of that number; `prefix`
        are the words of what runs it, in place of the cluster's own."""
        words = [str(argument) for argument in arguments]
        options = ["--home", str(home or self.home), "--config", str(config or self.config), "--json"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ROOST_")}
        if machine is not None:
            environment["ROOST_MACHINE"] = f"{machine:032x}"
        errors = self.root / "errors" / f"{len(self._programs)}-{words[0]}"
        program = Program([*words, *options], environment, self.root, errors, prefix or self.prefix)
        self._programs.append(program)
        return program

    def cli(self, *arguments: object, home: Path | None = None, timeout_s: float = 60) -> Answer:
        """Run a command to its end."""
        return self.begin(*arguments, home=home).wait(timeout_s)

    def done(self, *arguments: object, home: Path | None = None, timeout_s: float = 60) -> dict[str, Any]:
        """Run a command that must exit 0; its result."""
        answer = self.cli(*arguments, home=home, timeout_s=timeout_s)
        assert answer.code == 0, answer
        return answer.result

    def together(self, commands: Iterable[Sequence[object]], *, home: Path | None = None) -> list[Answer]:
        """Run commands side by side, a few at a time; their answers in order."""
        waiting = list(commands)
        answers: list[Answer] = []
        while waiting:
            batch, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
            begun = [self.begin(*command, home=home) for command in batch]
            answers += [program.wait() for program in begun]
        return answers

    def gathered(self, name: str, *arguments: object, home: Path | None = None) -> Path:
        """Gather into a new folder; the path that the answer names."""
        to = self.root / "gathered" / str(len(self._programs))
        return Path(self.done("gather", name, "--to", to, *arguments, home=home)["path"])

    def page(self) -> str:
        """Where the coordinator's page is, as `status` tells it once it is there."""
        for _ in range(60):  # each asks a command, which takes its time
            if page := self.done("status")["page"]:
                return str(page)
        raise AssertionError("the coordinator says of no page")

    def rows(self) -> dict[str, dict[str, Any]]:
        """What `roost nodes` tells, by node id."""
        return {row["id"]: row for row in self.done("nodes")["nodes"]}

    def watch_state(self, node: Node, *, until: str, limit_s: float) -> list["Seen"]:
        """Ask for the nodes until `node` has that state: the states that it had."""
        begun = time.monotonic()
        seen: list[Seen] = []
        while not seen or seen[-1].state != until:
            asked = time.monotonic() - begun
            assert asked < limit_s, f"{node.name} is not {until}: {seen}"
            state = self.rows()[node.id]["state"]
            if not seen or seen[-1].state != state:
                seen.append(Seen(state, time.monotonic() - begun, asked))
            seen[-1].last_asked_s = asked
        return seen

    def until_healthy(self, name: str, *, within_s: float) -> None:
        """Ask for a checkpoint until every copy of it is there, without a word to anybody."""
        deadline = time.monotonic() + within_s
        while (shown := self.done("show", name))["health"] != "healthy":
            assert time.monotonic() < deadline, f"{name} is {shown['health']} after {within_s:.0f} s"

    # -- processes -----------------------------------------------------------------------------------------------

    def start(self, *, local: int = 4, ready: int | None = None) -> Program:
        """Start the coordinator with local nodes and wait until it says *ready*."""
        count = ["-n", ready or local] if ready or local else []
        self.coordinator = self.begin("start", "--local", local, *count)
        self.coordinator.until("ready", timeout_s=READY_LIMIT_S)
        for home in sorted(self.home.glob("nodes/*")):
            state = json.loads((home / "run.json").read_text())
            with contextlib.suppress(ProcessLookupError):  # of one that was not started again
                if state["pid"]:  # else it could not start
                    self._handle(state["pid"])
        if local:
            self._learn_local()
        return self.coordinator

    def _learn_local(self) -> None:
        for row in self.done("nodes")["nodes"]:
            if row.get("pid") is not None:
                self.nodes[row["name"]] = Node(row["name"], row["id"], Path(row["home"]), self._handle(row["pid"]))

    def _handle(self, pid: int) -> Handle:
        known = self._handles.get(pid)
        if known is None:
            known = self._handles[pid] = Handle(pid)
        return known

    def join(self, token: str, *names: str, first_machine: int = 1) -> None:
        """Start nodes that join with `token`, each on a machine of its own, and wait until all serve."""
        begun = {
            name: self.begin(
                "join", token, "--name", name, home=self.root / name, machine=first_machine + number
            )
            for number, name in enumerate(names)
        }  # fmt: skip
        for name, program in begun.items():
            told = program.until("listening", timeout_s=READY_LIMIT_S)
            self.nodes[name] = Node(name, told["node"], self.root / name, program.handle, program)

    def restart(self, *nodes: Node) -> None:
        """Start nodes that have ended again, in their old homes; they may come back at other addresses."""
        for node in nodes:
            assert node.handle.ended(10)
            own = node.home / "roost.yaml"
            config = own if own.exists() else self.config
            node.program = self.begin("join", "--name", node.name, home=node.home, config=config)
            node.handle = node.program.handle
        for node in nodes:
            assert node.program is not None
            node.program.until("listening", timeout_s=READY_LIMIT_S)

    def revive(self) -> None:
        """Bring every node back that is frozen or has ended."""
        for node in self.nodes.values():
            node.handle.resume()
        self.restart(*(node for node in self.nodes.values() if node.handle.ended(0)))

    def stop(self) -> Answer:
        """Ctrl-C for the coordinator, and what it said in the end."""
        assert self.coordinator is not None
        self.coordinator.handle.signal(signal.SIGINT)
        return self.coordinator.wait(STOP_LIMIT_S)

    def close(self) -> None:
        """End everything and remove the directory."""
        for node in self.nodes.values():
            node.handle.resume()
        if self.coordinator is not None and not self.coordinator.handle.ended(0):
            self.coordinator.handle.signal(signal.SIGTERM)
            self.coordinator.handle.ended(STOP_LIMIT_S)
        for handle in self._handles.values():
            handle.kill()
            handle.close()
        for program in self._programs:
            program.end()
        shutil.rmtree(self.root, ignore_errors=True)

    # -- what is on the disks ------------------------------------------------------------------------------------

    def copies(self, chunk: str) -> dict[str, Path]:
        """The files of one object, by node."""
        return {node.name: node.chunks[chunk] for node in self.nodes.values() if chunk in node.chunks}


def flip(path: Path, *, offset: int) -> None:
    """Change one bit of a file, its times staying as they were."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@contextlib.contextmanager
def local_cluster(root: Path, *, nodes: int = 4, reserve: str = "16MiB", more: str = "") -> Iterator[Cluster]:
    """A cluster with `nodes` local nodes, all on this machine."""
    with Cluster(root, reserve=reserve, more=more) as cluster:
        cluster.start(local=nodes)
        yield cluster


@contextlib.contextmanager
def spread_cluster(root: Path, *, nodes: int = 4, more: str = "") -> Iterator[Cluster]:
    """A cluster with `nodes` nodes (``a``, ``b``, ...), each on a machine of its own."""
    with Cluster(root, more=more) as cluster:
        cluster.start(local=0)
        token = cluster.done("token", "create")["token"]
        cluster.join(token, *"abcdefgh"[:nodes])
        yield cluster
