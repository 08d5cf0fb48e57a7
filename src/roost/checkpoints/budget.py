"""A budget of bytes a second that several workers share. Pure: the clock is an argument."""

from dataclasses import dataclass


@dataclass(slots=True)
class Budget:
    """At most `rate` bytes a second in the mean; 0 is no limit. What was not used is not saved up, so that after a
    pause one piece of work goes at once and the next waits until that one is paid for."""

    rate: int
    _paid_until: float = float("-inf")

    def wait_s(self, count: int, now: float) -> float:
        """Take `count` bytes; how many seconds whoever moves them has to wait before."""
        if not self.rate:
            return 0.0
        begin = max(now, self._paid_until)
        self._paid_until = begin + count / self.rate
        return begin - now

    def give_back(self, count: int) -> None:
        """Bytes that were taken are not moved after all, nor any that were taken after them."""
        if self.rate:
            self._paid_until -= count / self.rate
