"""The catalogue is a machine's record set in SQLite, indexed for people: what is stored, in which versions, how it was
when somebody last looked.

Only a cache: the records in it are everybody's, and a deleted or damaged catalogue is made again from the nodes'. It
is the one durable file that does not go through `roost.disk`, because SQLite keeps its own promises (WAL mode).
"""

import asyncio
import contextlib
import sqlite3
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from roost.cluster.arrivals import Arrivals
from roost.cluster.records import Added, BucketIndex, Check
from roost.codec.manifest import Manifest
from roost.codec.records import KINDS_ABOUT_MEMBERS, Record, Tombstone, decode_record, kind_of, record_id
from roost.core.checkpoint import Health, run_of
from roost.core.errors import Damaged, DiskFault, NotFound, UsageError
from roost.core.ids import CheckpointName, RecordId, parse_version
from roost.core.runtime import Runtime

T = TypeVar("T")

RELATIVES = 3
LOCKED_LIMIT_S = 10.0
_SCHEMA_VERSION = 4
_SCHEMA = """
CREATE TABLE records (id BLOB PRIMARY KEY, kind TEXT NOT NULL, data BLOB NOT NULL);
CREATE TABLE versions (
    manifest BLOB PRIMARY KEY, name TEXT NOT NULL, run TEXT NOT NULL, seq INTEGER NOT NULL, version TEXT NOT NULL,
    bytes INTEGER NOT NULL, stored_at INTEGER NOT NULL, redundancy TEXT NOT NULL, source TEXT NOT NULL,
    tree BLOB NOT NULL, shape TEXT NOT NULL
);
CREATE INDEX versions_by_name ON versions (name, seq, manifest);
CREATE INDEX versions_by_run ON versions (run, stored_at);
CREATE TABLE removed (
    manifest BLOB PRIMARY KEY, name TEXT NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, until INTEGER NOT NULL
);
CREATE INDEX removed_by_name ON removed (name, seq);
CREATE VIEW live AS SELECT * FROM versions WHERE manifest NOT IN (SELECT manifest FROM removed);
CREATE TABLE health (manifest BLOB PRIMARY KEY, health TEXT NOT NULL, at INTEGER NOT NULL, verified_at INTEGER);
"""


@dataclass(frozen=True, slots=True)
class Listed:
    """One version as `ls` shows it. Times are seconds since 1970; `health_at` is None when nobody looked yet. What was
    removed at `removed_at` can be brought back at least until `kept_until`, for the nodes count running time only."""

    name: CheckpointName
    version: str
    manifest: RecordId
    bytes: int
    stored_at: int
    redundancy: str
    source: str
    shape: str
    health: Health
    health_at: int | None
    verified_at: int | None
    removed_at: int | None = None
    kept_until: int | None = None


