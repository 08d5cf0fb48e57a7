"""Real `roost` processes on the machines of a lab, each with a home and a machine id of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.processes import Answer, Program
from lab.terminal import Terminal
from lab.wires import Wires

CONFIG = """\
cluster: {cluster}
local_nodes: 0
node: {{listen: "0.0.0.0:7400", reserve: 16MiB}}
{more}
"""


@dataclass
class Lab:
    """Machines on one wire. What is started is ended when the lab is closed."""

    root: Path
    wires: Wires
    programs: list[Program] = field(default_factory=list)
    terminals: list[Terminal] = field(default_factory=list)

    def config(self, name: str, *, cluster: str = "test", more: str = "") -> None:
        """The settings of a machine."""
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "roost.yaml").write_text(CONFIG.format(cluster=cluster, more=more))

    def home(self, name: str) -> Path:
        return self.root / name / "home"

    def begin(self, name: str, *arguments: object) -> Program:
        """Start a command on a machine."""
        folder, environment, options = self._place(name)
        program = Program(
            [*map(str, arguments), *options, "--json"], environment, folder, folder / f"errors-{len(self.programs)}",
            self.wires.prefix(name),
        )  # fmt: skip
        self.programs.append(program)
        return program

    def sit_at(self, name: str, *arguments: object) -> Terminal:
        """Start a command on a terminal of a machine."""
        folder, environment, options = self._place(name)
        command = [*self.wires.prefix(name), sys.executable, "-m", "roost", *map(str, arguments), *options]
        terminal = Terminal(command, environment={**environment, "TERM": "xterm"}, directory=folder)
        self.terminals.append(terminal)
        return terminal

    def told(self, name: str, typed: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        """Run a command on a machine as a script does, with these lines to read; without --json."""
        folder, environment, options = self._place(name)
        command = [*self.wires.prefix(name), sys.executable, "-m", "roost", *map(str, arguments), *options]
        return subprocess.run(
            command, input=typed, capture_output=True, text=True, env=environment, cwd=folder, timeout=60
        )

    def _place(self, name: str) -> tuple[Path, dict[str, str], list[str]]:
        """The folder, the environment, and the options of all commands of a machine."""
        folder = self.root / name
        if not (folder / "roost.yaml").exists():
            self.config(name)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ROOST_")}
        environment["ROOST_MACHINE"] = f"{1 + list(self.wires.hosts).index(name):032x}"
        return folder, environment, ["--home", str(self.home(name)), "--config", str(folder / "roost.yaml")]

    def cli(self, name: str, *arguments: object, timeout_s: float = 60) -> Answer:
        """Run a command on a machine to its end."""
        return self.begin(name, *arguments).wait(timeout_s)

    def done(self, name: str, *arguments: object, timeout_s: float = 60) -> dict[str, Any]:
        """Run a command that must exit 0; its result."""
        answer = self.cli(name, *arguments, timeout_s=timeout_s)
        assert answer.code == 0, answer
        return answer.result

    def start(self, name: str, *arguments: object) -> tuple[Program, str]:
        """Start a coordinator; it, and the join code that it shows."""
        program = self.begin(name, "start", *arguments)
        return program, str(program.until("join-code")["join_code"])

    def deadline(self, seconds: float) -> Callable[[], None]:
        """A function that fails once so many seconds are over."""
        ends = time.monotonic() + seconds

        def check() -> None:
            assert time.monotonic() < ends, f"not within {seconds} s"

        return check

    def close(self) -> None:
        for terminal in self.terminals:
            terminal.close()
        for program in self.programs:
            program.handle.kill()
            program.handle.close()
        self.wires.close()


@contextmanager
def lab(root: Path, number: int, machines: int) -> Iterator[Lab]:
    """A lab of so many machines, ``m1`` to ``mN``."""
    wires = Wires(number)
    built = Lab(root, wires)
    try:
        wires.open()
        for one in range(1, machines + 1):
            wires.add(f"m{one}", 10 + one)
        yield built
    finally:
        built.close()
