"""The scrubber reads back and hashes all that a node holds, objects and records, over and over, and finds damage before
the copy is needed.

`roost.checkpoints.scrub` says what is due when. What is damaged goes to quarantine where it is found, and is counted;
repair and record exchange then make it again. A file that the disk did not give out stays, does not count, and is tried
again soon, so that a passing fault heals. Where a pass stands is kept in ``state/scrub``: a restart goes on from there.

A peer may ask for slices now, without a rate; a pass made so, from the first id to the last, is worth one of ours.
"""

import collections
import datetime
import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from roost.checkpoints.scrub import Deed, Seen, Step, Terms, next_step
from roost.chunks.condition import DiskCondition
from roost.chunks.disk import DiskChunkStore
from roost.chunks.store import CopyState
from roost.cluster.records import DiskRecords
from roost.codec.manifest import WALL_SECONDS_MAX
from roost.core.errors import Damaged, DiskFault, NotFound, RoostError
from roost.core.ids import DIGEST_BYTES, ObjectId, RecordId
from roost.core.runtime import Runtime
from roost.disk.durable import make_directory_durably, read_small, write_durably
from roost.disk.port import Disk
from roost.net.server import Call, Handler, Reply
from roost.wire.messages import Scrub, Scrubbed

DIRECTORY = "state"
PLACE_PATH = f"{DIRECTORY}/scrub"
PLACE_BYTES_MAX = 4096
LOOK_EVERY_S = 60.0
"""How long the scrubber sleeps at most before it looks again, for doubted files too."""
SAVE_EVERY_S = 60.0
SAVE_IDLE_S = 600.0
"""How old the remembered place may be while things are read, and while nothing is."""
AHEAD = 1024
AHEAD_S = 600.0
AHEAD_PART = 0.01
"""How many ids are looked up at once, and for how long that lookup holds, also as a part of a pass: what comes later is
seen by the next."""
DOUBTED_AT_ONCE = 16
DOUBTED_EVERY_S = 15.0
RETRY_S = 60.0
RETRY_S_MAX = 3600.0
DAMAGED_TOLD_MAX = 1024


class Place(msgspec.Struct, forbid_unknown_fields=True):
    """Where a pass stands: the last id read, its running time, and how much was bad; and of the last whole pass when it
    ended (Unix seconds, for display; 0: there was none) and how much was bad."""

    after: bytes = b""
    elapsed_s: float = 0.0
    bad: int = 0
    ended_at: int = 0
    ended_bad: int = 0


@dataclass(slots=True)
class _Doubt:
    """When something that could not be read is tried again, and how long after that."""

    due: float
    pause_s: float = RETRY_S


@dataclass(slots=True)
class _Told:
    """A pass that a peer asks for slice by slice."""

    reached: bytes
    bad: int
    faults: int


@dataclass(slots=True)
class _Tally:
    """What one read, or one slice, came to: objects and bytes read, the ids that were damaged. `unread` counts what
    could not be read for other reasons than damage."""

    objects: int = 0
    count: int = 0
    unread: int = 0
    damaged: list[bytes] = field(default_factory=list)

    @property
    def bad(self) -> int:
        return len(self.damaged) + self.unread


_Item = tuple[bytes, bool]
"""An id, and whether it is a record's."""


