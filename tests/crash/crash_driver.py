"""How a subject of `test_kill.py` drives its cluster: somebody is killed one step later each time, and what was
promised is looked for after every restart. Also the things that the subjects keep.
"""

import hashlib
import itertools
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from crash.crash_processes import CLIENT, Lab, Tell, World
from crash.homes import Homes
from record_specimens import file as file_entry
from record_specimens import manifest
from roost.checkpoints.commit import ask_commit
from roost.checkpoints.peers import Peers
from roost.client.session import Session
from roost.codec.manifest import CODEC_RAW, Chunk, Manifest
from roost.codec.records import Tombstone, encode_record, record_id
from roost.core.errors import RoostError
from roost.core.ids import NodeId, object_id
from roost.net.body import Body

STEPS_MAX = 400
Act = Callable[[int], Awaitable[bool]]
"""Does what is interrupted, the number given telling it from all others; whether all of it was acknowledged."""
Prepare = Callable[[int], Awaitable[None]]


@dataclass
class Driver:
    """A subject while it runs: its cluster, its session with it, and what was promised by whom so far."""

    lab: Lab
    session: Session
    tell: Tell
    homes: Homes
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def world(self) -> World:
        return self.lab.world

    @property
    def peers(self) -> Peers:
        return self.session.peers

    def node(self, number: int) -> NodeId:
        return self.world.identities[number].node_id

    async def kill_a_node(
        self, victim: int, kind: str, what: str, act: Act, after: Act, *, prepare: Prepare | None = None,
        revive: Prepare | None = None,
    ) -> None:  # fmt: skip
        """Do `act` again and again, node `victim` dying one step later each time, and started again; `after` is done
        then, and must be acknowledged. With `revive` the node ends by itself in the end, and that lets it start again.
        """
        process: int | None = None
        for step in range(STEPS_MAX):
            number = next(self.numbers)
            if process is None:
                if revive is not None:
                    await revive(number)
                process = await self.lab.start("serve", victim, fused=True)
            if prepare is not None:
                await prepare(number)
            self.world.fuse.arm(step, kind)
            acknowledged = await act(number)
            died_at = self.world.fuse.disarm()
            if died_at:
                await self.lab.ended(process)
                self.homes.look_for_leftovers()
                process = await self.lab.start("serve", victim, fused=True)
            problems = await self.homes.problems(running=[victim])
            if not await after(number):
                problems.append("what is done after the restart is not acknowledged")
            problems += await self.homes.problems(running=[victim])
            self._say(what, kind, died_at, acknowledged, problems)
            if revive is not None:
                _, told = await self.lab.ended(process)
                assert told[-1] == "not admitted"
                process = None
            if not died_at:
                break
        if process is not None:
            await self.lab.kill(process)

    async def kill_a_client(
        self, work: str, kind: str, what: str, check: Callable[[int, list[Any]], Awaitable[bool]], *,
        prepare: Prepare | None = None,
    ) -> None:  # fmt: skip
        """Run the process `work` again and again, dying one step later each time. `check` hears what it told: twice,
        the second time of a run on the same home that nobody disturbs."""
        for step in range(STEPS_MAX):
            number = next(self.numbers)
            if prepare is not None:
                await prepare(number)
            self.world.fuse.arm(step, kind)
            _, told = await self.lab.ended(await self.lab.start(work, number, fused=True))
            died_at = self.world.fuse.disarm()
            acknowledged = await check(number, told)
            self.homes.look_for_leftovers()
            problems = await self.homes.problems(running=[])
            _, told = await self.lab.ended(await self.lab.start(work, number))
            if not await check(number, told):
                problems.append("what is done again is not acknowledged")
            problems += await self.homes.problems(running=[CLIENT])
            self._say(what, kind, died_at, acknowledged, problems)
            if not died_at:
                break

    def _say(self, what: str, kind: str, died_at: str, acknowledged: bool, problems: Sequence[str]) -> None:
        self.tell(
            {
                "what": what, "kind": kind, "died_at": died_at, "acknowledged": acknowledged,
                "problems": list(dict.fromkeys(problems)), "left": self.homes.left,
            }
        )  # fmt: skip


# -- things to keep ------------------------------------------------------------------------------------------------


def specimen(number: int, *, size: int = 3_000) -> bytes:
    return random.Random(f"specimen {number}").randbytes(size)


def manifest_of(number: int, *objects: bytes) -> tuple[Manifest, bytes]:
    """A checkpoint that is these objects one after the other, and its record."""
    chunks = [Chunk(object_id(data), object_id(data), len(data), len(data), CODEC_RAW) for data in objects]
    size = sum(len(data) for data in objects)
    made = manifest([file_entry("x", size)], chunks, name=f"run/step-{number}", seq=1)
    return made, encode_record(made)


def tombstone(number: int) -> bytes:
    name = hashlib.sha256(str(number).encode()).digest()
    return encode_record(Tombstone(name=f"run/step-{number}", manifest=name, seq=1, at=1, keep_s=60))


def pair(number: int) -> tuple[bytes, bytes]:
    """Two small objects."""
    return specimen(2 * number), specimen(2 * number + 1)


async def place(driver: Driver, node: int, number: int, *objects: bytes) -> bool:
    """Put the objects on one node and commit a manifest of them there; what it said is promised."""
    to = driver.node(node)
    made, data = manifest_of(number, *objects)
    try:
        for one in objects:
            await driver.peers.store(to).put(object_id(one), Body.of(one))
            driver.homes.promise_object(node, object_id(one))
        votes = await ask_commit(driver.peers, data, made.objects(), {to: frozenset(made.objects())})
    except RoostError:
        return False
    if to not in votes.yes:
        return False
    driver.homes.promise_record(node, record_id(data))
    return True
