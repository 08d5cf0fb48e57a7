"""Which physical machine this is: the thing that copies are kept apart by, because it burns down as one.

`ROOST_MACHINE` decides when set. Otherwise the id is a hash of the operating system's machine id and the first network
card's address: cards alone change, and machine ids alone are equal on two boards that were flashed from one image.
"""

import hashlib
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

from roost.core.errors import Failed
from roost.core.ids import MachineId

VARIABLE = "ROOST_MACHINE"
_HEX32 = re.compile(r"[0-9a-f]{32}\Z")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
_PLATFORM_UUID = re.compile(r'"IOPlatformUUID"\s*=\s*"([0-9A-Fa-f-]{36})"')
_LINUX_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_LINUX_CARDS = Path("/sys/class/net")


def machine_id() -> MachineId:
    """The id of this machine, the same for every process on it.

    Failed when nothing tells it from other machines: a made-up id would let two nodes on one machine pass for two.
    """
    chosen = os.environ.get(VARIABLE, "").strip()
    if chosen:
        return MachineId(chosen if _HEX32.match(chosen) else _hashed("chosen", chosen))
    if sys.platform == "darwin":
        system, card = _macos_system(), _any_card()
    else:
        system, card = _linux_system(_LINUX_FILES), _linux_card(_LINUX_CARDS)
    if not system and not card:
        raise Failed(
            "this machine has neither a machine id nor a network card to know it by",
            hint=f"name it yourself: set {VARIABLE} to a word that no other machine of the cluster has",
        )
    return MachineId(_hashed(system, card))


def parse_machine_id(text: str) -> MachineId:
    """The machine id that 32 lowercase hex digits spell; Failed for anything else."""
    if not _HEX32.match(text):
        raise Failed(f"not a machine id: {text[:80]!r}", hint="an id is 32 lowercase hexadecimal digits")
    return MachineId(text)


def _hashed(*parts: str) -> str:
    """Hashed because machine-id(5) asks that the id itself is not shown on a network."""
    return hashlib.sha256("\x00".join(("roost machine", *parts)).encode()).hexdigest()[:32]


def _linux_system(files: tuple[Path, ...]) -> str:
    for file in files:
        try:
            text = file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if _HEX32.match(text):
            return text
    return ""


def _linux_card(cards: Path) -> str:
    """The address of the first card that is hardware, in the order the kernel found them; bridges and tunnels, whose
    addresses change from boot to boot, do not count."""
    found: list[tuple[int, str]] = []
    try:
        for card in cards.iterdir():
            if not (card / "device").exists():
                continue
            address = (card / "address").read_text("ascii").strip().lower()
            if _MAC.match(address) and address != "00:00:00:00:00:00":
                found.append((int((card / "ifindex").read_text("ascii")), address))
    except (OSError, ValueError):
        return min(found)[1] if found else ""
    return min(found)[1] if found else ""


def _macos_system() -> str:
    try:
        told = subprocess.run(
            ["/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice"],
            capture_output=True, text=True, timeout=5, check=False,
        ).stdout  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = _PLATFORM_UUID.search(told)
    return match[1].lower() if match else ""


def _any_card() -> str:
    address = uuid.getnode()
    made_up = address >> 40 & 1  # RFC 4122, 4.5: the multicast bit marks a random number in place of an address
    return "" if made_up else f"{address:012x}"