class Scrubber:
    """The scrub of one node's `store` and `records`. `lost` is called when records went bad, so that they are exchanged
    soon; `condition` is that of the disk, which a clean pass clears."""

    def __init__(
        self, runtime: Runtime, disk: Disk, store: DiskChunkStore, records: DiskRecords, terms: Terms,
        condition: DiskCondition, *, lost: Callable[[], None],
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._disk = disk
        self._store = store
        self._records = records
        self._terms = terms
        self._condition = condition
        self._lost = lost
        self._place = Place()
        self._since = runtime.now()
        self._faults = 0
        self._rest_until = float("-inf")
        self._saved = runtime.now()
        self._moved = False
        self._ahead: collections.deque[_Item] = collections.deque()
        self._ahead_until = float("-inf")
        self._ahead_whole = False
        self._doubts: dict[_Item, _Doubt] = {}
        self._doubts_due = float("-inf")
        self._told: _Told | None = None
        self._reason = "not begun"

    @property
    def ended_at(self) -> int:
        """When the last whole pass ended, in seconds since 1970; 0 when none has."""
        return self._place.ended_at

    @property
    def text(self) -> str:
        """How the scrub stands, in words."""
        place = self._place
        if not place.ended_at:
            return f"{self._reason}; no pass has ended yet"
        at = datetime.datetime.fromtimestamp(place.ended_at, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
        return f"{self._reason}; the last pass ended {at} and found {place.ended_bad or 'nothing'} damaged"

    async def run(self) -> None:
        """Scrub for ever. No error of the disk ends it."""
        await self._load()
        while True:
            while self._store.unmounted:
                self._reason = "waiting: the disk is not there"
                await self._runtime.sleep(LOOK_EVERY_S)
            await self._try_doubted()
            step = await self._next()
            self._reason = step.reason
            if step.deed is Deed.READ:
                await self._read(self._ahead.popleft())
            elif step.deed is Deed.BEGIN:
                self._end_pass(self._place.bad, self._faults)
                self._moved = True
            await self._save_when_due()
            if step.deed in (Deed.WAIT, Deed.NOTHING):
                await self._runtime.sleep(min(step.wait_s, LOOK_EVERY_S) or LOOK_EVERY_S)

    # The pass

    async def _next(self) -> Step:
        now = self._runtime.now()
        if now >= self._ahead_until or not (self._ahead or self._ahead_whole):
            place = self._place
            ahead = await self._following(place.after)
            if place is self._place:  # no peer's pass has ended meanwhile
                self._ahead = collections.deque(ahead)
                self._ahead_until = now + min(AHEAD_S, AHEAD_PART * self._terms.pass_s)
                self._ahead_whole = len(ahead) < AHEAD
        seen = Seen(
            elapsed_s=self._elapsed(),
            after=self._place.after,
            following=self._ahead[0][0] if self._ahead else None,
            held=self._store.bytes_used,
            rest_s=self._rest_until - self._runtime.now(),
        )
        return next_step(self._terms, seen)

    async def _following(self, after: bytes, *, records: bool = True) -> list[_Item]:
        """The next ids above `after` that are here, in order; of each kind, since a few files may be of both."""
        known = self._store.ids()

        def first() -> list[_Item]:
            return heapq.nsmallest(AHEAD, ((i, False) for i in known if i > after))

        found = await self._runtime.in_thread(first)
        if records:
            begin = after[0] if after else 0
            found += [(i, True) for i in self._records.ids(range(begin, 256)) if i > after]
        return sorted(found)[:AHEAD]

    def _elapsed(self) -> float:
        return self._place.elapsed_s + self._runtime.now() - self._since

    async def _read(self, item: _Item) -> None:
        place, tally = self._place, _Tally()
        await self._paced(item, tally)
        if place is self._place:
            place.after = item[0]
            place.bad += tally.bad
            self._moved = True

    async def _paced(self, item: _Item, tally: _Tally) -> bool:
        """`_read_back`, and a rest after it as the rate asks."""
        begun = self._runtime.now()
        good = await self._read_back(item, tally)
        self._rest_until = begun + self._terms.taken_s(tally.count)
        return good

    def _end_pass(self, bad: int, faults_at_begin: int) -> None:
        """A whole pass is over; the next begins."""
        faults = self._condition.faults
        if not bad and faults == faults_at_begin:
            self._condition.recover()
        wall = min(max(1, int(self._runtime.wall())), WALL_SECONDS_MAX)
        self._place = Place(ended_at=wall, ended_bad=bad)
        self._since = self._runtime.now()
        self._faults = faults
        self._ahead.clear()
        self._ahead_until = float("-inf")

    # Reading back

    async def _read_back(self, item: _Item, tally: _Tally, moved: Callable[[int], None] = lambda count: None) -> bool:
        """Read one thing back and add it to `tally`; whether it was good, or is not here any more."""
        digest, is_record = item

        def read(count: int) -> None:
            tally.count += count
            moved(count)

        try:
            if is_record:
                read(await self._records.read_back(RecordId(digest)))
                return True
            [state] = await self._store.verify([ObjectId(digest)], moved=read)
        except NotFound:
            return True
        except Damaged:
            tally.damaged.append(digest)
            self._lost()
            return False
        except DiskFault:
            tally.damaged.append(digest)
            self._doubts.setdefault(item, _Doubt(self._runtime.now() + RETRY_S))
            return False
        except RoostError:  # no file where one should be, or too many open: no word on its bytes
            tally.unread += 1
            return False
        if state is CopyState.DAMAGED:
            tally.damaged.append(digest)
        tally.objects += state is not CopyState.ABSENT
        return state is not CopyState.DAMAGED

    async def _try_doubted(self) -> None:
        """Read again what could not be read, first after a minute, then less and less often. A record that is refused
        again is given up, and comes anew from a peer; an object does not count meanwhile, so repair replaces it."""
        now = self._runtime.now()
        if now < self._doubts_due:
            return
        self._doubts_due = now + DOUBTED_EVERY_S
        suspects: set[_Item] = {(i, False) for i in self._store.suspects()}
        records = {item for item in self._doubts if item[1]}
        self._doubts = {item: self._doubts.get(item) or _Doubt(now) for item in suspects | records}
        due = sorted((doubt.due, item) for item, doubt in self._doubts.items() if doubt.due <= now)
        for _, item in due[:DOUBTED_AT_ONCE]:
            await self._runtime.sleep(max(0.0, self._rest_until - self._runtime.now()))
            if await self._paced(item, _Tally()):
                del self._doubts[item]
            elif item[1]:
                del self._doubts[item]
                self._records.give_up(RecordId(item[0]))
                self._lost()
            else:
                doubt = self._doubts[item]
                doubt.due, doubt.pause_s = self._runtime.now() + doubt.pause_s, min(2 * doubt.pause_s, RETRY_S_MAX)

    # Slices that a peer asks for

    async def slice(self, after: bytes, seconds: float, moved: Callable[[int], None]) -> Scrubbed:
        """Read back the objects above `after` for some `seconds`, and at least one; before the first all records.
        `moved` hears of bytes as they are read."""
        end = self._runtime.now() + seconds
        tally = _Tally()
        told = self._told if after and self._told is not None and self._told.reached == after else None
        if not after:
            told = _Told(b"", 0, self._condition.faults)
            for record in self._records.ids(range(256)):
                await self._read_back((record, True), tally, moved)
        self._told = None
        reached, ended = after, False
        while not ended:
            ahead = await self._following(reached, records=False)
            ended = not ahead
            for item in ahead:
                await self._read_back(item, tally, moved)
                reached = item[0]
                if self._runtime.now() >= end or len(tally.damaged) >= DAMAGED_TOLD_MAX:
                    break
            else:
                continue
            break
        if told is not None:
            told.reached, told.bad = reached, told.bad + tally.bad
            if ended:
                self._end_pass(told.bad, told.faults)
                self._moved = True
            else:
                self._told = told
        damaged = b"".join(tally.damaged[:DAMAGED_TOLD_MAX])
        return Scrubbed(b"" if ended else reached, damaged, tally.objects, tally.count)

    # What is remembered

    async def _load(self) -> None:
        """Go on from the place that is remembered; from the beginning when there is none or it is damaged."""
        try:
            await self._runtime.in_thread(make_directory_durably, self._disk, DIRECTORY)
            self._place = decode_place(await self._runtime.in_thread(self._read_place))
        except RoostError:
            self._place = Place()
        self._since = self._saved = self._runtime.now()
        self._faults = self._condition.faults

    def _read_place(self) -> bytes:
        return read_small(self._disk, PLACE_PATH, bytes_max=PLACE_BYTES_MAX)

    async def _save_when_due(self) -> None:
        now = self._runtime.now()
        if now - self._saved < (SAVE_EVERY_S if self._moved else SAVE_IDLE_S):
            return
        self._place.elapsed_s, self._since = self._elapsed(), now
        self._saved, self._moved = now, False
        data = encode_place(self._place)
        try:
            await self._runtime.in_thread(write_durably, self._disk, PLACE_PATH, data)
        except RoostError:
            return  # the next one is tried in a minute; of a disk that fails, whoever watches it hears


def encode_place(place: Place) -> bytes:
    """``state/scrub``: the SHA-256 of the JSON that follows it, in hex, and a newline."""
    text = msgspec.json.encode(place)
    return hashlib.sha256(text).hexdigest().encode() + b"\n" + text


def decode_place(data: bytes) -> Place:
    """What `encode_place` encoded; Damaged for anything else."""
    digest, _, text = data.partition(b"\n")
    if digest != hashlib.sha256(text).hexdigest().encode():
        raise Damaged("the place of the scrub is damaged", hint="it begins again")
    try:
        place = msgspec.json.decode(text, type=Place)
    except msgspec.MsgspecError as error:
        raise Damaged(f"the place of the scrub cannot be read: {error}", hint="it begins again") from error
    sane = 0 <= place.elapsed_s < float("inf") and 0 <= place.ended_at <= WALL_SECONDS_MAX
    if len(place.after) not in (0, DIGEST_BYTES) or not sane:
        raise Damaged("the place of the scrub makes no sense", hint="it begins again")
    return place


def scrub_handler(scrubber: Scrubber) -> Handler:
    """The node's side of `Scrub`."""

    async def scrub(call: Call) -> Reply:
        request = call.request
        assert isinstance(request, Scrub)

        def moved(count: int) -> None:
            call.progress += count

        return Reply(await scrubber.slice(request.after, request.seconds, moved))

    return scrub
