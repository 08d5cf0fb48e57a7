"""What the doctor finds, as values: each with what was checked, how bad it is, what it is, and what mends it."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How bad a finding is. A *note* is worth knowing and costs nothing; a *warning* will hurt sooner or later; with a
    *problem* something does not work now."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor. `mend` is the command, or else the deed, that mends it; never empty from *warning* on."""

    check: str
    level: Level
    text: str
    mend: str = ""

    @property
    def is_bad(self) -> bool:
        return self.level in (Level.WARNING, Level.PROBLEM)


def all_well(findings: Iterable[Finding]) -> bool:
    """Whether there is nothing to mend."""
    return not any(finding.is_bad for finding in findings)
