"""A frame is passed if a writer of blosc made it; what is passed costs no more than its size allows."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import Blosc, blosc, zstd
from numpy.typing import NDArray

from gaia.localnet.miners import hostile_frames
from gaia.tasks.defined_tasks.weather.validator.reading.chunks import Contract
from gaia.tasks.defined_tasks.weather.validator.reading.frames import (
    BYTES_PER_ZSTD_BLOCK,
    LEAST_STREAM_BYTES,
    check_frame,
)
from gaia.validator.utils.errors import MinerFault
from tests.support.forecast_stores import CONTRACT, SHAPE, a_field, packed

FRAME = packed(a_field())
SIZE = CONTRACT.field_bytes
FULL = Contract(grid="0.25", steps=40, step_hours=6)
SHUFFLES = (Blosc.NOSHUFFLE, Blosc.SHUFFLE, Blosc.BITSHUFFLE, Blosc.AUTOSHUFFLE)
CODECS = ("lz4", "zstd")


class Parts(NamedTuple):
    """A frame of whole blocks, taken apart."""

    header: bytes
    streams: list[bytes]
    """Of each block, in the order of the field."""


def taken_apart(frame: bytes) -> Parts:
    size, block_bytes = struct.unpack_from("<II", frame, 4)
    starts = struct.unpack_from(f"<{-(-size // block_bytes)}i", frame, 16)
    streams = [frame[at + 4 : at + 4 + struct.unpack_from("<i", frame, at)[0]] for at in starts]
    return Parts(frame[:16], streams)


def put_together(parts: Parts, order: Sequence[int] = (), gap: bytes = b"", behind: bytes = b"") -> bytes:
    """Return the frame again, its blocks stored in `order`, with `gap` before each and `behind` all."""
    position, body = 16 + 4 * len(parts.streams), b""
    starts = [0] * len(parts.streams)
    for number in order or range(len(parts.streams)):
        body += gap
        starts[number] = position + len(body)
        body += struct.pack("<i", len(parts.streams[number])) + parts.streams[number]
    body += behind
    header = parts.header[:12] + struct.pack("<I", position + len(body))
    return header + struct.pack(f"<{len(starts)}i", *starts) + body


def zstd_blocks(stream: bytes) -> int:
    """Count the blocks of a frame that zstd's own encoder made."""
    position, count = 5 + (1, 2, 4, 8)[stream[4] >> 6], 0
    while True:
        header = int.from_bytes(stream[position : position + 3], "little")
        position += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
        count += 1
        if header & 1:
            return count


