"""A scrub from the front door: the nodes read everything back now, and what is damaged is made again at once."""

from collections.abc import Awaitable, Callable

from roost.checkpoints.peers import Survey
from roost.checkpoints.progress import Progress
from roost.checkpoints.scrub_now import ReadBack, scrub_now
from roost.client.members import named
from roost.client.results import RepairResult, ScrubResult, ScrubRow
from roost.client.session import Session
from roost.core.checkpoint import Health, Redundancy

TWO = Redundancy.parse("2")

Repair = Callable[[], Awaitable[RepairResult]]


async def scrub(session: Session, node: str | None, progress: Progress, repair: Repair) -> ScrubResult:
    """Let `node` (its name or id; all nodes without one) read back all it holds, then `repair`.

    A node that does not answer, or not to the end, has a problem in its row. Raises Unreachable when no node answers at
    all, NotFound and UsageError for a name that is nobody's or several nodes'.
    """
    survey = await session.peers.survey(enough=TWO)
    survey.require_any()
    members = [named(survey.view, node)] if node is not None else list(survey.view.storage)
    found = await scrub_now(session.peers, survey, [member.node_id for member in members], progress)
    progress.enter("repairing what was damaged")
    mended = await repair()
    lost = [row for row in await session.catalogue.list() if row.health is Health.LOST]
    return ScrubResult(
        nodes=tuple(_row(survey, one) for one in found),
        copies=mended.copies,
        short=mended.short,
        lost=tuple((str(row.name), row.version) for row in lost),
        notes=mended.notes,
    )


def _row(survey: Survey, found: ReadBack) -> ScrubRow:
    return ScrubRow(
        id=found.node,
        name=survey.name(found.node),
        objects=found.objects,
        bytes=found.read_bytes,
        damaged=tuple(digest.hex() for digest in found.damaged),
        problem=found.problem.message if found.problem is not None else "",
    )
