"""How far an operation has come and what it waits for, as a value that the caller may look at whenever it likes."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """Counts of one operation. Bytes are the checkpoint's own (before encoding), `bytes_moved` those on the network."""

    phase: str = "looking for the nodes"
    bytes_total: int = 0
    bytes_done: int = 0
    bytes_moved: int = 0
    waits: dict[str, int] = field(default_factory=dict)
    """How many transfers wait for whom, by the node's name."""
    notes: list[str] = field(default_factory=list)
    """What a person should know although the operation goes on, in the order it happened."""
    changed: Callable[["Progress"], None] | None = None

    @property
    def waiting_for(self) -> str:
        """In words: the nodes that most transfers wait for, or the phase."""
        waits = self.waits
        if not waits:
            return self.phase
        most = max(waits.values())
        return ", ".join(sorted(name for name, count in waits.items() if count == most))

    def part(self, name: str) -> "Progress":
        """A progress of one of several operations after each other, of which this one is the whole: what that one
        counts is counted here too. Another thread may read the whole meanwhile."""
        before = self.bytes_done

        def follow(part: Progress) -> None:
            self.bytes_done = before + part.bytes_done
            self.waits = dict(part.waits)
            self.enter(f"{name}: {part.phase}")

        return Progress(changed=follow)

    def enter(self, phase: str) -> None:
        self.phase = phase
        self.tell()

    def advance(self, done: int) -> None:
        self.bytes_done += done
        self.tell()

    def note(self, text: str) -> None:
        """Keep a note, once."""
        if text not in self.notes:
            self.notes.append(text)
            self.tell()

    def tell(self) -> None:
        if self.changed is not None:
            self.changed(self)

    def begin_wait(self, name: str) -> None:
        self.waits[name] = self.waits.get(name, 0) + 1
        self.tell()

    def end_wait(self, name: str) -> None:
        self.waits[name] -= 1
        if not self.waits[name]:
            del self.waits[name]
        self.tell()
