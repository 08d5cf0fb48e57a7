"""Roost on five machines of its own with shaped cables: network namespaces on a bridge, `tc tbf` at both ends of each.

`m1` coordinates, stores and gathers; `m2` to `m5` are nodes. What a command takes is measured from outside: its clock,
its memory, and what went through the sender's cable. Needs root and Linux, as `tests/lab` does.
"""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.processes import Handle
from lab.machines import Lab, lab
from lab.shaping import shape
from lab.wires import Wires
from roost.apps.cli.bench_process import Run, measure, peak_rss_bytes, settle

SENDER = "m1"
NODES = ("m2", "m3", "m4", "m5")
MACHINES = (SENDER, *NODES)
FORMING_LIMIT_S = 60.0
READY_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What one command took: seconds of the clock, bytes out of and into the sender's cable, its peak of memory."""

    seconds: float
    sent_bytes: int
    received_bytes: int
    rss_bytes: int
    result: dict[str, Any]


class Cable:
    """The counters of one machine's cable, read by one small process in that machine."""

    def __init__(self, wires: Wires, name: str) -> None:
        statistics = "/sys/class/net/eth0/statistics"
        script = f"while read _; do cat {statistics}/tx_bytes {statistics}/rx_bytes; done"
        self._process = subprocess.Popen(
            [*wires.prefix(name), "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def read(self) -> tuple[int, int]:
        """Bytes out and bytes in, so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        lines = b""
        while lines.count(b"\n") < 2:
            lines += self._process.stdout.read(64)
        sent, received = lines.split()
        return int(sent), int(received)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=5)


class Shaped:
    """A cluster whose four nodes are in, and the means to do something to a node in the middle of a command."""

    def __init__(self, place: Lab, nodes: dict[str, Handle]) -> None:
        self.lab = place
        self._nodes = nodes
        self.cable = Cable(place.wires, SENDER)

    def shape(self, mbit: int, *, slow: Sequence[str] = (), slow_mbit: int = 0) -> None:
        """Let every cable carry `mbit` Mbit a second each way, those of the `slow` ones `slow_mbit` (0: no limit)."""
        for name in MACHINES:
            rate = slow_mbit if name in slow else mbit
            if rate:
                shape(self.lab.wires, name, mbit=rate)

    def roost(self, *arguments: object) -> Measured:
        """Run a command on the sender that must end well."""
        work = self.lab.root / "work"
        work.mkdir(exist_ok=True)
        places = ["--home", str(self.lab.home(SENDER)), "--config", str(self.lab.root / SENDER / "roost.yaml")]
        command = [*self.lab.wires.prefix(SENDER), sys.executable, "-m", "roost", *map(str, arguments), *places]
        sent, received = self.cable.read()
        run: Run = measure([*command, "--json"], folder=work)
        sent_after, received_after = self.cable.read()
        return Measured(
            run.seconds, sent_after - sent, received_after - received, run.rss_bytes, dict(run.result)
        )  # fmt: skip

    def disturbed(
        self, name: str, deed: Callable[[Handle], None], *, after_bytes: int, arguments: Sequence[object]
    ) -> Measured:
        """As `roost`; once `after_bytes` went through the sender's cable, either way, `deed` is done to a node."""
        watch = Cable(self.lab.wires, SENDER)
        begin, ended = sum(watch.read()), threading.Event()

        def wait_and_do() -> None:
            while not ended.wait(0.05):
                if sum(watch.read()) - begin >= after_bytes:
                    deed(self._nodes[name])
                    return

        watcher = threading.Thread(target=wait_and_do)
        watcher.start()
        try:
            return self.roost(*arguments)
        finally:
            ended.set()
            watcher.join()
            watch.close()

    def resume(self, name: str) -> None:
        """Let a frozen node go on."""
        self._nodes[name].resume()

    def node_rss_bytes(self) -> int:
        """The largest peak of memory of any node so far."""
        return peak_rss_bytes(handle.pid for handle in self._nodes.values()) or 0

    def settle(self, bytes_to_come: int) -> None:
        """Let the disk come to rest before the next step."""
        settle(self.lab.root, bytes_to_come)


@contextlib.contextmanager
def shaped_cluster(root: Path, number: int) -> Iterator[Shaped]:
    """Form the cluster on links without a limit. `number` tells labs apart that exist at the same time."""
    root.mkdir(parents=True)
    with lab(root, number, len(MACHINES)) as place:
        for name in MACHINES:
            place.config(name, more="repair: {grace: 1h}")
        coordinator, code = place.start(SENDER, "-n", len(NODES))
        programs = {name: place.begin(name, "join", code, "--name", name) for name in NODES}
        for program in programs.values():
            program.until("listening", timeout_s=FORMING_LIMIT_S)
        coordinator.until("ready", timeout_s=READY_LIMIT_S)
        shaped = Shaped(place, {name: program.handle for name, program in programs.items()})
        try:
            yield shaped
        finally:
            shaped.cable.close()
