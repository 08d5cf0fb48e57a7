"""One stored version, opened: its files by range and its tensors by name; only what is asked for is fetched."""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from roost.checkpoints.reading import Reading
from roost.client.results import FileRow
from roost.codec.manifest import Manifest
from roost.codec.safetensors import LENGTH_BYTES, TensorSpan, header_length, parse_header
from roost.core.errors import Failed, NotFound, UsageError
from roost.core.ids import CheckpointName

if TYPE_CHECKING:
    from roost.codec.arrays import Array

SUFFIX = ".safetensors"


class RawTensor(msgspec.Struct, frozen=True):
    """A tensor as it lies in its file: `dtype` as safetensors names it, `data` in C order, little-endian."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytearray


class AsyncOpened:
    """A version that was found; its bytes are fetched when they are read. `complete` is False when so many members did
    not answer that a newer version may exist."""

    def __init__(
        self, reading: Reading, manifest: Manifest, *, name: CheckpointName, version: str, complete: bool
    ) -> None:
        self.name = name
        self.version = version
        self.complete = complete
        self.shape = manifest.shape
        self.files = tuple(FileRow(f.path, f.kind, f.size, f.sha256.hex()) for f in manifest.files)
        self._reading = reading
        self._tensors: dict[str, list[tuple[str, TensorSpan]]] | None = None
        self._parsing = asyncio.Lock()

    async def read(self, path: str, begin: int = 0, end: int | None = None) -> bytearray:
        """Bytes `begin` to `end` (not included; None: the last) of one of its files. See `Reading.read` for errors."""
        until = self._reading.size(path) if end is None else end
        found = bytearray(max(0, until - begin))
        await self._reading.read(path, begin, memoryview(found))
        return found

    async def keys(self) -> tuple[str, ...]:
        """The names of the tensors in its safetensors files, in the order in which they lie there. Only the headers
        are fetched. Failed when one is not valid."""
        return tuple(await self._index())

    async def raw(self, key: str, *, file: str | None = None) -> RawTensor:
        """A tensor's bytes, and what they are. NotFound when there is no such tensor; UsageError when several of its
        files have one of this name, and `file` does not say which is meant."""
        places = [place for place in (await self._index()).get(key, ()) if file in (None, place[0])]
        if not places:
            raise NotFound(f"{self.name} has no tensor {key!r}", hint="its tensors are those of keys()")
        if len(places) > 1:
            raise UsageError(
                f"{', '.join(path for path, _ in places[:3])} each have a tensor {key!r}", hint="say which with file="
            )
        [(path, span)] = places
        return RawTensor(key, span.dtype, span.shape, await self.read(path, span.begin, span.end))

    async def tensor(self, key: str, *, file: str | None = None) -> "Array":
        """A tensor as an array of its own, which may be written to; bfloat16 and float8 as ml_dtypes has them. Errors
        as of `raw`; Failed for a dtype that no array can have, which `raw` gives all the same."""
        from roost.codec.arrays import as_array

        raw = await self.raw(key, file=file)
        return as_array(raw.data, dtype=raw.dtype, shape=raw.shape)

    async def _index(self) -> dict[str, list[tuple[str, TensorSpan]]]:
        async with self._parsing:
            if self._tensors is None:
                paths = [row.path for row in self.files if row.kind == "f" and row.path.endswith(SUFFIX)]
                self._tensors = by_name([(path, await self._spans(path)) for path in paths])
            return self._tensors

    async def _spans(self, path: str) -> Iterable[TensorSpan]:
        size = self._reading.size(path)
        length = header_length(bytes(await self.read(path, 0, min(size, LENGTH_BYTES))))
        if length is None or length > size:
            raise Failed(f"{path} of {self.name} is not a valid safetensors file", hint="gather it and look")
        return parse_header(bytes(await self.read(path, 0, length)), file_bytes=size).tensors


def by_name(files: Iterable[tuple[str, Iterable[TensorSpan]]]) -> dict[str, list[tuple[str, TensorSpan]]]:
    """Which files have a tensor of each name, and where."""
    found: dict[str, list[tuple[str, TensorSpan]]] = {}
    for path, spans in files:
        for span in spans:
            found.setdefault(span.name, []).append((path, span))
    return found
