"""One look at the files of a watched folder: which there are, and what each says of itself."""

from roost.checkpoints.structure import Structure, inspect
from roost.codec.reading import Read
from roost.core.errors import NotFound, RoostError
from roost.disk.port import Disk, FileInfo, FileKind

FILES_MAX = 100_000
TEXT_BYTES_MAX = 64 * 1024 * 1024
TEXTS = ("trainer_state.json", ".index.json", "latest")


def find(disk: Disk) -> tuple[dict[str, FileInfo], dict[str, RoostError]]:
    """All regular files below the root, at most `FILES_MAX`, and what may not be looked at, with the error; what is
    gone again is left out. Raises what listing the root raises."""
    found: dict[str, FileInfo] = {}
    refused: dict[str, RoostError] = {}
    todo = [""]
    while todo:
        directory = todo.pop()
        try:
            listed = disk.list(directory)
        except NotFound:
            if not directory:
                raise
            continue
        except RoostError as error:
            if not directory:
                raise
            refused[directory] = error
            continue
        for name, kind in listed:
            path = f"{directory}/{name}" if directory else name
            if kind is FileKind.DIRECTORY:
                todo.append(path)
            elif kind is FileKind.FILE and len(found) < FILES_MAX:
                try:
                    found[path] = disk.info(path)
                except NotFound:
                    continue
                except RoostError as error:
                    refused[path] = error
    return found, refused


def examine(disk: Disk, path: str) -> tuple[Structure, bytes]:
    """What the file says of itself, and its bytes when they are a sign of a whole folder. Raises as the port does."""
    file = disk.open_read(path)
    try:
        size = file.info().size

        def read(offset: int, length: int) -> bytes:
            buffer = bytearray(min(length, max(0, size - offset)))
            return bytes(buffer[: file.pread(memoryview(buffer), offset)])

        text = _text(path, size, read)
        return inspect(path.rpartition("/")[2], size, read), text
    finally:
        file.close()


def _text(path: str, size: int, read: Read) -> bytes:
    return read(0, size) if path.endswith(TEXTS) and size <= TEXT_BYTES_MAX else b""
