"""One Syncthing of a lab: its settings, which let it speak only to the devices named there, and its REST interface.

The interface listens on a socket in the file system, because that is reached from outside of the machine's network
namespace too. Fields are those of https://docs.syncthing.net/users/config.html and https://docs.syncthing.net/dev/rest.
"""

import copy
import http.client
import json
import shutil
import socket
import time
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from roost.core.errors import Failed

FOLDER = "model"
PORT = 22000
ANSWER_S, POLL_S = 30.0, 0.2
QUIET = {
    "startBrowser": "false", "globalAnnounceEnabled": "false", "localAnnounceEnabled": "false",
    "announceLANAddresses": "false", "relaysEnabled": "false", "natEnabled": "false", "stunKeepaliveStartS": "0",
    "urAccepted": "-1", "crashReportingEnabled": "false", "autoUpgradeIntervalH": "0", "reconnectionIntervalS": "1",
}  # fmt: skip
"""The settings under which no packet goes to anyone but the other devices."""


@dataclass(frozen=True, slots=True)
class Device:
    """A Syncthing of the machine with the address `host`; all that it has is in `root`, which is made."""

    root: Path
    host: str

    @property
    def folder(self) -> Path:
        """What it keeps equal with the others."""
        return self.root / "folder"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def _config(self) -> Path:
        return self.home / "config.xml"

    def generate(self) -> list[str]:
        """The command that makes its key and its first settings."""
        return ["syncthing", "generate", f"--home={self.home}", "--no-default-folder", "--skip-port-probing"]

    def serve(self) -> list[str]:
        """The command that runs it until it is ended."""
        return ["syncthing", "serve", f"--home={self.home}", "--no-browser", "--no-restart", "--no-upgrade"]

    def id(self) -> str:
        """Its name among devices, before its settings are written."""
        return _part(ET.parse(self._config).getroot(), "device").get("id", "")

    def settle(self, addresses: Mapping[str, str]) -> None:
        """Write the settings: the folder is shared with these devices (id -> address), which are found nowhere else."""
        tree = ET.parse(self._config)
        top = tree.getroot()
        pattern, folder = _part(top, "device"), copy.deepcopy(_part(top, "defaults/folder"))
        top.remove(pattern)
        for old in folder.findall("device"):
            folder.remove(old)
        for device_id, host in addresses.items():
            device = copy.deepcopy(pattern)
            device.set("id", device_id)
            device.set("name", host)
            _part(device, "address").text = f"tcp://{host}:{PORT}"
            top.append(device)
            ET.SubElement(folder, "device", id=device_id)
        folder.attrib |= {"id": FOLDER, "path": str(self.folder), "rescanIntervalS": "0", "fsWatcherEnabled": "false"}
        top.append(folder)
        for name, value in {**QUIET, "listenAddress": f"tcp://{self.host}:{PORT}"}.items():
            _part(top, f"options/{name}").text = value
        _part(top, "gui/address").text = str(self.root / "rest")
        tree.write(self._config)
        (self.folder / ".stfolder").mkdir(parents=True)

    def forget(self) -> None:
        """While it is ended: remove the folder's files and the index, and let it start with the folder paused."""
        shutil.rmtree(self.folder)
        (self.folder / ".stfolder").mkdir(parents=True)
        for index in self.home.glob("index*"):
            shutil.rmtree(index)
        tree = ET.parse(self._config)
        _part(tree.getroot(), "folder/paused").text = "true"
        tree.write(self._config)

    def ask(self, method: str, path: str, body: object = None, *, timeout_s: float = ANSWER_S, **query: str) -> Any:
        """Call its REST interface; the answer, None when there is none or no such thing.

        Raises Failed when it refuses, OSError when it does not listen or is silent for `timeout_s` seconds.
        """
        line = _Line(self.root / "rest", timeout_s)
        key = _part(ET.parse(self._config).getroot(), "gui/apikey").text or ""
        spelled = f"/rest/{path}?{urllib.parse.urlencode(query)}"
        try:
            line.request(method, spelled, None if body is None else json.dumps(body), {"X-API-Key": key})
            answer = line.getresponse()
            content = answer.read()
        finally:
            line.close()
        if answer.status not in (200, 404):
            raise Failed(f"{self.host} answers {method} {spelled} with {answer.status}: {content.decode()[:300]}")
        return json.loads(content) if content.strip() and answer.status == 200 else None

    def connected(self, others: int) -> bool:
        """Whether it listens and has a connection to so many others."""
        try:
            connections = self.ask("GET", "system/connections")["connections"].values()
        except (ConnectionError, FileNotFoundError):
            return False
        return [one["connected"] for one in connections].count(True) >= others

    def scan(self, *, timeout_s: float) -> None:
        """Let it read the folder's files, to the end."""
        self.ask("POST", "db/scan", timeout_s=timeout_s, folder=FOLDER)

    def resume(self) -> None:
        """Let it go on with the paused folder."""
        self.ask("PATCH", f"config/folders/{FOLDER}", {"paused": False})

    def version(self, file: str) -> list[str] | None:
        """The version of a file that its own folder has; None without one."""
        entry = self.ask("GET", "db/file", folder=FOLDER, file=file)
        return entry["local"].get("version") or None if entry else None

    def receive(self, file: str, version: list[str], *, size_bytes: int, timeout_s: float) -> None:
        """Wait until its folder is complete with this version of its only file, of so many bytes; raises Failed."""

        def complete() -> bool:
            if self.version(file) != version:
                return False
            status = self.ask("GET", "db/status", folder=FOLDER)
            return bool(status["needBytes"] == 0 and status["globalBytes"] == size_bytes)

        until(complete, otherwise=f"{self.host} has not all {size_bytes} bytes", timeout_s=timeout_s)


class _Line(http.client.HTTPConnection):
    """HTTP over a socket of the file system."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def connected(devices: Collection[Device], *, timeout_s: float) -> None:
    """Wait until each device has connections to all others; raises Failed."""
    for device in devices:
        what = f"Syncthing on {device.host} is not connected to the others"
        until(partial(device.connected, len(devices) - 1), otherwise=what, timeout_s=timeout_s)


def until(condition: Callable[[], bool], *, otherwise: str, timeout_s: float) -> None:
    """Ask again and again; raises Failed with these words when it is not so within `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{otherwise} within {timeout_s:.0f} s")
        time.sleep(POLL_S)


def _part(top: "ET.Element[str]", path: str) -> "ET.Element[str]":
    found = top.find(path)
    if found is None:
        raise Failed(f"this version of Syncthing has no {path} in its settings")
    return found
