"""What the codec costs on one core: ratio, and MB/s of plain bytes, to encode, decode and hash, by kind of bytes.

    python bench/codec.py [--rounds 5]

Chunks are of 8 MiB; the figure is the best of the rounds, because all that disturbs makes it worse.
"""

import argparse
import hashlib
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from roost.codec.planes import Scratch, decode, encode

CHUNK_BYTES = 8 * 1024 * 1024
COLUMNS = ("BYTES", "WIDTH", "RATIO", "ENCODE", "DECODE")


def specimens() -> dict[str, tuple[bytes, int]]:
    """Chunks and their widths."""
    random = np.random.default_rng(1)
    normal = random.normal(0.0, 0.02, CHUNK_BYTES // 4).astype("<f4")
    halves = random.normal(0.0, 0.02, CHUNK_BYTES // 2).astype("<f4")
    return {
        "bf16": ((halves.view("<u4") >> 16).astype("<u2").tobytes(), 2),
        "fp16": (halves.astype("<f2").tobytes(), 2),
        "fp32": (normal.tobytes(), 4),
        "Adam v": ((normal**2).tobytes(), 4),
        "noise": (random.bytes(CHUNK_BYTES), 1),
        "zeros": (bytes(CHUNK_BYTES), 4),
        "text": (b"".join(b"line %d of a log\n" % i for i in range(600_000))[:CHUNK_BYTES], 1),
    }


def best(work: Callable[[], object], rounds: int) -> float:
    """The shortest time of one call, in seconds."""
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    scratch, other = Scratch(), Scratch()
    into = memoryview(bytearray(CHUNK_BYTES))
    print("{:8s} {:>6s} {:>6s} {:>12s} {:>12s}".format(*COLUMNS))
    for name, (data, width) in specimens().items():
        plain = memoryview(data)
        stored = b"".join(encode(plain, width=width, scratch=scratch).pieces)
        codec = encode(plain, width=width, scratch=scratch).codec
        encoding = best(partial(encode, plain, width=width, scratch=scratch), rounds)
        decoding = best(partial(decode, memoryview(stored), into, codec=codec, scratch=other), rounds)
        assert into[: len(plain)] == plain
        mb = len(plain) / 1e6
        ratio = len(plain) / len(stored)
        print(f"{name:8s} {width:6d} {ratio:6.3f} {mb / encoding:7.0f} MB/s {mb / decoding:7.0f} MB/s")
    hashing = best(lambda: hashlib.sha256(into).digest(), rounds)
    print(f"SHA-256 {CHUNK_BYTES / 1e6 / hashing:.0f} MB/s")


if __name__ == "__main__":
    main()