def some_values(shape: tuple[int, int]) -> dict[str, NDArray[np.float32]]:
    """Return fields that pack well, hardly, not at all, and in some places only."""
    rng = np.random.default_rng(5)
    rows = np.sin(np.linspace(0, 9, shape[0], dtype="f4"))[:, None]
    smooth = 280 + 20 * rows * np.cos(np.linspace(0, 25, shape[1], dtype="f4"))
    rough = (smooth + rng.normal(size=shape)).astype("f4")
    noise = np.frombuffer(rng.bytes(4 * shape[0] * shape[1]), "f4").reshape(shape)
    half = smooth.copy()
    half[: shape[0] // 2] = noise[: shape[0] // 2]
    steps = np.round(rough * 8) / np.float32(8)
    return {
        "smooth": smooth,
        "rough": rough,
        "noise": noise,
        "half": half,
        "steps": steps,
        "zero": 0 * smooth,
    }


@pytest.mark.parametrize("clevel", range(10))
@pytest.mark.parametrize("cname", CODECS)
def test_whatever_a_writer_chooses_its_frames_pass(cname: str, clevel: int) -> None:
    for values in some_values(SHAPE).values():
        for shuffle in SHUFFLES:
            for block_bytes in (0, 4096, 5000, 65_536, 100_000, 10**8):
                codec = Blosc(cname, clevel, shuffle, block_bytes)

                check_frame(bytes(codec.encode(values)), "2t/1.0.0", SIZE, cname)


@pytest.mark.parametrize(
    ("cname", "clevel"),
    [*(("lz4", level) for level in range(10)), *(("zstd", level) for level in (0, 1, 2, 3, 5, 6))],
)
def test_whatever_a_writer_chooses_its_frames_of_the_full_grid_pass(cname: str, clevel: int) -> None:
    for values in some_values(FULL.field_shape).values():
        frame = bytes(Blosc(cname, clevel, SHUFFLES[clevel % 4]).encode(values))

        check_frame(frame, "2t/1.0.0", FULL.field_bytes, cname)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Let blosc use so many threads, as it does where nobody forbids it."""

    def use(count: int) -> None:
        blosc.use_threads = True
        blosc.set_nthreads(count)

    before = blosc.get_nthreads()
    yield use
    blosc.set_nthreads(before)
    blosc.use_threads = False


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("cname", CODECS)
def test_a_writer_with_threads_stores_blocks_out_of_order_and_passes(
    threads: Callable[[int], None], cname: str, count: int
) -> None:
    threads(count)
    values = some_values(FULL.field_shape)["rough"]

    for number in range(12):
        frame = bytes(Blosc(cname, 1 + number % 5, SHUFFLES[number % 4]).encode(values + number))
        check_frame(frame, "2t/1.0.0", FULL.field_bytes, cname)


def test_blocks_may_lie_in_any_order() -> None:
    parts = taken_apart(bytes(Blosc("zstd", 1, Blosc.SHUFFLE).encode(a_field())))
    order = np.random.default_rng(2).permutation(len(parts.streams)).tolist()
    assert order != sorted(order)

    frame = put_together(parts, order)

    check_frame(frame, "2t/1.0.0", SIZE, "zstd")
    np.testing.assert_array_equal(blosc.decompress(frame), a_field().tobytes())


@pytest.mark.parametrize("mode", ["ALWAYS", "NEVER", "AUTO"])
@pytest.mark.parametrize("cname", CODECS)
def test_a_writer_may_split_blocks_or_not(
    threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, cname: str, mode: str
) -> None:
    threads(1)
    try:
        monkeypatch.setenv("BLOSC_SPLITMODE", mode)
        made = {name: bytes(Blosc(cname, 5, 1).encode(values)) for name, values in some_values(SHAPE).items()}
    finally:
        os.environ["BLOSC_SPLITMODE"] = "FORWARD_COMPAT"
        Blosc(cname, 5, 1).encode(a_field())

    for frame in made.values():
        check_frame(frame, "2t/1.0.0", SIZE, cname)


def test_zstd_makes_an_eighth_of_the_blocks_a_stream_may_hold() -> None:
    """So that no field a writer ever meets comes near the limit."""
    most = 0.0
    for name, values in some_values(SHAPE).items():
        for clevel in (1, 3, 5, 7, 9):
            for shuffle in SHUFFLES:
                frame = bytes(Blosc("zstd", clevel, shuffle).encode(values))
                block_bytes = struct.unpack_from("<I", frame, 8)[0]
                if frame[2] & 2 or name == "noise":
                    continue
                for number, stream in enumerate(taken_apart(frame).streams):
                    out_bytes = min(block_bytes, SIZE - number * block_bytes)
                    if len(stream) != out_bytes and out_bytes >= 8 * BYTES_PER_ZSTD_BLOCK:
                        most = max(most, zstd_blocks(stream) * BYTES_PER_ZSTD_BLOCK / out_bytes)

    assert 0 < most <= 1 / 8


def forged(**changes: int) -> bytes:
    names = ("version", "lz", "flags", "item", "size", "block", "packed")
    fields = dict(zip(names, struct.unpack_from("<BBBBIII", FRAME), strict=True)) | changes
    return struct.pack("<BBBBIII", *fields.values()) + FRAME[16:]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"short", "too short"),
        (forged(version=3), "version"),
        (forged(flags=0x00), "codec"),
        (forged(flags=0x60), "codec"),
        (forged(item=8), "item size"),
        (forged(size=2**31 - 1), "size"),
        (forged(block=0), "block size"),
        (forged(block=8), "block size"),
        (forged(block=LEAST_STREAM_BYTES - 4), "block size"),
        (forged(block=LEAST_STREAM_BYTES + 1), "block size"),
        (forged(block=2**31), "block size"),
        (forged(packed=17), "packed size"),
        (forged(flags=0x96), "plain size"),
        (FRAME[:16] + b"\xff" * 4 + FRAME[20:], "do not adjoin"),
        (FRAME[:16] + b"\0" * 4 + FRAME[20:], "do not adjoin"),
        (FRAME[:12] + struct.pack("<I", 18) + FRAME[16:18], "no room for its 2 blocks"),
        (FRAME[:12] + struct.pack("<I", 26) + FRAME[16:26], "lies outside its frame"),
        (FRAME[:12] + struct.pack("<I", len(FRAME) - 1) + FRAME[16:-1], "lies outside its frame"),
    ],
)
def test_a_forged_frame_never_reaches_the_decoder(frame: bytes, reason: str) -> None:
    with pytest.raises(MinerFault, match=reason):
        check_frame(frame, "2t/1.0.0", SIZE)


def test_a_frame_packed_with_another_codec_than_the_metadata_names_is_refused() -> None:
    with pytest.raises(MinerFault, match="codec"):
        check_frame(packed(a_field(), "lz4"), "2t/1.0.0", SIZE, "zstd")


@pytest.mark.parametrize("cname", ["blosclz", "zlib"])
def test_a_codec_that_is_not_allowed_is_refused(cname: str) -> None:
    with pytest.raises(MinerFault, match="codec"):
        check_frame(packed(a_field(), cname), "2t/1.0.0", SIZE)


def test_a_bomb_is_refused_by_its_header() -> None:
    bomb = packed(np.zeros(50_000_000, np.float32))

    with pytest.raises(MinerFault, match="size"):
        check_frame(bomb, "2t/1.0.0", SIZE)


def shared(frame: bytes) -> bytes:
    """Let the first block be the second one too; the decoder does not mind."""
    parts = taken_apart(frame)
    alone = put_together(Parts(parts.header, parts.streams[:1]))
    start = struct.unpack_from("<i", alone, 16)[0] + 4 * (len(parts.streams) - 1)
    table = struct.pack("<i", start) * len(parts.streams)
    header = alone[:12] + struct.pack("<I", len(alone) - 4 + len(table))
    return header + table + alone[20:]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (shared(FRAME), "do not adjoin: one begins at"),
        (put_together(taken_apart(FRAME), gap=b"\0"), "do not adjoin: one begins at 25, not at 24"),
        (put_together(taken_apart(FRAME), behind=b"\0"), r"blocks end at \d+ of \d+ bytes"),
    ],
    ids=["shared", "gap", "behind"],
)
def test_streams_that_do_not_fill_the_frame_one_after_another_are_refused(frame: bytes, reason: str) -> None:
    with pytest.raises(MinerFault, match=reason):
        check_frame(frame, "2t/1.0.0", SIZE)


def with_first_stream(stream: bytes) -> bytes:
    parts = taken_apart(FRAME)
    return put_together(Parts(parts.header, [stream, *parts.streams[1:]]))


BLOCK = taken_apart(FRAME)
ZSTD = BLOCK.streams[0]
EMPTY_BLOCK = b"\0\0\0"
AFTER_HEADER = 5 + (1, 2, 4, 8)[ZSTD[4] >> 6]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"", "a blosc stream is 0 bytes long, but decodes to 131072"),
        (ZSTD.ljust(131_073, b"\0"), "is 131073 bytes long, but decodes to 131072"),
        (b"\0" * len(ZSTD), "is no zstd frame"),
        (ZSTD[:4], "is no zstd frame"),
        (ZSTD[:AFTER_HEADER], "a zstd block lies outside its stream"),
        (ZSTD[:-1], "a zstd block lies outside its stream"),
        (ZSTD[:AFTER_HEADER] + b"\x07\0\0", "a zstd block lies outside its stream"),
        (ZSTD + b"\0", "goes on behind its zstd frame"),
        (ZSTD + bytes(zstd.compress(b"")), "goes on behind its zstd frame"),
        (ZSTD + struct.pack("<II", 0x184D2A50, 0), "goes on behind its zstd frame"),
        (struct.pack("<II", 0x184D2A50, 0) + ZSTD, "is no zstd frame"),
        (ZSTD[:AFTER_HEADER] + 128 * EMPTY_BLOCK + ZSTD[AFTER_HEADER:], "has too many zstd blocks"),
    ],
)
def test_a_stream_that_no_writer_makes_is_refused(stream: bytes, reason: str) -> None:
    with pytest.raises(MinerFault, match=reason):
        check_frame(with_first_stream(stream), "2t/1.0.0", SIZE, "zstd")


def test_a_stream_may_hold_a_few_more_zstd_blocks_than_its_writer_would_make() -> None:
    stream = ZSTD[:AFTER_HEADER] + 64 * EMPTY_BLOCK + ZSTD[AFTER_HEADER:]
    frame = with_first_stream(stream)

    check_frame(frame, "2t/1.0.0", SIZE, "zstd")

    np.testing.assert_array_equal(blosc.decompress(frame), a_field().tobytes())


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 63), value=st.integers(0, 255))
def test_whatever_a_header_says_the_check_accepts_or_blames_the_miner(position: int, value: int) -> None:
    frame = bytearray(FRAME)
    frame[position] = value

    try:
        check_frame(bytes(frame), "2t/1.0.0", SIZE, "zstd")
    except MinerFault:
        assert bytes(frame) != FRAME


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "shared stream": (lambda: hostile_frames.shared_stream(SIZE, 10), "block size"),
    "empty blocks": (lambda: hostile_frames.empty_blocks(SIZE), "too many zstd blocks"),
    "empty frames": (lambda: hostile_frames.empty_frames(SIZE, skippable=False), "behind its zstd frame"),
    "skippable frames": (lambda: hostile_frames.empty_frames(SIZE, skippable=True), "no zstd frame"),
    "more tables": (lambda: hostile_frames.many_tables(SIZE, 768, 131_072), "too many zstd blocks"),
    "dense tables": (lambda: hostile_frames.dense_tables(SIZE), "too many zstd blocks"),
    "split blocks": (lambda: hostile_frames.many_tables(SIZE, splits=4), "block size"),
}
ACCEPTED: dict[str, Callable[[], bytes]] = {
    "tables": lambda: hostile_frames.many_tables(SIZE),
    "tables in large blocks": lambda: hostile_frames.many_tables(SIZE, block_bytes=131_072),
    "tables in split blocks": lambda: hostile_frames.many_tables(SIZE, block_bytes=16_384, splits=4),
    "far matches": lambda: hostile_frames.far_matches(SIZE),
    "short copies": lambda: hostile_frames.short_copies(SIZE, 4096),
}


def decoding_s(frame: bytes, times: int = 7) -> float:
    """Return the least CPU time that decoding took."""
    out = np.empty(SHAPE, np.float32)
    found = []
    for _ in range(times):
        begun = time.thread_time()
        blosc.decompress(frame, out)
        found.append(time.thread_time() - begun)
    return min(found)


@pytest.mark.parametrize("attack", REFUSED)
def test_an_attack_the_decoder_would_work_on_is_refused(attack: str) -> None:
    make, reason = REFUSED[attack]
    frame = make()
    assert blosc.decompress(frame)

    with pytest.raises(MinerFault, match=reason):
        check_frame(frame, "2t/1.0.0", SIZE)


@pytest.mark.parametrize("attack", ACCEPTED)
def test_the_slowest_frame_that_passes_costs_no_more_than_a_hundred_honest_ones(attack: str) -> None:
    frame = ACCEPTED[attack]()

    check_frame(frame, "2t/1.0.0", SIZE)

    # 20 where it was measured; what is refused starts at 30 and reaches a million.
    assert decoding_s(frame) < 100 * decoding_s(FRAME)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_frame_that_passes_holds_more_work_than_its_size_allows(data: Any) -> None:
    every = data.draw(st.integers(512, 4096))
    splits = data.draw(st.sampled_from([1, 4]))
    block_bytes = 4 * data.draw(st.integers(every, SIZE // 4))
    frame = hostile_frames.many_tables(SIZE, every, block_bytes, splits)

    try:
        check_frame(frame, "2t/1.0.0", SIZE)
    except MinerFault:
        return

    streams = SIZE // (block_bytes // splits) + 1
    assert streams <= SIZE // LEAST_STREAM_BYTES + 1
    assert SIZE // every <= SIZE // BYTES_PER_ZSTD_BLOCK + streams
