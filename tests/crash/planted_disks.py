"""Disks with a planted bug each, which the tests of crash states must catch once it is `armed`."""

from roost.disk.port import WriteFile
from roost.testing.disk import MemoryDisk


class NoFileSync(MemoryDisk):
    """fsync of a file is forgotten."""

    armed = False

    def create(self, path: str, *, mode: int = 0o600) -> WriteFile:
        file = super().create(path, mode=mode)
        return _Forgetful(file) if self.armed else file

    def open_write(self, path: str) -> WriteFile:
        file = super().open_write(path)
        return _Forgetful(file) if self.armed else file


class _Forgetful:
    """An open file whose sync does nothing."""

    def __init__(self, file: WriteFile) -> None:
        self.pwrite, self.pread, self.info = file.pwrite, file.pread, file.info
        self.truncate, self.begin_writeback, self.drop_cache = file.truncate, file.begin_writeback, file.drop_cache
        self.set_mode, self.set_times, self.close = file.set_mode, file.set_times, file.close

    def sync(self) -> None:
        pass


class NoDirectorySync(MemoryDisk):
    """fsync of a directory is forgotten."""

    armed = False

    def sync_directory(self, path: str) -> None:
        if not self.armed:
            super().sync_directory(path)


class RenameFirst(MemoryDisk):
    """The name is given before the bytes are synced."""

    armed = False
    late: WriteFile | None = None

    def create(self, path: str, *, mode: int = 0o600) -> WriteFile:
        file = super().create(path, mode=mode)
        if not self.armed:
            return file
        self.late = file
        forgetful = _Forgetful(file)
        forgetful.close = lambda: None
        return forgetful

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        late, self.late = self.late, None
        if late is not None:
            late.sync()
            late.close()
