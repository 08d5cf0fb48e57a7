"""Members from the front door: which node a person means, emptying one so that it can leave, and striking one off."""

from dataclasses import replace

import msgspec

from roost.checkpoints.census import take_census
from roost.checkpoints.drain import LACKING, SILENT, Emptying, set_standing
from roost.checkpoints.inventory import Inventory
from roost.checkpoints.peers import Peers, Survey
from roost.checkpoints.progress import Progress
from roost.checkpoints.repair import FULL, Ground, Observed, Work
from roost.checkpoints.steward import EVERYBODY, Mended, Steward
from roost.client.overview import node_rows, repair_rows
from roost.client.results import DrainResult, ForgetResult
from roost.client.session import Session
from roost.codec.records import MemberRecord, Revoked, decode_record, encode_record
from roost.core.cluster import Member, NodeState, View
from roost.core.errors import Endangers, Failed, NotFound, UsageError
from roost.security.authority import fingerprint

PREFIX_CHARACTERS_MIN = 4
NAMED_MAX = 5
REACH_LIMIT_S = 2.0


def named(view: View, text: str, *, left: bool = False, clients: bool = False) -> Member:
    """The storage node that `text` means, with `left` also one that has left, with `clients` any member: its id, its
    name, or the start of its id. NotFound when there is none, UsageError when there are several."""
    members = (*view.members, *(view.left if left else ()))
    nodes = [member for member in members if member.storage or clients]
    found = [m for m in nodes if text == m.node_id] or [m for m in nodes if text == m.name]
    if not found and len(text) >= PREFIX_CHARACTERS_MIN:
        found = [m for m in nodes if m.node_id.startswith(text.lower())]
    if not found:
        raise NotFound(f"there is no node {text!r}", hint="see: roost nodes")
    if len(found) > 1:
        ids = ", ".join(sorted(member.node_id[:8] for member in found))
        raise UsageError(f"{text!r} means several nodes ({ids})", hint="give the start of the id that you mean")
    return found[0]


# -- draining --------------------------------------------------------------------------------------------------------


async def drain(session: Session, node: str, *, cancel: bool, dry_run: bool, progress: Progress) -> DrainResult:
    """Have everything on a node copied to others, and let it leave then; with `cancel` let it stay after all.

    Returns when it has left, or when nothing more can be done now: then it goes on being drained, by the coordinator
    or by the next call. With `dry_run` only tells what would be copied. Raises NotFound and UsageError for a name that
    is nobody's or several nodes', Failed to cancel what is done already, Unreachable when no node answers.
    """
    survey = await session.peers.survey(enough=EVERYBODY)
    survey.require_any()
    member = named(survey.view, node, left=True)
    if member in survey.view.left:
        if cancel:
            raise Failed(f"{member.name} has left already", hint="to bring it back, on its machine: roost join TOKEN")
        return _drained(member, NodeState.LEFT, dry_run=dry_run)
    at = int(session.runtime.wall())
    if cancel:
        if member.draining and not dry_run:
            await set_standing(session.catalogue, member.node_id, "staying", at=at)
            await session.peers.survey(enough=EVERYBODY)
        return _drained(member, "staying", dry_run=dry_run)
    peers = session.peers
    if dry_run:
        peers = replace(peers, view=lambda: _with(session.peers.view(), replace(member, draining=True)))
    elif not member.draining:
        await set_standing(session.catalogue, member.node_id, "draining", at=at)
    steward = Steward(peers, session.catalogue, grace_s=0.0, rate=0)
    mended = await steward.look(progress, dry_run=dry_run, at_once=True)
    has_left = any(member.node_id == gone.node_id for gone in session.membership.view.left)
    state = NodeState.LEFT if has_left else NodeState.DRAINING
    return _drained(member, state, mended=mended, view=survey.view, dry_run=dry_run)


def _with(view: View, member: Member) -> View:
    """The view with this member in the place of the one that it was."""
    return replace(view, members=tuple(member if m.node_id == member.node_id else m for m in view.members))


def _drained(
    member: Member, state: str, *, mended: Mended | None = None, view: View | None = None, dry_run: bool
) -> DrainResult:
    result = DrainResult(
        id=member.node_id, name=member.name, state=str(state), copies=0, bytes=0, objects_left=0, bytes_left=0, plan=(),
        reason="", full=False, dry_run=dry_run, notes=(),
    )  # fmt: skip
    if mended is None or view is None:
        return result
    silent = Emptying(member.node_id, 0, 0, 0, SILENT)
    found = next((each for each in mended.emptying if each.node == member.node_id), silent)
    copying = dry_run and found.why == LACKING
    why = "" if state == NodeState.LEFT or copying else found.why
    work = replace(mended.plan, copies=tuple(c for c in mended.plan.copies if c.work is not Work.HOME))
    return msgspec.structs.replace(
        result, copies=mended.copies, bytes=mended.bytes, objects_left=found.left, bytes_left=found.bytes_left,
        plan=repair_rows(work, view), reason=why, full=FULL in why, notes=mended.notes,
    )  # fmt: skip


