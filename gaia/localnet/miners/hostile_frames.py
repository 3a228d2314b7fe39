"""Makes blosc frames that are small to send and slow to decode, and that decoders accept."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numcodecs import zstd

if TYPE_CHECKING:
    from numpy.typing import NDArray

LZ4, ZSTD = 1, 4
"""Numbers of the inner codecs in a blosc header."""
KIB = 1024
ZSTD_BLOCK = 128 * KIB
"""Largest decoded size of one zstd block, in bytes."""

_HEADER = struct.Struct("<BBBBIII")
_WHOLE = 0x10
_BITSHUFFLE = 0x04
_MAGIC = struct.pack("<I", 0xFD2FB528)
_SKIPPABLE = struct.pack("<II", 0x184D2A50, 0)
_VALUE = struct.pack("<f", 280.0)
_RAW, _RLE, _COMPRESSED = 0, 1, 2
_RLE_CODES = 0b01010100
_TABLE_CODES = 0b10101000
_LITERALS = 8


class ZstdBlock(NamedTuple):
    """One block of a zstd frame, as stored."""

    kind: int
    content: bytes
    length: int = -1
    """Size that its header states; -1: the length of the content."""


def shared_stream(size: int, empty_blocks: int) -> bytes:
    """Return a frame that decodes to `size` bytes of 280 K, whose blocks of 8 bytes share one stream.

    Parameters
    ----------
    size
        A multiple of 8.
    empty_blocks
        Number of empty zstd blocks in that stream; each is decoded size / 8 times.
    """
    stream = _zstd_frame([*[ZstdBlock(_RAW, b"")] * empty_blocks, ZstdBlock(_RAW, 2 * _VALUE)], 8)
    first = _HEADER.size + size // 2
    packed = first + 4 + len(stream)
    header = _HEADER.pack(2, 1, ZSTD << 5 | _WHOLE, 4, size, 8, packed)
    starts = np.full(size // 8, first, "<i4").tobytes()
    return header + starts + struct.pack("<i", len(stream)) + stream


def endless(size: int) -> bytes:
    """Return the slowest `shared_stream` that is no longer than an incompressible field."""
    # After the header and the table: the length of the stream, its header, and the block of values.
    room = size + _HEADER.size - (_HEADER.size + size // 2) - 4 - 9 - 3 - 2 * len(_VALUE)
    return shared_stream(size, room // 3)


def empty_blocks(size: int, block_bytes: int = ZSTD_BLOCK) -> bytes:
    """Return a frame of 280 K whose streams are padded with empty zstd blocks."""

    def stream(out_bytes: int) -> bytes:
        last = _only_block(zstd.compress(_VALUE * (out_bytes // 4), 1))
        room = out_bytes - 32 - len(last.content)
        return _zstd_frame([*[ZstdBlock(_RAW, b"")] * (room // 3), last], out_bytes)

    return _in_blocks(size, block_bytes, stream)


def empty_frames(size: int, *, skippable: bool) -> bytes:
    """Return a frame of 280 K whose streams are padded with empty zstd frames."""
    nothing = _SKIPPABLE if skippable else _zstd_frame([ZstdBlock(_RAW, b"")], 0)

    def stream(out_bytes: int) -> bytes:
        values = bytes(zstd.compress(_VALUE * (out_bytes // 4), 1))
        return nothing * ((out_bytes - 16 - len(values)) // len(nothing)) + values

    return _in_blocks(size, ZSTD_BLOCK, stream)


def many_tables(size: int, every: int = KIB, block_bytes: int = 4 * KIB, splits: int = 1) -> bytes:
    """Return a frame that makes zstd rebuild its largest tables after every few bytes.

    Every stream also costs zstd a context, so small blocks in `splits` streams are the slowest.
    """
    pieces = [_with_largest_tables(every, seed) for seed in range(16)]

    def stream(out_bytes: int) -> bytes:
        count, rest = divmod(out_bytes, every)
        blocks = [pieces[number % len(pieces)] for number in range(count)]
        return _zstd_frame([*blocks, ZstdBlock(_RAW, bytes(rest))] if rest else blocks, out_bytes)

    return _in_blocks(size, block_bytes, stream, splits=splits)


def dense_tables(size: int) -> bytes:
    """Return a frame with as many tables as fit, each for 16 bytes; one run length gives the rest."""
    piece = _with_largest_tables(16, 0)

    def stream(out_bytes: int) -> bytes:
        count = min(out_bytes // (len(piece.content) + 8), out_bytes // 16)
        rest = out_bytes - 16 * count
        return _zstd_frame([*[piece] * count, ZstdBlock(_RLE, b"\0", rest)], out_bytes)

    return _in_blocks(size, ZSTD_BLOCK, stream)


def far_matches(size: int, block_bytes: int = 0) -> bytes:
    """Return a frame of matches of three bytes only, spread over all decoded bytes.

    Parameters
    ----------
    block_bytes
        Size of a blosc block; 0: one block, so that matches reach through the whole field.
    """
    rng = np.random.default_rng(0)

    def stream(out_bytes: int) -> bytes:
        blocks = [ZstdBlock(_RAW, rng.bytes(min(4 * KIB, out_bytes)))]
        done = len(blocks[0].content)
        while done < out_bytes:
            now = min(ZSTD_BLOCK, out_bytes - done, done)
            code = (done + 4).bit_length() - 2
            blocks.append(_matches(rng.integers(0, 1 << code, now // 3), code, rng.bytes(now % 3)))
            done += now
        return _zstd_frame(blocks, out_bytes)

    return _in_blocks(size, block_bytes or size, stream)


def short_copies(size: int, block_bytes: int = ZSTD_BLOCK) -> bytes:
    """Return an lz4 frame of matches of four bytes only, at distances that make copies overlap."""
    rng = np.random.default_rng(0)

    def stream(out_bytes: int) -> bytes:
        count = (out_bytes - 20) // 4
        tail = out_bytes - 8 - 4 * count
        # Literals of a sequence precede its match: the first has eight; the last has only literals.
        tokens = np.zeros((count, 3), np.uint8)
        tokens[:, 0] = rng.integers(1, 9, count)
        return b"\x80" + rng.bytes(8) + tokens.tobytes()[:-1] + bytes([tail << 4]) + bytes(tail)

    return _in_blocks(size, block_bytes, stream, codec=LZ4)


def _in_blocks(
    size: int, block_bytes: int, stream: Callable[[int], bytes], *, codec: int = ZSTD, splits: int = 1
) -> bytes:
    """Return a valid frame whose blocks consist of the streams made for their sizes."""
    made = functools.cache(stream)
    sizes = [min(block_bytes, size - begin) for begin in range(0, size, block_bytes)]
    starts, body, position = [], [], _HEADER.size + 4 * len(sizes)
    for out_bytes in sizes:
        starts.append(position)
        parts = splits if out_bytes == block_bytes else 1
        content = made(out_bytes // parts)
        body += [struct.pack("<i", len(content)), content] * parts
        position += parts * (4 + len(content))
    flags = codec << 5 | _BITSHUFFLE | (_WHOLE if splits == 1 else 0)
    header = _HEADER.pack(2, 1, flags, 4, size, block_bytes, position)
    return b"".join((header, struct.pack(f"<{len(starts)}i", *starts), *body))


def _zstd_frame(blocks: Sequence[ZstdBlock], out_bytes: int) -> bytes:
    parts = [_MAGIC, bytes([0b10100000]), struct.pack("<I", out_bytes)]
    for number, (kind, content, length) in enumerate(blocks, 1):
        header = (length if length >= 0 else len(content)) << 3 | kind << 1 | (number == len(blocks))
        parts += [header.to_bytes(3, "little"), content]
    return b"".join(parts)


def _only_block(frame: bytes) -> ZstdBlock:
    """Return the only block of a zstd frame of less than `ZSTD_BLOCK` bytes."""
    position = 5 + (1, 2, 4, 8)[frame[4] >> 6]
    header = int.from_bytes(frame[position : position + 3], "little")
    kind, content = header >> 1 & 3, bytes(frame[position + 3 :])
    if not header & 1:
        raise ValueError("the frame has more blocks than one")
    return ZstdBlock(kind, content)


def _matches(distances: NDArray[np.int64], code: int, rest: bytes) -> ZstdBlock:
    """Return matches of three bytes with an offset of 2**code - 3 + distance each, followed by `rest`."""
    count = len(distances)
    number = bytes([255]) + struct.pack("<H", count - 0x7F00) if count >= 0x7F00 else _short_number(count)
    bits = (distances[:, None] >> np.arange(code) & 1).astype(np.uint8).reshape(-1)
    stream = np.packbits(np.append(bits, np.uint8(1)), bitorder="little").tobytes()
    literals = bytes([len(rest) << 3]) + rest
    return ZstdBlock(_COMPRESSED, literals + number + bytes([_RLE_CODES, 0, code, 0]) + stream)


def _short_number(count: int) -> bytes:
    return bytes([count]) if count < 128 else bytes([(count >> 8) + 128, count & 255])


def _with_largest_tables(out_bytes: int, seed: int) -> ZstdBlock:
    """Return a block with three tables of sequences, used by one sequence, and one table of literals."""
    rng = np.random.default_rng(seed)
    literals = (rng.normal(size=out_bytes - 3) * 12).astype(np.int8).tobytes()
    # The bits are read from the end: length of literals, offset, length of the match, bits of the offset.
    states = (1 << 9) - _LITERALS, (1 << 8) - 2, 0
    stream = 1 << 28 | states[0] << 19 | states[1] << 11 | states[2] << 2
    tables = _table(36, 9) + _table(32, 8) + _table(53, 9)
    sequences = bytes([1, _TABLE_CODES]) + tables + struct.pack("<I", stream)
    return ZstdBlock(_COMPRESSED, _literals(literals) + sequences)


def _literals(content: bytes) -> bytes:
    """Return a section of literals, with a Huffman table if that makes it shorter."""
    packed = _only_block(zstd.compress(content, 1))
    if packed.kind == _RAW:
        return struct.pack("<H", len(content) << 4 | 1 << 2) + content
    first = packed.content[0]
    header_bytes, bits = {0: (3, 10), 1: (3, 10), 2: (4, 14), 3: (5, 18)}[first >> 2 & 3]
    sizes = int.from_bytes(packed.content[:header_bytes], "little") >> 4
    if first & 3 != _COMPRESSED or sizes & ((1 << bits) - 1) != len(content):
        raise ValueError("zstd did not pack these literals as expected")
    return packed.content[: header_bytes + (sizes >> bits)]


def _table(symbols: int, log: int) -> bytes:
    """Return the description of a table of 2**log states with all symbols but the first as late as possible."""
    size = 1 << log
    remaining, threshold, width = size + 1, size, log + 1
    bits, count = log - 5, 4
    for number in range(symbols):
        probability = size - symbols + 1 if number == 0 else -1
        spare = 2 * threshold - 1 - remaining
        remaining -= abs(probability)
        value = probability + 1
        value += spare if value >= threshold else 0
        bits |= value << count
        count += width - (value < spare)
        while remaining < threshold:
            width, threshold = width - 1, threshold >> 1
    return bits.to_bytes(-(-count // 8), "little")
