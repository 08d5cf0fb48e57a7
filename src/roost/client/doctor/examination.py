"""The examination: everything is looked at side by side, each look within its limit, and then judged, in a fixed order.

A look that fails or takes too long is a finding itself, and keeps no other from being told.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from roost import __version__
from roost.client.discovering import Surroundings, Tried, look_around
from roost.client.doctor.clock import judge_clock
from roost.client.doctor.company import CompanySeen, look_at_company
from roost.client.doctor.disk import judge_disk
from roost.client.doctor.findings import Finding, Level
from roost.client.doctor.keys import look_at_keys
from roost.client.doctor.machine import judge_machine
from roost.client.doctor.members import judge_identity, judge_releases, judge_spread, judge_standing
from roost.client.doctor.network import judge_dialled, judge_discovery, judge_served
from roost.client.doctor.radio import judge_radios
from roost.client.doctor.scratch import look_at_disk
from roost.client.doctor.system import look_at_clock, look_at_machine, look_at_radios
from roost.client.run_state import serving
from roost.client.session import Session, member_network, open_session
from roost.cluster.discovery.sightings import Way
from roost.core.cluster import Address
from roost.core.errors import RoostError, UsageError
from roost.core.runtime import Runtime, SystemRuntime
from roost.disk.posix import PosixDisk
from roost.security.identity import Identity
from roost.settings.paths import Home
from roost.settings.schema import Settings

LOOK_S = 3.0
LIMIT_S = 10.0
DISK_LIMIT_S = 20.0
AGAIN = "mend what it says, and run: roost doctor"
COMPANY_LIMIT_S = 30.0

T = TypeVar("T")
Look = Callable[[], Iterable[Finding]]
"""A look of somebody else's; it blocks, and is taken in a thread."""


async def examine(home: Home, settings: Settings, *, more: Mapping[str, Look]) -> list[Finding]:
    """All findings. `more` are further looks by the name of their check."""
    runtime = SystemRuntime()
    in_thread = runtime.in_thread
    disk = PosixDisk(home.root)
    looks = {
        "machine": (in_thread(look_at_machine), LIMIT_S),
        "clock": (in_thread(look_at_clock, home, runtime.wall()), LIMIT_S),
        "disk": (look_at_disk(runtime, home, reserve=settings.node.reserve), DISK_LIMIT_S),
        "certificates": (in_thread(look_at_keys, disk, home), LIMIT_S),
        "discovery": (_around(runtime, settings), LOOK_S + LIMIT_S),
        "members": (_company(runtime, home, settings), COMPANY_LIMIT_S),
        "wifi": (in_thread(look_at_radios), LIMIT_S),
        **{check: (in_thread(lambda look=look: list(look())), LIMIT_S) for check, look in more.items()},
    }
    done = await asyncio.gather(*(guarded(check, look, limit_s=limit) for check, (look, limit) in looks.items()))
    seen: dict[str, Any] = dict(zip(looks, done, strict=True))
    found = list(judge(seen, settings, platform=sys.platform))
    for check in more:
        found += seen[check] if isinstance(seen[check], list) else []
    return found


async def guarded(check: str, look: Coroutine[Any, Any, T], *, limit_s: float) -> T | Finding:
    """What the look saw, or a finding that says why it saw nothing. One that hangs in the system is not waited for."""
    task = asyncio.get_running_loop().create_task(look)
    await asyncio.wait((task,), timeout=limit_s)
    if not task.done():
        task.cancel()
        text = f"could not be looked at within {limit_s:.0f} s"
        return Finding(check, Level.WARNING, text, "roost doctor again; if it stays so, look at the load: uptime")
    try:
        return task.result()
    except RoostError as error:
        return Finding(check, Level.WARNING, f"could not be looked at: {error.message}", error.hint or AGAIN)
    except OSError as error:
        return Finding(check, Level.WARNING, f"could not be looked at: {error}", AGAIN)
    except Exception as error:  # supervised: by the doctor, to whom what fails is one more thing that is wrong
        return Finding(check, Level.WARNING, f"could not be looked at: {type(error).__name__}: {error}", AGAIN)


def judge(seen: Mapping[str, Any], settings: Settings, *, platform: str) -> Iterable[Finding]:
    """The findings of all looks, by their checks; a look that failed is its own."""
    yield from (saw for saw in seen.values() if isinstance(saw, Finding))
    well = {check: saw for check, saw in seen.items() if not isinstance(saw, Finding)}
    company: CompanySeen | None = well.get("members")
    if "machine" in well:
        yield from judge_machine(well["machine"])
    if "clock" in well:
        yield from judge_clock(replace(well["clock"], skews=company.skews if company is not None else ()))
    if "disk" in well:
        yield from judge_disk(well["disk"])
    if "certificates" in well:
        yield from judge_identity(well["certificates"][0])
    if company is not None:
        yield from judge_standing(struck_off=company.struck_off)
    if "discovery" in well:
        around: Surroundings = replace(well["discovery"], tried=_tried(company))
        yield from judge_discovery(around, loopback=settings.node.listen.is_loopback, platform=platform)
    if company is not None:
        yield from judge_dialled(company.dialled, platform=platform)
        yield from judge_served(company.serving, company.heard, platform=platform, node=company.node)
    if "wifi" in well:
        yield from judge_radios(well["wifi"])
    if company is not None:
        yield from judge_releases(f"roost {__version__}", company.software)
        if company.machines is not None:
            yield from judge_spread(company.machines)


def _tried(company: CompanySeen | None) -> Sequence[Tried]:
    """The members on other machines, as addresses that were dialled."""
    found = []
    for one in company.dialled if company is not None else ():
        try:
            if one.elsewhere:
                found.append(Tried(Address.parse(one.address), Way.REMEMBERED, None, one.problem))
        except UsageError:  # no address of it is known
            continue
    return found


async def _around(runtime: Runtime, settings: Settings) -> Surroundings:
    """Who is in sight; who listens on loopback alone does not look."""
    if settings.node.listen.is_loopback:
        return Surroundings((), ())
    return await look_around(runtime, settings, limit_s=LOOK_S, patient=True)


async def _company(runtime: Runtime, home: Home, settings: Settings) -> CompanySeen | None:
    """The cluster as this home sees it; None when it belongs to none, or its identity is unusable."""
    disk = PosixDisk(home.root)
    _, identity = await runtime.in_thread(look_at_keys, disk, home)
    if identity is None:
        return None
    session = await _session(runtime, home, disk, identity)
    try:
        if not session.membership.view.storage:
            await session.meet_static(settings.discovery.peers)
        return await look_at_company(session, await runtime.in_thread(serving, home))
    finally:
        await session.close()


async def _session(runtime: Runtime, home: Home, disk: PosixDisk, identity: Identity) -> Session:
    """A session; on a disk that takes no catalogue, with one in memory."""
    network = member_network(runtime, identity)
    try:
        return await open_session(runtime, network, disk, identity, home.catalogue)
    except RoostError:
        return await open_session(runtime, network, disk, identity, None)