# -- striking off ----------------------------------------------------------------------------------------------------


async def forget(session: Session, node: str, *, force: bool) -> ForgetResult:
    """Strike a dead node off, or a machine that only stores and gathers: its certificate is of no use from now on, and
    nobody waits for it.

    Raises Failed for one that is alive; `Endangers`, unless `force`, when checkpoints have fewer copies than asked
    without it, which it names, or when their records cannot be read here, so that it cannot be told; NotFound and
    UsageError for a name that is nobody's or several nodes'.
    """
    peers = session.peers
    survey = await peers.survey(enough=EVERYBODY)
    survey.require_any()
    member = named(survey.view, node, left=True, clients=True)
    if member.node_id in survey.reached:
        raise _is_alive(member)
    await _require_dead(session, member)
    endangered, unreadable = await _endangered(session, survey, member) if member.storage else ((), 0)
    if unreadable and not force:
        raise Endangers(
            f"of {unreadable:,} versions the records cannot be read here now, so nobody knows what they need of "
            f"{member.name}",
            hint="try again when all nodes answer: they bring the records back; to strike it off all the same: --force",
        )
    if endangered and not force:
        names = tuple(f"{name}@{version}" for name, version in endangered)
        more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
        raise Endangers(
            f"without {member.name} fewer copies than asked are left of {', '.join(names[:NAMED_MAX])}{more}",
            hint="roost repair makes them again from what is left; to strike it off all the same: --force",
            checkpoints=names,
        )
    await _revoke(session, member)
    told = await peers.survey(enough=EVERYBODY)
    names = tuple(sorted(told.name(reached) for reached in told.reached))
    return ForgetResult(member.node_id, member.name, endangered, names)


async def _require_dead(session: Session, member: Member) -> None:
    """Raises Failed unless it is down as far as anybody knows, or has left. Of a program that does not serve nobody
    knows whether it runs."""
    if member.node_id == session.identity.node_id:
        raise UsageError("a machine cannot strike itself off", hint="do it on another machine of the cluster")
    if not member.storage:
        answers = await session.links.reach([member.node_id], within_s=REACH_LIMIT_S) if member.addresses else {}
        if None in answers.values():
            raise Failed(f"{member.name} is alive", hint="stop it first")
        return
    row = next((row for row in await node_rows(session) if row.id == member.node_id), None)
    if row is None or row.state in (NodeState.DOWN, NodeState.LEFT):
        return
    if row.state == NodeState.SUSPECT:
        raise Failed(
            f"{member.name} was silent only since a moment", hint="wait until roost nodes says that it is down"
        )
    raise _is_alive(member)


def _is_alive(member: Member) -> Failed:
    return Failed(
        f"{member.name} is alive: a node that is struck off takes its copies with it",
        hint=f"empty it first: roost nodes drain {member.name}    or stop it",
    )


async def _endangered(session: Session, survey: Survey, member: Member) -> tuple[tuple[tuple[str, str], ...], int]:
    """The live versions of which, without `member`, the nodes that answer have fewer copies than asked; and of how many
    that cannot be told."""
    view = replace(
        survey.view, members=tuple(other for other in survey.view.members if other.node_id != member.node_id)
    )
    peers: Peers = session.peers
    inventory = Inventory(session.catalogue, session.runtime)
    await inventory.refresh(view)
    ground = Ground(view, Observed(0.0, {}, {}))
    census = await take_census(peers, inventory, survey.reached - {member.node_id}, ground)
    endangered = tuple(
        (str(version.listed.name), version.listed.version)
        for version in inventory.versions
        if census.copies[version.listed.manifest] < version.redundancy.copies
    )
    return endangered, inventory.unreadable


async def _revoke(session: Session, member: Member) -> None:
    """Revoke every certificate that the node ever had."""
    known = [decode_record(data) for data in await session.catalogue.of_kind(MemberRecord)]
    certificates = {r.certificate for r in known if isinstance(r, MemberRecord) and r.node_id == member.node_id}
    at = int(session.runtime.wall())
    for print_ in sorted({fingerprint(certificate) for certificate in certificates} | {member.fingerprint}):
        record = Revoked(node_id=member.node_id, fingerprint=print_, at=at)
        await session.catalogue.add(encode_record(record))
