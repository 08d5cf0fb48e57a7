"""The coordinator's steward: has missing copies made again by itself, and says and counts what it did."""

from functools import partial

from roost.checkpoints.steward import Mended, Steward
from roost.client.reporting import Reporting
from roost.client.session import Session
from roost.core.errors import RoostError
from roost.node.events import Event, Say
from roost.observe.metrics import Tally
from roost.settings.schema import Repair


def steward_of(session: Session, settings: Repair, say: Say, tally: Tally, reporting: Reporting) -> Steward:
    """A steward that tells `say` of what it did and of what it cannot do."""
    return Steward(
        session.peers, session.catalogue, grace_s=settings.grace_s, rate=settings.rate,
        told=partial(_told, session, say, tally), troubled=partial(_troubled, session, say),
        mending=partial(reporting.following, "repair", "missing copies"),
    )  # fmt: skip


def _told(session: Session, say: Say, tally: Tally, mended: Mended) -> None:
    names = {m.node_id: m.name for m in (*session.membership.view.members, *session.membership.view.left)}
    for copy in mended.made:
        tally.repaired(names.get(copy.target, "a node"), copy.bytes)
    if mended.copies:
        text = f"repaired: {mended.copies} copies made again"
        say(Event("repaired", text, {"copies": mended.copies, "bytes": mended.bytes}))
    for emptying in mended.emptying:
        if emptying.node in mended.left:
            name = names.get(emptying.node, "a node")
            say(Event("node-left", f"{name} has left: it is empty", {"node": emptying.node}))
    reasons = sorted({waiting.reason for waiting in mended.plan.stuck})
    if reasons:
        text = f"{len(mended.plan.stuck)} chunks lack copies that cannot be made now: {'; '.join(reasons)}"
        say(Event("warning", text, {"chunks": len(mended.plan.stuck)}))


def _troubled(session: Session, say: Say, error: RoostError) -> None:
    if session.membership.view.storage:  # a cluster without nodes has nothing to look after
        say(Event("warning", f"looking after what is stored: {error.message}"))
