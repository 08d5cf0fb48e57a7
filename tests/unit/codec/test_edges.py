"""Where chunks begin in safetensors files, torch zips and lists of small files."""

import pytest

from roost.codec.edges import WIDTH_UNKNOWN, Part, Span, plan_parts, plan_safetensors, plan_torch_zip, width_of
from roost.codec.safetensors import SafetensorsHeader, TensorSpan
from roost.core.checkpoint import CHUNK_BYTES_MAX

KIB = 1024
MIB = 1024 * KIB


def header_with(*tensors: tuple[str, int], header_bytes: int = 1000) -> SafetensorsHeader:
    spans, position = [], header_bytes
    for i, (dtype, length) in enumerate(tensors):
        spans.append(TensorSpan(f"t{i}", dtype, position, position + length, (length,)))
        position += length
    return SafetensorsHeader(header_bytes, tuple(spans))


def test_the_header_is_a_chunk_of_its_own() -> None:
    assert plan_safetensors(header_with(("BF16", 10))) == [Span(1000, 1), Span(10, 2)]
    assert plan_safetensors(header_with()) == [Span(1000, 1)]
    long = header_with(("BF16", 10), header_bytes=CHUNK_BYTES_MAX + 5)
    assert plan_safetensors(long) == [Span(CHUNK_BYTES_MAX, 1), Span(5, 1), Span(10, 2)]


def test_large_tensors_are_cut_alone_from_their_start() -> None:
    spans = plan_safetensors(header_with(("BF16", 17 * MIB), ("BF16", MIB), ("BF16", 8 * MIB), ("F32", 3 * MIB)))
    assert spans[1:] == [
        Span(8 * MIB, 2), Span(8 * MIB, 2), Span(MIB, 2), Span(MIB, 2), Span(8 * MIB, 2), Span(3 * MIB, 4),
    ]  # fmt: skip


def test_small_tensors_are_packed_up_to_the_limit() -> None:
    spans = plan_safetensors(header_with(*[("F32", 600 * KIB)] * 10))
    assert spans[1:] == [Span(3600 * KIB, 4), Span(2400 * KIB, 4)]


def test_a_pack_may_be_exactly_full() -> None:
    assert plan_parts([Part(512 * KIB, "U8")] * 9) == [Span(4 * MIB, 1), Span(512 * KIB, 1)]


def test_a_pack_ends_where_the_dtype_changes() -> None:
    spans = plan_safetensors(header_with(("F32", 4), ("F32", 8), ("I32", 4), ("BF16", 2), ("F16", 2), ("F16", 2)))
    assert spans[1:] == [Span(12, 4), Span(4, 4), Span(2, 2), Span(4, 2)]


def test_a_large_tensor_ends_a_pack() -> None:
    spans = plan_safetensors(header_with(("F32", 4), ("F32", MIB), ("F32", 4)))
    assert spans[1:] == [Span(4, 4), Span(MIB, 4), Span(4, 4)]


def test_empty_tensors_are_nothing() -> None:
    assert plan_safetensors(header_with(("F32", 4), ("I64", 0), ("F32", 4)))[1:] == [Span(8, 4)]


def test_growing_the_header_moves_no_other_edge() -> None:
    tensors = [("BF16", 5 * MIB), ("BF16", 2000), ("F32", 9 * MIB)]
    before = plan_safetensors(header_with(*tensors))
    after = plan_safetensors(header_with(*tensors, header_bytes=5000))
    assert after == [Span(5000, 1), *before[1:]]


def test_a_small_limit_holds_for_everything() -> None:
    spans = plan_safetensors(header_with(("U8", 250), ("U8", 60), ("U8", 30), ("U8", 30)), chunk_max=100)
    assert spans[10:] == [Span(100, 1), Span(100, 1), Span(50, 1), Span(90, 1), Span(30, 1)]


def test_members_of_a_torch_zip_are_cut_at_their_edges() -> None:
    spans = plan_torch_zip([(64, 500), (640, 640 + 9 * MIB), (10 * MIB, 10 * MIB + 100)], file_bytes=11 * MIB)
    assert [span.length for span in spans] == [640, 8 * MIB, MIB, 2 * MIB - 640]
    assert {span.width for span in spans} == {WIDTH_UNKNOWN}


def test_a_zip_without_members_is_cut_too() -> None:
    assert plan_torch_zip([], file_bytes=22) == [Span(22, WIDTH_UNKNOWN)]
    assert plan_torch_zip([], file_bytes=0) == []


@pytest.mark.parametrize("members", [[(5, 9), (8, 10)], [(5, 4)], [(5, 200)], [(8, 10), (5, 7)]])
def test_members_that_cannot_be_are_refused(members: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="members"):
        plan_torch_zip(members, file_bytes=100)


@pytest.mark.parametrize("chunk_max", [0, -1, CHUNK_BYTES_MAX + 1])
def test_a_limit_that_cannot_be_is_refused(chunk_max: int) -> None:
    with pytest.raises(ValueError, match="chunk_max"):
        plan_parts([], chunk_max=chunk_max)


def test_widths() -> None:
    widths = {"BOOL": 1, "F4": 1, "F6_E2M3": 1, "F8_E4M3": 1, "BF16": 2, "F16": 2, "F32": 4, "I64": 8, "C64": 4}
    assert {dtype: width_of(dtype) for dtype in widths} == widths
    assert width_of("") == width_of("F5_NEW") == WIDTH_UNKNOWN
