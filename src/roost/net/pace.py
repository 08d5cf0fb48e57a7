"""Pace: how fast connections may come from one address, before anything is spent on them. Pure."""

from collections import OrderedDict


class Pace:
    """Lets each address come `burst` times at once, and `per_s` times a second in the long run. The `hosts_max`
    addresses that came last are remembered; times are readings of a clock that never goes back."""

    def __init__(self, *, per_s: float, burst: int, hosts_max: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._hosts_max = hosts_max
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """How often an address could still come, and when it last came; those who came last stand last."""

    def admits(self, host: str, *, now: float) -> bool:
        """Whether one more may come from `host` now; if so, it is counted."""
        left, since = self._left.pop(host, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._per_s)
        admitted = left >= 1
        self._left[host] = (left - 1 if admitted else left, now)
        if len(self._left) > self._hosts_max:
            self._left.popitem(last=False)
        return admitted
