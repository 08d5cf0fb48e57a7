"""What a file says of itself: whole at its own length, torn at every other."""

import io
import json
import struct
import zipfile

import pytest

from checkpoint_kits import noise, safetensors
from roost.checkpoints.structure import State, inspect
from roost.codec import hdf5


def state(name: str, data: bytes) -> State:
    return inspect(name, len(data), lambda offset, length: data[offset : offset + length]).state


def archive() -> bytes:
    """A zip as torch.save makes it: stored, not compressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        file.writestr("archive/data.pkl", b"never unpickled")
        file.writestr("archive/data/0", noise(3000))
    return out.getvalue()


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(*, version: int = 3, kind: int = 0, dimensions: tuple[int, ...] = (10, 3), align: int = 64) -> bytes:
    """A GGUF file with one value of every sort, and two tensors."""
    values = [
        text("general.alignment") + struct.pack("<II", 4, align),
        text("general.name") + struct.pack("<I", 8) + text("tiny"),
        text("a.list") + struct.pack("<IIQ", 9, 8, 2) + text("x") + text("yy"),
        text("a.numbers") + struct.pack("<IIQ3H", 9, 2, 3, 1, 2, 3),
        text("a.flag") + struct.pack("<IB", 7, 1),
        text("a.real") + struct.pack("<Id", 12, 0.5),
    ]
    infos = text("small") + struct.pack("<IQIQ", 1, 4, 0, 0)
    infos += text("large") + struct.pack("<I", len(dimensions)) + struct.pack(f"<{len(dimensions)}Q", *dimensions)
    infos += struct.pack("<IQ", kind, align)
    header = b"GGUF" + struct.pack("<IQQ", version, 2, len(values)) + b"".join(values) + infos
    return header + bytes(-len(header) % align) + bytes(align) + noise(120)


def keras(version: int) -> bytes:
    data = bytearray(hdf5.MAGIC + bytes([version]) + noise(191))
    data[13 if version < 2 else 9] = 8
    struct.pack_into("<Q", data, {0: 40, 1: 44, 2: 28, 3: 28}[version], len(data))
    return bytes(data)


SPECIMENS = {
    "model.safetensors": safetensors({"w": noise(1000), "v": noise(200)}),
    "model.pt": archive(),
    "model.keras": archive(),
    "arrays.npz": archive(),
    "model.gguf": gguf(),
    "older.gguf": gguf(version=2),
    "weights.h5": keras(0),
    "weights1.h5": keras(1),
    "weights2.h5": keras(2),
    "weights3.h5": keras(3),
    "trainer_state.json": json.dumps({"global_step": 5, "log_history": [{"loss": 1.5}]}).encode(),
}


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_whole_file_is_whole_and_one_that_is_short_is_not(name: str) -> None:
    data = SPECIMENS[name]
    assert state(name, data) is State.WHOLE
    for cut in {0, 1, 7, 8, 9, 30, len(data) // 3, len(data) // 2, len(data) - 1}:
        known = cut >= len(hdf5.MAGIC) or not name.endswith(".h5")
        if name == "model.pt" and cut < 4:
            known = False  # its name alone does not say that it is a zip: torch once saved otherwise
        assert state(name, data[:cut]) is (State.TORN if known and not _unknown(name, cut) else State.UNKNOWN)


def _unknown(name: str, cut: int) -> bool:
    """Where too little of an HDF5 file is there to know its version."""
    return name.endswith(".h5") and cut < hdf5.SUPERBLOCK_BYTES // 2


def test_a_safetensors_file_that_is_too_long_is_torn_too() -> None:
    assert state("x.safetensors", SPECIMENS["model.safetensors"] + b"\0") is State.TORN
    assert state("x.safetensors", b"\xff" * 20) is State.TORN
    assert state("x.safetensors", safetensors({})) is State.WHOLE


def test_a_gguf_of_quantised_tensors_is_measured_in_their_blocks() -> None:
    whole = gguf(kind=2, dimensions=(64, 3))  # Q4_0: 18 bytes for 32 elements
    end = len(whole) - 120 + 6 * 18
    assert state("x.gguf", whole[:end]) is State.WHOLE
    assert state("x.gguf", whole[: end - 1]) is State.TORN
    assert state("x.gguf", gguf(kind=999)) is State.UNKNOWN
    assert state("x.gguf", gguf(version=9)) is State.UNKNOWN


@pytest.mark.parametrize("count", [2**63, 2**40, 10_000_000])
def test_a_header_that_lies_about_its_counts_takes_no_memory(count: int) -> None:
    data = b"GGUF" + struct.pack("<IQQ", 3, count, count) + bytes(100)
    assert state("x.gguf", data) in (State.TORN, State.UNKNOWN)
    long = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 4, count)
    assert state("x.gguf", long) is State.TORN


def test_what_has_no_such_format_is_unknown() -> None:
    assert state("model.bin", noise(500)) is State.UNKNOWN
    assert state("empty", b"") is State.UNKNOWN
