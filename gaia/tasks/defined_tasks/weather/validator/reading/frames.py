"""Checks the form of a blosc frame before it is decoded, which bounds the cost of decoding."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from gaia.validator.utils.errors import Undecodable

COMPRESSORS = {"lz4": 1, "zstd": 4}
"""Allowed inner codecs, and their numbers in a blosc header."""
HEADER_BYTES = 16
LEAST_STREAM_BYTES = 4096
"""Least decoded size of a stream, in bytes; only the last may be shorter.

Blosc makes streams of at least 8 KiB from a field, unless its writer requests less. Each stream
costs the decoder a context, which takes microseconds to make.
"""
BYTES_PER_ZSTD_BLOCK = 1024
"""Least decoded size per zstd block in a stream, in bytes.

Each block can make the decoder build new tables, which takes microseconds. For all tested fields,
zstd's own encoder makes blocks of at least 4 KiB.
"""

_HEADER = struct.Struct("<BBBBIII")
_LENGTH = struct.Struct("<i")
_VERSION = 2
_STORED_PLAIN = 0x02
_WHOLE_BLOCKS = 0x10
_ITEM_BYTES = 4
_ZSTD_START = struct.Struct("<IB")
_ZSTD_MAGIC = 0xFD2FB528
_ZSTD_RLE, _ZSTD_RESERVED = 1, 3

Stream = tuple[int, int, int]
"""Begin and end of a stream in its frame, and its decoded size."""


def check_frame(frame: bytes, path: str, size: int, compressor: str | None = None) -> None:
    """Check the form of a blosc frame.

    A forged frame can make decoders crash, allocate without limit or run for hours. Its sizes must
    therefore be those of one field, and its streams must fill it without gaps or overlaps. No stream
    may be longer than its decoded size; with zstd, it must be one zstd frame of few blocks.

    Parameters
    ----------
    path
        Its path in the store, for error messages.
    size
        Bytes of the field.
    compressor
        Inner codec named by the metadata; None: any allowed one.

    Raises
    ------
    MinerFault
        If the frame is not one field as a blosc writer packs it with an allowed codec.
    """
    if len(frame) < HEADER_BYTES:
        raise Undecodable(f"{path} is too short for a blosc frame")
    version, _, flags, item_bytes, found_size, block_bytes, packed_bytes = _HEADER.unpack_from(frame)
    codec = {number: name for name, number in COMPRESSORS.items()}.get(flags >> 5)
    is_plain = bool(flags & _STORED_PLAIN)
    splits = 1 if is_plain or flags & _WHOLE_BLOCKS else _ITEM_BYTES
    least = min(splits * LEAST_STREAM_BYTES, size)
    faults = {
        "version": version != _VERSION,
        "codec": codec is None or (compressor is not None and codec != compressor),
        "item size": item_bytes != _ITEM_BYTES,
        "size": found_size != size,
        "block size": not least <= block_bytes <= size or block_bytes % _ITEM_BYTES != 0,
        "packed size": packed_bytes != len(frame),
        "plain size": is_plain and len(frame) != size + HEADER_BYTES,
    }
    wrong = [name for name, is_wrong in faults.items() if is_wrong]
    if wrong:
        raise Undecodable(f"{path}: blosc header is wrong in {', '.join(wrong)}")
    if is_plain:
        return
    for begin, end, out_bytes in _streams(frame, path, size, block_bytes, splits):
        # Incompressible data are stored as they are.
        if codec == "zstd" and end - begin != out_bytes:
            _check_zstd(frame, path, begin, end, out_bytes)


def _streams(frame: bytes, path: str, size: int, block_bytes: int, splits: int) -> Iterator[Stream]:
    """Yield the streams of all blocks, which must fill the frame from the end of their table to its end."""
    count = -(-size // block_bytes)
    position = HEADER_BYTES + 4 * count
    if position > len(frame):
        raise Undecodable(f"{path}: blosc frame has no room for its {count} blocks")
    starts = np.frombuffer(frame, "<i4", count, HEADER_BYTES)
    # Writers with several threads store blocks in the order of completion.
    for number in np.argsort(starts, kind="stable").tolist():
        begin = int(starts[number])
        if begin != position:
            raise Undecodable(f"{path}: blosc blocks do not adjoin: one begins at {begin}, not at {position}")
        out_bytes = min(block_bytes, size - number * block_bytes)
        # A short last block is always one stream.
        parts = splits if out_bytes == block_bytes else 1
        for _ in range(parts):
            stream = _stream_at(frame, path, position, out_bytes // parts)
            yield stream
            position = stream[1]
    if position != len(frame):
        raise Undecodable(f"{path}: blosc blocks end at {position} of {len(frame)} bytes")


def _stream_at(frame: bytes, path: str, position: int, out_bytes: int) -> Stream:
    begin = position + _LENGTH.size
    if begin > len(frame):
        raise Undecodable(f"{path}: a blosc stream lies outside its frame")
    (length,) = _LENGTH.unpack_from(frame, position)
    if not 0 < length <= out_bytes:
        raise Undecodable(f"{path}: a blosc stream is {length} bytes long, but decodes to {out_bytes}")
    if begin + length > len(frame):
        raise Undecodable(f"{path}: a blosc stream lies outside its frame")
    return begin, begin + length, out_bytes


def _check_zstd(frame: bytes, path: str, begin: int, end: int, out_bytes: int) -> None:
    """Check that a stream is one zstd frame, and that its blocks are few."""
    position = begin + _ZSTD_START.size
    magic, descriptor = _ZSTD_START.unpack_from(frame, begin) if position <= end else (0, 0)
    if magic != _ZSTD_MAGIC:
        raise Undecodable(f"{path}: a stream is no zstd frame")
    is_single_segment = descriptor >> 5 & 1
    position += 1 - is_single_segment
    position += (0, 1, 2, 4)[descriptor & 3]
    position += (is_single_segment, 2, 4, 8)[descriptor >> 6]
    for _ in range(-(-out_bytes // BYTES_PER_ZSTD_BLOCK)):
        header = int.from_bytes(frame[position : position + 3], "little")
        kind, length = header >> 1 & 3, header >> 3
        position += 3 + (1 if kind == _ZSTD_RLE else length)
        if position > end or kind == _ZSTD_RESERVED:
            raise Undecodable(f"{path}: a zstd block lies outside its stream")
        if header & 1:
            break
    else:
        raise Undecodable(
            f"{path}: a stream has too many zstd blocks for the {out_bytes} bytes it decodes to"
        )
    if position + (4 if descriptor & 4 else 0) != end:
        raise Undecodable(f"{path}: a stream goes on behind its zstd frame")
