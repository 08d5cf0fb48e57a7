"""How the machine is: processor, memory, temperature, and since when it runs; so that a Pi needs no second exporter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HEATED = ("cpu_thermal", "coretemp", "k10temp", "zenpower", "soc_thermal", "cpu-thermal", "acpitz")
"""What the sensors of processors are called, the best first; where none is there, all are looked at."""
PLAUSIBLE_C = (0.0, 130.0)


@dataclass(frozen=True, slots=True)
class HostReading:
    """One look. `cpu_ratio` is of all cores, 0 to 1, since the last look; `temperature_c` that of the hottest sensor of
    the processor, None where the system tells none; `booted_at` in seconds since 1970."""

    cpu_ratio: float
    memory_available_bytes: int
    memory_total_bytes: int
    temperature_c: float | None
    booted_at: float


class Host:
    """Looks at the machine it runs on. Calls take about a millisecond, and the first one loads psutil."""

    def __init__(self) -> None:
        self._began = False

    def read(self) -> HostReading:
        """How it is now."""
        import psutil

        if not self._began:
            psutil.cpu_percent()  # counts from here on
            self._began = True
        memory = psutil.virtual_memory()
        sensors = getattr(psutil, "sensors_temperatures", dict)
        return HostReading(
            cpu_ratio=psutil.cpu_percent() / 100,
            memory_available_bytes=memory.available,
            memory_total_bytes=memory.total,
            temperature_c=hottest(_told(sensors)),
            booted_at=psutil.boot_time(),
        )


def _told(sensors: Any) -> Mapping[str, Sequence[Any]]:
    try:
        found: Mapping[str, Sequence[Any]] = sensors()
    except (OSError, ValueError):  # a sensor that is there and cannot be read
        return {}
    return found


def hottest(sensors: Mapping[str, Sequence[Any]]) -> float | None:
    """The highest plausible temperature of the processor's sensors, or of all where none is known for one; of each
    ``current`` is looked at. None when there is none."""
    least, most = PLAUSIBLE_C
    for names in (*((name,) for name in HEATED), tuple(sensors)):
        found = [one.current for name in names for one in sensors.get(name, ()) if least < (one.current or 0) < most]
        if found:
            return float(max(found))
    return None
