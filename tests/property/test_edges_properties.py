"""Edges cover the file exactly, keep their limits, and do not depend on how the file was read."""

import io
import zipfile

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from roost.codec.cdc import ContentEdges
from roost.codec.edges import ALONE_BYTES_MIN, PACK_BYTES_MAX, Part, plan_parts, plan_safetensors, plan_torch_zip
from roost.codec.safetensors import SafetensorsHeader, TensorSpan
from roost.codec.torchzip import member_spans
from roost.core.checkpoint import CHUNK_BYTES_MAX

LENGTHS = st.one_of(st.integers(0, 100), st.integers(0, 3 * ALONE_BYTES_MIN), st.integers(0, 3 * CHUNK_BYTES_MAX))
PARTS = st.lists(st.builds(Part, LENGTHS, st.sampled_from(["BF16", "F32", "I64", "U8", ""])), max_size=30)
LIMITS = st.one_of(st.just(CHUNK_BYTES_MAX), st.integers(ALONE_BYTES_MIN // 8, CHUNK_BYTES_MAX))


@given(parts=PARTS, header_bytes=st.integers(10, 3 * CHUNK_BYTES_MAX), chunk_max=LIMITS)
def test_safetensors_edges(parts: list[Part], header_bytes: int, chunk_max: int) -> None:
    tensors, position = [], header_bytes
    for i, part in enumerate(parts):
        tensors.append(TensorSpan(str(i), part.dtype, position, position + part.length, (part.length,)))
        position += part.length
    spans = plan_safetensors(SafetensorsHeader(header_bytes, tuple(tensors)), chunk_max=chunk_max)
    assert sum(span.length for span in spans) == position
    assert all(1 <= span.length <= chunk_max for span in spans)
    edges = {0}
    for span in spans:
        edges.add(max(edges) + span.length)
    assert header_bytes in edges
    for tensor in tensors:
        if tensor.end - tensor.begin >= ALONE_BYTES_MIN:
            assert {tensor.begin, tensor.end} <= edges


@given(parts=PARTS, chunk_max=LIMITS)
def test_a_chunk_holds_pieces_of_one_dtype_and_packs_stay_small(parts: list[Part], chunk_max: int) -> None:
    spans = plan_parts(parts, chunk_max=chunk_max)
    owners = [(i, part.dtype) for i, part in enumerate(parts) if part.length]
    lengths = [parts[i].length for i, _ in owners]
    at, used = 0, 0
    for span in spans:
        inside, left = set(), span.length
        while left:
            taken = min(left, lengths[at] - used)
            inside.add(owners[at])
            left, used = left - taken, used + taken
            if used == lengths[at]:
                at, used = at + 1, 0
        assert len({dtype for _, dtype in inside}) == 1
        if len(inside) > 1:
            assert span.length <= PACK_BYTES_MAX
            assert all(parts[i].length < ALONE_BYTES_MIN for i, _ in inside)
    assert at == len(owners)


@given(gaps=st.lists(st.tuples(LENGTHS, LENGTHS), max_size=12), tail=LENGTHS, chunk_max=LIMITS)
def test_torch_zip_edges(gaps: list[tuple[int, int]], tail: int, chunk_max: int) -> None:
    members, position = [], 0
    for gap, length in gaps:
        members.append((position + gap, position + gap + length))
        position += gap + length
    spans = plan_torch_zip(members, file_bytes=position + tail, chunk_max=chunk_max)
    assert sum(span.length for span in spans) == position + tail
    assert all(1 <= span.length <= chunk_max for span in spans)


@given(
    seed=st.integers(0, 2**32),
    length=st.integers(0, 20_000),
    repeat=st.integers(1, 3),
    splits=st.lists(st.integers(1, 9000), max_size=12),
)
def test_content_edges_do_not_depend_on_the_split(seed: int, length: int, repeat: int, splits: list[int]) -> None:
    data = np.random.default_rng(seed).bytes(length) * repeat
    sizes = {"minimum": 64, "average": 512, "maximum": 2048}
    at_once = ContentEdges(**sizes).feed(memoryview(data), last=True)
    assert sum(at_once) == len(data)
    assert all(64 <= n <= 2048 for n in at_once[:-1])

    edges, found, held, read = ContentEdges(**sizes), [], b"", 0
    for size in [*splits, len(data)]:
        held += data[read : read + size]
        read = min(len(data), read + size)
        lengths = edges.feed(memoryview(held), last=read == len(data))
        found += lengths
        held = held[sum(lengths) :]
    assert held == b""
    assert found == at_once


@given(
    sizes=st.lists(st.integers(0, 90), min_size=1, max_size=5),
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 30),
)
def test_a_damaged_zip_has_sane_members_or_none(sizes: list[int], damage: list[tuple[float, int]], cut: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i, size in enumerate(sizes):
            archive.writestr(f"archive/data/{i}", bytes(size))
    data = bytearray(buffer.getvalue())
    for where, value in damage:
        data[int(where * (len(data) - 1))] = value
    whole = bytes(data[: len(data) - cut])
    spans = member_spans(lambda offset, length: whole[offset : offset + length], file_bytes=len(whole))
    if not damage and not cut:
        assert spans is not None
    if spans is not None:
        assert sum(span.length for span in plan_torch_zip(spans, file_bytes=len(whole))) == len(whole)
