"""Slow links: the token bucket of Linux (tc tbf) at both ends of a machine's cable."""

from lab.wires import Wires, run


def shape(wires: Wires, name: str, *, mbit: int) -> None:
    """Let a machine's link carry so many Mbit a second, each way."""
    burst = f"{max(32, mbit // 8)}kb"  # a bucket too small for its rate does not reach it
    bucket = ("tbf", "rate", f"{mbit}mbit", "burst", burst, "latency", "50ms")
    run(*wires.prefix(name), "tc", "qdisc", "replace", "dev", "eth0", "root", *bucket)
    run(*wires.switch_prefix(), "tc", "qdisc", "replace", "dev", wires.port(name), "root", *bucket)
