"""The buffers of a store: each part of a loan comes back once, and small chunks leave theirs early."""

import asyncio

from roost.checkpoints import buffers
from roost.checkpoints.buffers import Buffers, Loan, Window
from roost.codec.planes import RAW, Encoded

CHUNK_BYTES = 4 * 1024 * 1024


def _made() -> Buffers:
    return Buffers(window_bytes=CHUNK_BYTES, chunk_max=CHUNK_BYTES)


async def _lent(buffers: Buffers, users: int = 1) -> tuple[Window, list[Loan]]:
    window = Window(await buffers.windows.get(), users)
    return window, [await buffers.lend(window) for _ in range(users)]


def _free(made: Buffers) -> tuple[int, int]:
    return made.windows.qsize(), made.scratches.qsize()


ALL = (buffers.WINDOWS, buffers.ENCODERS)
SCRATCH_GONE = (buffers.WINDOWS, buffers.ENCODERS - 1)
BOTH_GONE = (buffers.WINDOWS - 1, buffers.ENCODERS - 1)


def test_a_small_chunk_leaves_its_buffers_before_it_is_sent() -> None:
    async def scenario() -> None:
        made = _made()
        window, (loan,) = await _lent(made)
        window.buffer[:5] = b"small"
        pieces = loan.to_send(Encoded(RAW, (window.buffer[:2], window.buffer[2:5]), 5))
        assert _free(made) == ALL
        window.buffer[:5] = b"other"  # the next chunk is read there
        assert b"".join(pieces) == b"small"
        loan.close()
        assert _free(made) == ALL

    asyncio.run(scenario())


def test_a_large_chunk_keeps_what_its_bytes_are_in() -> None:
    async def scenario() -> None:
        made = _made()
        for codec, left in ((RAW, BOTH_GONE), (RAW + 1, SCRATCH_GONE)):
            window, (loan,) = await _lent(made)
            encoded = Encoded(codec, (window.buffer,), CHUNK_BYTES)
            assert loan.to_send(encoded) is encoded.pieces
            assert _free(made) == left
            loan.close()
            loan.close()
            assert _free(made) == ALL

    asyncio.run(scenario())


def test_a_window_comes_back_with_its_last_chunk() -> None:
    async def scenario() -> None:
        made = _made()
        _, loans = await _lent(made, users=3)
        for loan in loans[:-1]:
            loan.close()
        assert made.windows.qsize() == buffers.WINDOWS - 1
        loans[-1].close()
        assert _free(made) == ALL

    asyncio.run(scenario())


def test_copies_are_bounded_in_number_and_in_bytes() -> None:
    def taken(size: int) -> int:
        made, count = _made(), 0
        while made.take_room(size):
            count += 1
        made.give_room(size)
        assert made.take_room(size)
        return count

    assert not _made().take_room(buffers.SMALL_BYTES_MAX + 1)
    assert taken(1) == buffers.SMALL_AT_ONCE
    assert taken(buffers.SMALL_BYTES_MAX) == buffers.SMALL_BYTES_AT_ONCE // buffers.SMALL_BYTES_MAX
