"""Checkpoints to store, as their writers leave them, and the comparison of what came back with what was stored.

Everything is written by hand, byte by byte, so that no test needs the libraries that make such files.
"""

import hashlib
import json
import os
import random
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_ELEMENT_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I64": 8, "U8": 1}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or link of a tree, as far as a restore must bring it back."""

    kind: str
    mode: int
    mtime_ns: int
    content: str


def tree_of(path: Path) -> dict[str, Entry]:
    """All of a file or folder, itself included, by relative path."""
    found = {"": _entry(path)}
    if path.is_dir() and not path.is_symlink():
        for directory, folders, files in os.walk(path):
            for name in (*folders, *files):
                one = Path(directory, name)
                found[one.relative_to(path).as_posix()] = _entry(one)
    return found


def _entry(path: Path) -> Entry:
    info = path.lstat()
    if path.is_symlink():
        return Entry("link", 0, 0, os.readlink(path))
    mode = info.st_mode & 0o7777
    if path.is_dir():
        return Entry("folder", mode, info.st_mtime_ns, "")
    return Entry("file", mode, info.st_mtime_ns, sha256_of(path))


def sha256_of(path: Path) -> str:
    """What `sha256sum` prints for a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def noise(count: int, *, seed: int) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(count)


def weights(count: int, *, seed: int) -> bytes:
    """About `count` bytes of bf16 weights: random mantissas under a few exponents."""
    chance = random.Random(seed)
    low = chance.randbytes(count // 2)
    high = bytes(chance.choices((0x3B, 0x3C, 0x3D, 0xBB, 0xBC, 0xBD), k=min(count // 2, 4096)))
    high = (high * (count // 2 // max(1, len(high)) + 1))[: count // 2]
    mixed = bytearray(2 * len(low))
    mixed[0::2], mixed[1::2] = low, high
    return bytes(mixed)


def write(path: Path, data: bytes, *, mode: int = 0o644, mtime_ns: int = 1_700_000_000_123_456_789) -> Path:
    """Write a file with this mode and time; the folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def safetensors(tensors: Mapping[str, tuple[str, bytes]], *, metadata: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file of tensors (dtype, bytes) with one dimension. The header is spaced as no library spaces it, so
    that writing it anew would change its length."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, (dtype, data) in tensors.items():
        shape = [len(data) // _ELEMENT_BYTES[dtype]]
        header[name] = {"shape": shape, "dtype": dtype, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, ensure_ascii=False, indent=1).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, data in tensors.values())


def model(bytes_each: Sequence[int], *, seed: int) -> bytes:
    """A safetensors file of bf16 tensors of these sizes."""
    return safetensors(
        {f"layer.{i}.weight": ("BF16", weights(count, seed=seed + i)) for i, count in enumerate(bytes_each)},
        metadata={"format": "pt"},
    )


def torch_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    """What torch.save leaves: a stored zip, its members below a folder, with a record that is never read as a pickle
    here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("archive/byteorder", b"little")
        for name, data in members.items():
            archive.writestr(f"archive/data/{name}", data)
        archive.writestr("archive/version", b"3\n")
    return path


def sharded(folder: Path, *, seed: int) -> Path:
    """A model as Hugging Face's save_pretrained leaves it."""
    names: dict[str, str] = {}
    for number in (1, 2):
        file = f"model-{number:05}-of-00002.safetensors"
        write(folder / file, model([1_500_000, 300_000, 2_000_000], seed=seed + 10 * number), mode=0o600)
        names |= {f"{number}.layer.{i}.weight": file for i in range(3)}
    index = {"metadata": {"total_size": 7_600_000}, "weight_map": names}
    write(folder / "model.safetensors.index.json", json.dumps(index, indent=2).encode())
    write(folder / "config.json", b'{"model_type": "qwen2"}\n', mode=0o664)
    write(folder / "tokenizer.json", noise(200_000, seed=seed))
    write(folder / "tokenizer_config.json", b"{}\n")
    return folder


def trainer(folder: Path) -> Path:
    """A ``checkpoint-N`` as the Hugging Face Trainer leaves it."""
    write(folder / "model.safetensors", model([2_000_000, 400_000], seed=1))
    torch_zip(folder / "optimizer.pt", {str(i): weights(1_200_000, seed=30 + i) for i in range(3)})
    torch_zip(folder / "scheduler.pt", {"0": b"\0" * 64})
    torch_zip(folder / "rng_state.pth", {"0": noise(5_056, seed=3)})
    write(folder / "trainer_state.json", b'{"global_step": 1000}')
    write(folder / "training_args.bin", noise(5_000, seed=4))
    return folder


def distributed(folder: Path) -> Path:
    """A checkpoint as torch.distributed.checkpoint leaves it."""
    for rank in range(2):
        torch_zip(folder / f"__{rank}_0.distcp", {"0": weights(1_500_000, seed=50 + rank)})
    return write(folder / ".metadata", noise(20_000, seed=5)).parent
