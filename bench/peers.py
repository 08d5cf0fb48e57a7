"""What rsync, restic and Syncthing take for the work that Roost does: a checkpoint stored, gathered and stored again.

Run by `bench/lab.py`, on its machines. Debian's packages `rsync`, `restic`, `openssh-server` and `syncthing`; what is
not installed is left out. Each step ends with a comparison of all bytes that came to be somewhere, which is not timed.
All machines share one disk.
"""

import contextlib
import hashlib
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.peer_syncthing import Device, connected, until

from lab.wires import Wires, run
from roost.apps.cli.demo_cluster import undisturbed
from roost.core.errors import Failed

NAME = "model.safetensors"
STEPS = ("store", "gather", "changed", "unchanged")
RECEIVERS = ("m2", "m3")
RSYNC_PORT, SSH_PORT = 8730, 2222
START_S, STEP_S, END_S = 30.0, 3600.0, 20.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Timing:
    """What one step took: seconds by the clock, and the bytes that left the links of the machines that send in it:
    m1, but in `gather` those that it takes the bytes from."""

    seconds: float
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Place:
    """Five machines on one bridge, their links shaped: m1 sends, m2 to m5 receive. The caller removes `root`."""

    wires: Wires
    root: Path

    def timed(self, work: Callable[[], None], *, senders: Sequence[str]) -> Timing:
        """Do one step. What was written before is on disk first."""
        os.sync()
        before, begun = self._sent_bytes(senders), time.monotonic()
        work()
        seconds = time.monotonic() - begun
        return Timing(seconds, self._sent_bytes(senders) - before)

    def _sent_bytes(self, senders: Sequence[str]) -> int:
        counter = "/sys/class/net/eth0/statistics/tx_bytes"
        return sum(int(run(*self.wires.prefix(name), "cat", counter)) for name in senders)


class Peer(Protocol):
    """Another program that does this work, named with its version, and how many copies it keeps on other machines."""

    name: str
    copies: int

    def missing(self) -> str:
        """Why it cannot run here; empty when it can."""

    def measure(self, place: Place, model: Path, changed: Path) -> dict[str, Timing]:
        """The steps "store" and "gather" of `model`, then "changed": `changed` stored under the same name, and
        "unchanged": that again. Raises Failed when a step fails, or ends with other bytes."""


class Rsync:
    """A daemon on m2 and on m3; m1 pushes to both at once, each file synced to disk, and pulls from m2."""

    def __init__(self) -> None:
        self.name, self.copies = named("rsync", "--version"), 2

    def missing(self) -> str:
        return absent("rsync")

    def measure(self, place: Place, model: Path, changed: Path) -> dict[str, Timing]:
        root = place.root / "rsync"
        root.mkdir()
        back = root / "back"
        with contextlib.ExitStack() as stack:
            boxes = [self._serve(stack, place, name) for name in RECEIVERS]

            def push(file: Path, *options: str) -> Timing:
                pairs = [(str(file), box) for box in boxes]
                took = place.timed(lambda: self._copy(place, pairs, *options), senders=["m1"])
                same(file, *(root / name / NAME for name in RECEIVERS))
                return took

            store = push(model)
            gather = place.timed(lambda: self._copy(place, [(boxes[0], str(back))]), senders=RECEIVERS[:1])
            same(model, back)
            return {
                "store": store, "gather": gather, "changed": push(changed, "--ignore-times"), "unchanged": push(changed)
            }  # fmt: skip

    def _serve(self, stack: contextlib.ExitStack, place: Place, name: str) -> str:
        """Start a daemon; where it keeps the file."""
        folder, host = place.root / "rsync" / name, place.wires.hosts[name]
        folder.mkdir()
        config = folder.with_suffix(".conf")
        lines = ("reverse lookup = no", "[box]", f"path = {folder}", "use chroot = no", "read only = no")
        config.write_text("\n".join([*lines, "uid = root", "gid = root", ""]))
        options = ("--no-detach", f"--config={config}", f"--port={RSYNC_PORT}", f"--address={host}")
        command = [*place.wires.prefix(name), "rsync", "--daemon", *options]
        listening(stack.enter_context(running(command, root=config.parent)), RSYNC_PORT)
        return f"rsync://{host}:{RSYNC_PORT}/box/{NAME}"

    def _copy(self, place: Place, pairs: Sequence[tuple[str, str]], *options: str) -> None:
        """Copy on m1, all pairs at once; each ends when its file is on disk under its name (--fsync is of 3.2.4)."""
        words = [*place.wires.prefix("m1"), "rsync", "--times", "--no-whole-file", "--fsync", *options]
        finish([[*words, *pair] for pair in pairs], root=place.root / "rsync")


