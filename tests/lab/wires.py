"""A network of this test's own: machines as network namespaces on a bridge, which is in a namespace too.

Nothing leaves them. Made by root on Linux; everything is removed by its own name at the end. All traffic of a test goes
between addresses of 10.77.0.0/16 that exist only in here.
"""

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass, field

NETWORK = "10.77"
PREFIX = 24


def missing() -> str:
    """Why there can be no such network here; empty when there can."""
    if os.uname().sysname != "Linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if not shutil.which("ip") or not shutil.which("bridge"):
        return "ip and bridge (iproute2) are not installed"
    made = subprocess.run(["ip", "netns", "add", f"roost-try-{os.getpid()}"], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", f"roost-try-{os.getpid()}"], check=True)
    return ""


def run(*words: str) -> str:
    """Run a command of the system that must succeed; what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


@dataclass
class Wires:
    """The bridge, and the machines on it by name. `number` tells labs apart that run beside each other."""

    number: int
    hosts: dict[str, str] = field(default_factory=dict)

    @property
    def _switch(self) -> str:
        return f"roost{self.number}sw"

    def _place(self, name: str) -> str:
        return f"roost{self.number}{name}"

    def switch_prefix(self) -> tuple[str, ...]:
        """The words that run a command where the bridge is."""
        return ("ip", "netns", "exec", self._switch)

    def port(self, name: str) -> str:
        """The bridge's end of a machine's cable."""
        return f"r{self.number}{name}"[:15]

    def open(self) -> None:
        run("ip", "netns", "add", self._switch)
        self._inside("link", "add", "br0", "type", "bridge")
        self._inside("link", "set", "br0", "up")

    def _inside(self, *words: str) -> None:
        run("ip", "-n", self._switch, *words)

    def add(self, name: str, number: int) -> None:
        """A machine with the address 10.77.0.<number>."""
        place, port = self._place(name), self.port(name)
        run("ip", "netns", "add", place)
        run("ip", "link", "add", port, "netns", self._switch, "type", "veth", "peer", "name", "eth0", "netns", place)
        self._inside("link", "set", port, "master", "br0")
        self._inside("link", "set", port, "up")
        run("ip", "-n", place, "link", "set", "lo", "up")
        run("ip", "-n", place, "link", "set", "eth0", "up")
        self.hosts[name] = ""
        self.readdress(name, f"{NETWORK}.0.{number}")

    def readdress(self, name: str, host: str) -> None:
        """Give a machine another address in place of the one that it has."""
        place = self._place(name)
        run("ip", "-n", place, "addr", "flush", "dev", "eth0")
        run("ip", "-n", place, "addr", "add", f"{host}/{PREFIX}", "broadcast", "+", "dev", "eth0")
        self.hosts[name] = host

    def prefix(self, name: str) -> tuple[str, ...]:
        """The words that run a command on a machine."""
        return ("ip", "netns", "exec", self._place(name))

    def link(self, name: str, *, up: bool) -> None:
        """Plug a machine's cable in or out, at the bridge."""
        self._inside("link", "set", self.port(name), "up" if up else "down")

    def flood(self, *, multicast: bool, broadcast: bool) -> None:
        """Whether the bridge passes on what is for many, as some access points do not. Addresses are still resolved:
        neighbours are entered by hand, for ARP is a broadcast too."""
        for name in self.hosts:
            for what, on in (("mcast_flood", multicast), ("bcast_flood", broadcast)):
                run(
                    *self.switch_prefix(), "bridge", "link", "set", "dev", self.port(name), what,
                    "on" if on else "off",
                )  # fmt: skip
        if not broadcast:
            self._introduce_neighbours()

    def _introduce_neighbours(self) -> None:
        cards = {name: run("ip", "netns", "exec", self._place(name), "cat", "/sys/class/net/eth0/address").strip()
                 for name in self.hosts}  # fmt: skip
        for name in self.hosts:
            for other, host in self.hosts.items():
                if other != name:
                    run("ip", "-n", self._place(name), "neigh", "replace", host, "lladdr", cards[other], "dev", "eth0")

    def close(self) -> None:
        for place in [*(self._place(name) for name in self.hosts), self._switch]:
            with contextlib.suppress(AssertionError):
                run("ip", "netns", "del", place)
