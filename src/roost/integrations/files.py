"""Files of the cluster as objects that programs read and write: ranges of a stored version, and one that is stored when
it is closed."""

import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from fsspec.spec import AbstractBufferedFile

from roost.client.program import Opened


class StoredFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """A file of a version, read in ranges; `fs` opens the version again where it has to."""

    def __init__(self, fs: Any, path: str, opened: Opened, inside: str, **options: Any) -> None:
        self._reference = f"{opened.name}@{opened.version}"
        self._inside = inside
        size = next(row.bytes for row in opened.files if row.path == inside)
        super().__init__(fs, path, mode="rb", size=size, **options)

    def _fetch_range(self, start: int, end: int) -> bytes:
        # Its bytes never change, and it may be open in this process no more.
        opened: Opened = self.fs.opened_at(self._reference)
        return bytes(opened.read(self._inside, start, min(end, self.size)))


class WrittenFile(io.BufferedIOBase):
    """A file that is being written: a temporary one, which `store` is given when it is closed. One that is closed by an
    error, or never, is not stored."""

    def __init__(self, path: str, store: Callable[[Path], object], *, autocommit: bool) -> None:
        self._store = store
        self._autocommit = autocommit
        self._folder = Path(tempfile.mkdtemp(prefix="roost-"))
        self._local = self._folder / path.rpartition("/")[2]
        self._file: IO[bytes] = self._local.open("w+b")

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        self._file.close()
        if self._autocommit:
            self.commit()

    def commit(self) -> None:
        """Store it. For fsspec's transactions; else closing does it."""
        try:
            self._store(self._local)
        finally:
            self._clean()

    def discard(self) -> None:
        """Store nothing."""
        self._autocommit = False
        self.close()
        self._clean()

    def _clean(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_file") and not self.closed:
            self.discard()
