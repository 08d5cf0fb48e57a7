"""Storing a path of this machine: what it is called, what is opened of it, and what its receipt says to people."""

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from roost.checkpoints.holding import Holding
from roost.checkpoints.progress import Progress
from roost.checkpoints.scan import scan
from roost.checkpoints.store import StoreRequest
from roost.checkpoints.store import store_held as store_files
from roost.client.results import StoreResult
from roost.client.session import Session
from roost.core.checkpoint import Redundancy, health_of
from roost.core.errors import DiskFault, NotFound
from roost.core.ids import CheckpointName, parse_checkpoint_name
from roost.disk.posix import PosixDisk
from roost.settings.schema import Settings


@dataclass(frozen=True, slots=True)
class Held:
    """A file or folder that is open to be stored: nothing that its writer does with its names takes it away. Close it
    when done. `defaulted` tells that its name was made from the path."""

    path: Path
    name: CheckpointName
    defaulted: bool
    holding: Holding

    def close(self) -> None:
        """Close all its files. Idempotent."""
        self.holding.close()


def hold(path: Path, *, name: str | None = None, follow: bool = False) -> Held:
    """Open all files of a file or folder now. Blocks, for milliseconds where the disk is near.

    NotFound when there is no such path, UsageError for a name or a file that cannot be stored.
    """
    where = Path(os.path.abspath(path))
    if not os.path.lexists(where):
        raise NotFound(f"there is no {path}", hint="give the path of a checkpoint file or folder")
    disk, inside = (PosixDisk(where), "") if where.is_dir() else (PosixDisk(where.parent), where.name)
    called = parse_checkpoint_name(name) if name is not None else default_name(where)
    holding = Holding(disk, scan(disk, inside, follow=follow))
    try:
        holding.open_all()
    except BaseException:
        holding.close()
        raise
    return Held(where, called, name is None, holding)


async def store_held(
    session: Session, settings: Settings, held: Held, redundancy: str | None, progress: Progress
) -> StoreResult:
    """Store what is held. See `roost.checkpoints.store.store_held` for errors."""
    runtime = session.runtime
    begun = runtime.now()
    request = StoreRequest(
        name=held.name,
        source=f"{platform.node()}:{held.path}".encode(errors="backslashreplace").decode(),
        redundancy=Redundancy.parse(redundancy) if redundancy is not None else settings.redundancy,
        chunk_max=settings.chunk_size,
        compress=settings.compression == "auto",
        defaulted=held.defaulted,
    )
    receipt = await store_files(session.peers, session.catalogue, held.holding, request, progress)
    await note_copies(session, receipt.name, receipt.version, receipt.copies)
    view = session.membership.view
    names = tuple(m.name for m in view.storage if m.node_id in receipt.nodes)
    return StoreResult(
        name=receipt.name, version=receipt.version, unchanged=receipt.unchanged, bytes=receipt.bytes,
        bytes_sent=receipt.bytes_sent, chunks=receipt.chunks, chunks_new=receipt.chunks_new,
        copies=receipt.copies, degraded=receipt.degraded, nodes=names, seconds=runtime.now() - begun,
        single_machine=receipt.single_machine, notes=receipt.notes,
    )  # fmt: skip


async def note_copies(session: Session, name: CheckpointName, version: str, copies: int) -> None:
    """Remember the health that a receipt with so many copies means."""
    with contextlib.suppress(NotFound, DiskFault):  # removed by another meanwhile, or only our own cache fails
        listed = await session.catalogue.find(name, version)
        health = health_of(copies, Redundancy.parse(listed.redundancy))
        now = int(session.runtime.wall())
        await session.catalogue.note_health(listed.manifest, health, at=now, verified_at=None)


def default_name(where: Path) -> CheckpointName:
    """The name of a checkpoint stored without one: ``parent/filename`` without ``.safetensors``, or ``parent/dir``."""
    own = where.name.removesuffix(".safetensors") if not where.is_dir() else where.name
    parent = where.parent.name
    return parse_checkpoint_name(f"{parent}/{own}" if parent else own)
