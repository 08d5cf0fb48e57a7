"""Judging the Wi-Fi: whether it sleeps between packets, and how strong it is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from roost.client.doctor.findings import Finding, Level

SIGNAL_MIN_DBM = -75.0


@dataclass(frozen=True, slots=True)
class Radio:
    """One Wi-Fi interface: whether it saves power, and its signal in dBm; None where the system does not tell."""

    name: str
    saves_power: bool | None
    signal_dbm: float | None


def judge_radios(radios: Iterable[Radio]) -> Iterator[Finding]:
    """One finding for each Wi-Fi interface, and one more where its signal is weak."""
    for radio in radios:
        stop = f"sudo iw dev {radio.name} set power_save off"
        if radio.saves_power:
            text = f"{radio.name} saves power: it sleeps between packets, misses multicast, and answers late"
            keep = "to keep it so: sudo nmcli connection modify NAME 802-11-wireless.powersave 2"
            yield Finding("wifi", Level.WARNING, text, f"{stop} ({keep})")
        elif radio.saves_power is None:
            text = f"whether {radio.name} saves power cannot be told: iw is missing or does not say"
            yield Finding("wifi", Level.NOTE, text, f"sudo apt install iw, then: {stop}")
        else:
            yield Finding("wifi", Level.OK, f"{radio.name} does not save power")
        if radio.signal_dbm is not None and radio.signal_dbm < SIGNAL_MIN_DBM:
            text = f"the signal of {radio.name} is weak: {radio.signal_dbm:.0f} dBm"
            yield Finding("wifi", Level.NOTE, text, "a cable, or a place nearer to the access point")