class Catalogue:
    """A `RecordSet` with an index of the versions. `added` hears of every record, also of those found at opening."""

    def __init__(self, path: Path | None, runtime: Runtime, *, check: Check, added: Added) -> None:
        self._path = path
        self._runtime = runtime
        self._check = check
        self._added = added
        self._index = BucketIndex()
        self.arrivals = Arrivals()
        self._turn = asyncio.Lock()
        self._database: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open or make the file (in memory without a path). One that SQLite cannot read is made anew."""
        if not await self._opened():
            await self._run(self._remake)
        rows = await self._run(lambda db: db.execute("SELECT id, kind FROM records").fetchall())
        for record, _ in rows:
            self._index.add(RecordId(record))
        for record, kind in rows:
            if kind in KINDS_ABOUT_MEMBERS:
                try:
                    self._added(record, decode_record(await self.get(RecordId(record))))
                except Damaged:
                    continue  # it was let go of, so that record exchange brings it again

    async def _opened(self) -> bool:
        """`_open`, waiting for other processes that make the file now: SQLite refuses to change the journal's mode
        meanwhile, without waiting as it does elsewhere."""
        deadline = self._runtime.now() + LOCKED_LIMIT_S
        while True:
            try:
                return await self._run(self._open)
            except DiskFault as error:
                cause = error.__cause__
                locked = isinstance(cause, sqlite3.OperationalError) and cause.sqlite_errorcode == sqlite3.SQLITE_BUSY
                if not locked or self._runtime.now() >= deadline:
                    raise
            await self._run(lambda _: self._close())
            await self._runtime.sleep(0.01 + 0.04 * self._runtime.random())

    def _open(self, _: object) -> bool:
        """Whether the file, which is made when it is absent, is one that we can use. OperationalError when that cannot
        be told (no permission, locked)."""
        try:
            database = self._connect()
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                version = _make(database)
            if version != _SCHEMA_VERSION:
                return False
            database.execute(
                "SELECT (SELECT count(*) FROM records), (SELECT count(*) FROM live), (SELECT count(*) FROM health)"
            ).fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                raise
            return False  # its tables are not ours
        except sqlite3.DatabaseError:
            return False
        return True

    def _connect(self) -> sqlite3.Connection:
        where = ":memory:" if self._path is None else str(self._path)
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(where, timeout=10, isolation_level=None, check_same_thread=False)
        if self._path is not None:
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
        return self._database

    def _remake(self, _: object) -> None:
        self._close()
        if self._path is not None:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        if not self._open(None):
            raise sqlite3.OperationalError("another process makes it unusable")

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    async def close(self) -> None:
        await self._run(lambda _: self._close())

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` with the connection, one at a time, off the loop."""
        async with self._turn:
            try:
                return await self._runtime.in_thread(work, self._database)
            except sqlite3.ProgrammingError:
                raise
            except (sqlite3.DatabaseError, OSError) as error:
                raise DiskFault(
                    f"the catalogue {self._path} cannot be used: {error}",
                    hint="it is only a cache: delete it, and it is made again from the nodes",
                ) from error

    # -- the record set ------------------------------------------------------------------------------------------

    def digests(self) -> bytes:
        return self._index.digests()

    def ids(self, buckets: Iterable[int]) -> list[RecordId]:
        return self._index.ids(buckets)

    def __contains__(self, record: object) -> bool:
        return record in self._index

    def __len__(self) -> int:
        return len(self._index)

    async def get(self, record: RecordId) -> bytes:
        row = await self._run(lambda db: db.execute("SELECT data FROM records WHERE id = ?", (record,)).fetchone())
        if row is None:
            self._index.discard(record)
            raise NotFound(f"record {record.hex()[:12]} is not here")
        data = bytes(row[0])
        if record_id(data) != record:
            await self._run(lambda db: db.execute("DELETE FROM records WHERE id = ?", (record,)))
            self._index.discard(record)
            raise Damaged(f"record {record.hex()[:12]} is damaged here", hint="record exchange brings it again")
        return data

    async def of_kind(self, kind: type) -> list[bytes]:
        """All records of one kind that can be read, by id. For kinds of which there are few and small ones."""
        query = "SELECT id FROM records WHERE kind = ? ORDER BY id"
        rows = await self._run(lambda db: db.execute(query, (kind_of(kind),)).fetchall())
        found: list[bytes] = []
        for (record,) in rows:
            with contextlib.suppress(Damaged, NotFound):
                found.append(await self.get(RecordId(record)))
        return found

    async def add(self, data: bytes) -> bool:
        record = record_id(data)
        if record in self._index:
            return False
        decoded = await self._runtime.in_thread(decode_record, data)
        self._check(decoded)
        await self._run(lambda db: self._insert(db, record, data, decoded))
        if record in self._index:
            return False
        self._index.add(record)
        self._added(record, decoded)
        return True

    def _insert(self, db: sqlite3.Connection, record: RecordId, data: bytes, decoded: Record) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            db.execute("INSERT OR IGNORE INTO records VALUES (?, ?, ?)", (record, kind_of(type(decoded)), data))
            if isinstance(decoded, Manifest):
                name = CheckpointName(decoded.name)
                db.execute(
                    "INSERT OR IGNORE INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        record, name, run_of(name), decoded.seq, decoded.version_of(record), decoded.bytes_total,
                        decoded.stored_at, decoded.redundancy, decoded.source, decoded.tree, decoded.shape,
                    ),
                )  # fmt: skip
            elif isinstance(decoded, Tombstone):
                db.execute(
                    "INSERT INTO removed VALUES (?, ?, ?, ?, ?) ON CONFLICT (manifest) DO UPDATE SET "
                    "at = min(at, excluded.at), until = min(until, excluded.until)",
                    (decoded.manifest, decoded.name, decoded.seq, decoded.at, decoded.at + decoded.keep_s),
                )
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # a full disk has ended it already
                db.execute("ROLLBACK")
            raise

    # -- what is stored ------------------------------------------------------------------------------------------

    async def manifest(self, record: RecordId) -> Manifest:
        """One manifest, decoded."""
        decoded = await self._runtime.in_thread(decode_record, await self.get(record))
        assert isinstance(decoded, Manifest)
        return decoded

    async def _manifests(self, query: str, parameters: Sequence[object]) -> list[Manifest]:
        rows = await self._run(lambda db: db.execute(query, parameters).fetchall())
        return [await self.manifest(RecordId(row[0])) for row in rows]

    async def relatives(self, name: CheckpointName) -> list[Manifest]:
        """The newest live versions of the name and of its run: what a new version probably shares chunks with."""
        own = "SELECT manifest FROM live WHERE name = ? ORDER BY seq DESC, manifest DESC LIMIT ?"
        run = "SELECT manifest FROM live WHERE run = ? AND name != ? ORDER BY stored_at DESC, manifest DESC LIMIT ?"
        found = await self._manifests(own, (name, RELATIVES))
        if run_of(name):
            found += await self._manifests(run, (run_of(name), name, RELATIVES))
        return found

    async def newest(self, name: CheckpointName) -> Manifest | None:
        """The newest live version: the highest (seq, id)."""
        query = "SELECT manifest FROM live WHERE name = ? ORDER BY seq DESC, manifest DESC LIMIT 1"
        found = await self._manifests(query, (name,))
        return found[0] if found else None

    async def next_seq(self, name: CheckpointName) -> int:
        """One more than the highest seq ever seen for the name, removed versions included."""
        query = (
            "SELECT max(seq) FROM (SELECT seq FROM versions WHERE name = ?1 UNION ALL "
            "SELECT seq FROM removed WHERE name = ?1)"
        )
        row = await self._run(lambda db: db.execute(query, (name,)).fetchone())
        return 1 + (row[0] or 0)

    async def find(self, name: CheckpointName, version: str | None) -> Listed:
        """One live version of `name` (the newest without `version`). NotFound says what there is instead."""
        listed = await self._versions(name)
        if not listed:
            removed = await self._versions(name, removed=True)
            if removed:
                raise NotFound(f"{name} was removed", hint=f"see: roost ls --removed {name}")
            near = await self.list(prefix=run_of(name))
            hint = f"there is {near[-1].name}; see: roost ls" if near else "see: roost ls"
            raise NotFound(f"no checkpoint is named {name}", hint=hint)
        if version is None:
            return listed[-1]
        found = _with_version(listed, version)
        if found is not None:
            return found
        raise NotFound(
            f"{name} has no version {version}", hint=f"its versions: {', '.join(v.version for v in listed[-5:])}"
        )

    async def find_removed(self, name: CheckpointName, version: str | None) -> Listed:
        """One removed version of `name`. NotFound says what there is instead; UsageError when no version was given, or
        that one is not removed."""
        removed = await self._versions(name, removed=True)
        if version is not None:
            found = _with_version(removed, version)
            if found is not None:
                return found
            if _with_version(await self._versions(name), version) is not None:
                raise UsageError(f"{name}@{version} is not removed", hint=f"see: roost ls {name}")
        if not removed:
            raise NotFound(f"nothing named {name} was removed", hint="see: roost ls --removed")
        hint = f"removed are: {', '.join(f'{name}@{v.version}' for v in removed[-5:])}"
        if version is None:
            raise UsageError(f"say which version of {name} to bring back", hint=hint)
        raise NotFound(f"no version {version} of {name} was removed", hint=hint)

    async def removed_versions(self, name: CheckpointName) -> list[Listed]:
        """All removed versions of `name`, oldest first."""
        return await self._versions(name, removed=True)

    async def _versions(self, name: CheckpointName, *, removed: bool = False) -> list[Listed]:
        return await self._listed("v.name = ?", (name,), removed=removed)

    async def _listed(self, where: str, parameters: Sequence[object], *, removed: bool) -> list[Listed]:
        query = (
            "SELECT v.name, v.version, v.manifest, v.bytes, v.stored_at, v.redundancy, v.source, h.health, h.at, "  # noqa: S608  # our own words
            "h.verified_at, r.at, r.until, v.shape FROM versions v LEFT JOIN removed r USING (manifest) "
            "LEFT JOIN health h USING (manifest) "
            f"WHERE r.manifest IS {'NOT NULL' if removed else 'NULL'} AND {where} ORDER BY v.name, v.seq, v.manifest"
        )
        rows = await self._run(lambda db: db.execute(query, parameters).fetchall())
        return [
            Listed(
                name=CheckpointName(row[0]), version=row[1], manifest=RecordId(row[2]), bytes=row[3], stored_at=row[4],
                redundancy=row[5], source=row[6], health=Health(row[7] or "unknown"), health_at=row[8],
                verified_at=row[9], removed_at=row[10], kept_until=row[11], shape=row[12],
            )
            for row in rows
        ]  # fmt: skip

    async def list(self, *, prefix: str = "", newest: bool = False, removed: bool = False) -> list[Listed]:
        """Live versions whose name is `prefix`, lies below it, or begins with it; by name, then oldest first. With
        `removed` those that were removed instead, but for what a live version of the name has the same content as."""
        prefix = unicodedata.normalize("NFC", prefix)
        if "\0" in prefix or any("\ud800" <= character <= "\udfff" for character in prefix):
            raise UsageError("no name begins with that: names are UTF-8 without NUL")
        where = "substr(v.name, 1, ?) = ?"
        if removed:
            where += " AND NOT EXISTS (SELECT 1 FROM live l WHERE l.name = v.name AND l.tree = v.tree)"
        listed = await self._listed(where, (len(prefix), prefix), removed=removed)
        return list({v.name: v for v in listed}.values()) if newest else listed

    async def note_health(self, manifest: RecordId, health: Health, *, at: int, verified_at: int | None) -> None:
        """Remember what the nodes' answers made of a version, as of `at`; `verified_at` stays when None."""
        await self._run(
            lambda db: db.execute(
                "INSERT INTO health VALUES (?, ?, ?, ?) ON CONFLICT (manifest) DO UPDATE SET health = excluded.health, "
                "at = excluded.at, verified_at = coalesce(excluded.verified_at, verified_at)",
                (manifest, str(health), at, verified_at),
            )
        )


def _with_version(listed: Sequence[Listed], version: str) -> Listed | None:
    parse_version(version)
    return next((found for found in listed if found.version == version), None)


def _make(database: sqlite3.Connection) -> int:
    """Make the tables, unless another process has done so meanwhile; the schema's version afterwards."""
    database.execute("BEGIN IMMEDIATE")
    try:
        version = int(database.execute("PRAGMA user_version").fetchone()[0])
        if version == 0:
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
            version = _SCHEMA_VERSION
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
    return version
