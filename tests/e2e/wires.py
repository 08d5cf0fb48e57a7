"""Machines on wires that can be cut: a hub and hosts, each in a network namespace of its own.

Every host has one wire to the hub's bridge. When a wire is cut nobody is told: what was sent is lost, and no answer
ever comes, as when somebody pulls a plug. A namespace lives as long as the process that holds it, so that nothing of
this is left in the system.
"""

import os
import shutil
import subprocess
import sys
from types import TracebackType
from typing import Self

LIMIT_S = 10.0
HOLD = ["unshare", "-n", "sh", "-c", "echo here; exec cat"]


class NoWires(Exception):
    """Wires cannot be had here, and why."""


class Wires:
    """A hub and `hosts` hosts, counted from 1, that reach each other under their addresses. Raises NoWires."""

    def __init__(self, hosts: int) -> None:
        if sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
            raise NoWires("network namespaces take root on Linux, and `unshare`, `nsenter` and `ip`")
        self._holders: list[subprocess.Popen[bytes]] = []
        try:
            for host in range(hosts + 1):
                self._hold()
                self._connect(host)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def address(host: int) -> str:
        """The IP address of a host; that of the hub is of host 0."""
        return f"10.77.0.{host + 1}"

    def within(self, host: int) -> list[str]:
        """The words that run a program there."""
        return ["nsenter", "-t", str(self._holders[host].pid), "-n"]

    def cut(self, host: int) -> None:
        self._ip(0, "link", "set", f"wire{host}", "down")

    def mend(self, host: int) -> None:
        self._ip(0, "link", "set", f"wire{host}", "up")

    def close(self) -> None:
        for holder in self._holders:
            holder.communicate(timeout=LIMIT_S)

    def _hold(self) -> None:
        holder = subprocess.Popen(HOLD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._holders.append(holder)
        assert holder.stdout is not None
        if not holder.stdout.readline():
            raise NoWires("this machine gives us no network namespace")

    def _connect(self, host: int) -> None:
        """Give a host its addresses and its wire."""
        device = "eth0" if host else "hub"
        if host:
            there = str(self._holders[host].pid)
            self._ip(0, "link", "add", f"wire{host}", "type", "veth", "peer", "name", device, "netns", there)
            self._ip(0, "link", "set", f"wire{host}", "master", "hub")
            self.mend(host)
        else:
            self._ip(0, "link", "add", device, "type", "bridge")
        self._ip(host, "address", "add", f"{self.address(host)}/24", "dev", device)
        self._ip(host, "link", "set", device, "up")
        self._ip(host, "link", "set", "lo", "up")

    def _ip(self, host: int, *words: str) -> None:
        done = subprocess.run(
            [*self.within(host), "ip", *words], capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
        if done.returncode:
            raise NoWires(f"ip {' '.join(words)}: {done.stderr.strip()}")
