"""The checkpoints of the lab's benchmark that `roost bench` has not: one of noise, and one that changed in a part."""

import json
import os
import shutil
import struct
from pathlib import Path

PIECE_BYTES = 8 * 1024 * 1024


def make_noise(path: Path, *, bytes_wanted: int) -> None:
    """A safetensors file of about `bytes_wanted` bytes of bfloat16 numbers that are pure chance, which no codec makes
    smaller, in tensors of 8 MB."""
    each = 8_000_000
    entries = {
        f"layer.{number}": {"dtype": "BF16", "shape": [each // 2], "data_offsets": [number * each, (number + 1) * each]}
        for number in range(bytes_wanted // each)
    }
    header = json.dumps(entries, separators=(",", ":")).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for _ in entries:
            file.write(os.urandom(each))


def change_tensors(source: Path, path: Path, *, share: float) -> int:
    """Copy the safetensors file `source` and let whole tensors of it, spread over it, that make up at most `share`
    of its bytes have other numbers of the same distribution; returns how many bytes changed."""
    shutil.copyfile(source, path)
    with open(path, "r+b") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        entries: dict[str, dict[str, list[int]]] = json.loads(file.read(length))
        tensors = sorted(entry["data_offsets"] for name, entry in entries.items() if name != "__metadata__")
        changed = 0
        for begin, end in tensors:
            if changed + end - begin <= share * end:
                _shuffle(file.fileno(), 8 + length + begin, end - begin)
                changed += end - begin
    return changed


def _shuffle(descriptor: int, offset: int, length: int) -> None:
    """Other numbers of the same kind in the place of these: the low bytes new, the high ones turned around."""
    data = bytearray(os.pread(descriptor, length, offset))
    data[0::2] = os.urandom(len(data[0::2]))
    data[1::2] = data[1::2][::-1]
    os.pwrite(descriptor, data, offset)