class Restic:
    """A repository on m2, reached by SFTP with an sshd of its own: one copy, encrypted, every state kept."""

    def __init__(self) -> None:
        self.name, self.copies = named("restic", "version"), 1

    def missing(self) -> str:
        return absent("restic") or absent("ssh") or absent("ssh-keygen") or absent("sshd")

    def measure(self, place: Place, model: Path, changed: Path) -> dict[str, Timing]:
        root = place.root / "restic"
        source, back, repository = root / "source", root / "back", root / "repository"
        source.mkdir(parents=True)
        with contextlib.ExitStack() as stack:
            reach = ("-o", f"sftp.command={self._serve(stack, place)}")
            far = (f"sftp:root@{place.wires.hosts['m2']}:{repository}", *reach)
            self._restic(place, "m1", *far, "init")

            def backup(file: Path) -> Timing:
                took = place.timed(lambda: self._restic(place, "m1", *far, "backup", NAME), senders=["m1"])
                self._restic(place, "m2", str(repository), "restore", "latest", "--target", str(back))
                same(file, back / NAME)
                shutil.rmtree(back)
                return took

            def restore() -> None:
                self._restic(place, "m1", *far, "restore", "latest", "--target", str(back))

            os.replace(shutil.copyfile(model, root / "next"), source / NAME)
            store, gather = backup(model), place.timed(restore, senders=["m2"])
            same(model, back / NAME)
            shutil.rmtree(back)
            os.replace(shutil.copyfile(changed, root / "next"), source / NAME)
            return {"store": store, "gather": gather, "changed": backup(changed), "unchanged": backup(changed)}

    def _serve(self, stack: contextlib.ExitStack, place: Place) -> str:
        """Start sshd on m2; the command that connects to it. Its /run is its own, for it wants a folder there."""
        root, host = place.root / "restic", place.wires.hosts["m2"]
        for key in ("host-key", "key"):
            finish([["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / key)]], root=root)
        settings = {
            "Port": SSH_PORT, "ListenAddress": host, "HostKey": root / "host-key", "PidFile": "none", "UsePAM": "no",
            "AuthorizedKeysFile": root / "key.pub", "StrictModes": "no", "PasswordAuthentication": "no",
            "PermitRootLogin": "prohibit-password", "UseDNS": "no", "Subsystem": "sftp internal-sftp",
        }  # fmt: skip
        (root / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        (root / "known").write_text(f"[{host}]:{SSH_PORT} {(root / 'host-key.pub').read_text()}")
        own_run = ("sh", "-c", 'mount -t tmpfs run /run && mkdir /run/sshd && exec "$0" "$@"', which("sshd") or "")
        command = [*place.wires.prefix("m2"), *own_run, "-D", "-e", "-f", str(root / "sshd_config")]
        listening(stack.enter_context(running(command, root=root)), SSH_PORT)
        options = ("-F", "none", "-i", str(root / "key"), "-o", f"UserKnownHostsFile={root / 'known'}")
        return shlex.join(["ssh", *options, "-o", "BatchMode=yes", "-p", str(SSH_PORT), f"root@{host}", "-s", "sftp"])

    def _restic(self, place: Place, machine: str, repository: str, *words: str) -> None:
        root = place.root / "restic"
        own = {"RESTIC_PASSWORD": "password", "RESTIC_CACHE_DIR": str(root / "cache")}
        command = [*place.wires.prefix(machine), "restic", "--quiet", "-r", repository, *words]
        finish([command], root=root, folder=root / "source", more=own)


class Syncthing:
    """Devices on m1, m2 and m3 that share a folder. A step begins when the file is renamed into m1's folder and m1 is
    told to look there; it ends when both others have that version of it in their index, which is after its fsync.

    For `gather` m1 is ended and its folder and index are removed; it begins when m1, connected to both, may pull the
    folder. For `unchanged` a new file with the same bytes is renamed over the old one.
    """

    def __init__(self) -> None:
        self.name, self.copies = named("syncthing", "--version"), 2

    def missing(self) -> str:
        return absent("syncthing")

    def measure(self, place: Place, model: Path, changed: Path) -> dict[str, Timing]:
        root = place.root / "syncthing"
        devices = {name: Device(root / name, place.wires.hosts[name]) for name in ("m1", *RECEIVERS)}
        for name, device in devices.items():
            device.root.mkdir(parents=True)
            finish([[*place.wires.prefix(name), *device.generate()]], root=device.root)
        addresses = {device.id(): device.host for device in devices.values()}
        for device in devices.values():
            device.settle(addresses)
        first, others = devices["m1"], [devices[name] for name in RECEIVERS]
        with contextlib.ExitStack() as stack:
            for name in RECEIVERS:
                self._start(stack, place, name, devices[name])
            with contextlib.ExitStack() as once:
                self._start(once, place, "m1", first)
                connected(devices.values(), timeout_s=START_S)
                store = self._put(place, first, others, model)
            first.forget()
            self._start(stack, place, "m1", first)
            connected(devices.values(), timeout_s=START_S)
            gather = self._take(place, first, others, model)
            both = [self._put(place, first, others, changed) for _ in range(2)]
            return {"store": store, "gather": gather, "changed": both[0], "unchanged": both[1]}

    def _start(self, stack: contextlib.ExitStack, place: Place, name: str, device: Device) -> None:
        stack.enter_context(running([*place.wires.prefix(name), *device.serve()], root=device.root))

    def _put(self, place: Place, first: Device, others: Sequence[Device], file: Path) -> Timing:
        fresh, size = shutil.copyfile(file, first.root / "next"), file.stat().st_size

        def put() -> None:
            os.replace(fresh, first.folder / NAME)
            first.scan(timeout_s=STEP_S)
            version = first.version(NAME) or []
            for other in others:
                other.receive(NAME, version, size_bytes=size, timeout_s=STEP_S)

        took = place.timed(put, senders=["m1"])
        same(file, *(other.folder / NAME for other in others))
        return took

    def _take(self, place: Place, first: Device, others: Sequence[Device], file: Path) -> Timing:
        version, size = others[0].version(NAME) or [], file.stat().st_size

        def take() -> None:
            first.resume()
            first.receive(NAME, version, size_bytes=size, timeout_s=STEP_S)

        took = place.timed(take, senders=RECEIVERS)
        same(file, first.folder / NAME)
        return took


def peers() -> list[Peer]:
    """All of them, in the table's order."""
    return [Rsync(), Restic(), Syncthing()]


def which(program: str) -> str | None:
    """Where a program is; some are only on root's path."""
    return shutil.which(program, path=PATH)


def absent(program: str) -> str:
    return "" if which(program) else f"{program} is not installed"


def named(program: str, asks: str) -> str:
    """A program's name with its version, when it is there."""
    if absent(program):
        return program
    found = re.search(r"\d+(\.\d+)+", run(program, asks))
    return f"{program} {found[0]}" if found else program


@contextlib.contextmanager
def running(
    command: Sequence[str], *, root: Path, folder: Path | None = None, more: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with `root` as its home and none of our settings; what it says goes to a file there. Ended with its
    children at the end."""
    own = {"PATH": PATH, "HOME": str(root), "LANG": "C.UTF-8", **(more or {})}
    with (root / "said").open("ab") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=folder, env=own, start_new_session=True
        )
    try:
        yield process
    finally:
        with undisturbed():
            for number in (signal.SIGTERM, signal.SIGKILL):
                if process.poll() is None:
                    os.killpg(process.pid, number)
                    ended(process, timeout_s=END_S)


def ended(process: subprocess.Popen[bytes], *, timeout_s: float) -> bool:
    """Wait for a process's end; whether it came within so many seconds."""
    watch = os.pidfd_open(process.pid)
    try:
        return bool(select.select([watch], [], [], max(0.0, timeout_s))[0])
    finally:
        os.close(watch)


def finish(
    commands: Sequence[Sequence[str]], *, root: Path, folder: Path | None = None, more: Mapping[str, str] | None = None
) -> None:
    """Run commands at once, to the end of all; raises Failed when one fails, or lasts longer than a step may."""
    deadline = time.monotonic() + STEP_S
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(running(each, root=root, folder=folder, more=more)) for each in commands]
        for command, process in zip(commands, started, strict=True):
            if not ended(process, timeout_s=deadline - time.monotonic()):
                raise Failed(f"{shlex.join(command)}: not done within {STEP_S:.0f} s")
            if process.wait():
                said = (root / "said").read_text(errors="replace")[-1000:]
                raise Failed(f"{shlex.join(command)} ended with {process.returncode}: {said}")


def listening(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a daemon listens: a line of its network's /proc/net/tcp with state 0A has the port."""
    words = str(process.args)

    def listens() -> bool:
        if process.poll() is not None:
            raise Failed(f"{words} ended with {process.returncode}")
        lines = Path(f"/proc/{process.pid}/net/tcp").read_text().splitlines()[1:]
        return any(local.endswith(f":{port:04X}") and state == "0A" for _, local, _, state, *_ in map(str.split, lines))

    until(listens, otherwise=f"{words} does not listen", timeout_s=START_S)


def same(wanted: Path, *found: Path) -> None:
    """Raises Failed when a file's bytes are not those of the first one."""
    digests = []
    for path in (wanted, *found):
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").digest())
        if digests[-1] != digests[0]:
            raise Failed(f"{path} has not the bytes of {wanted}")
