"""The reader of miners' bytes believes nothing it was not promised."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numcodecs import Blosc

from gaia.tasks.defined_tasks.weather.validator.reading.chunks import (
    FIELD_CPU_S,
    METADATA_MAX_BYTES,
    Contract,
    MinerStore,
    check_metadata,
    decode,
)
from gaia.tasks.defined_tasks.weather.wire.store_layout import file_digest
from gaia.validator.utils.errors import MinerFault, TransientError
from tests.support.forecast_stores import CONTRACT, SHAPE, a_field, a_store, metadata_of, packed, put

FRAME = packed(a_field())


def open_store(payload: dict[str, Any]) -> MinerStore:
    return MinerStore(Path(payload["store_dir"]), payload["digests"], CONTRACT)


def buffer() -> Any:
    return np.full(SHAPE, np.nan, np.float32)


@pytest.mark.parametrize("field", ["2t", "z500"])
def test_a_field_comes_back_as_it_was_written(tmp_path: Path, field: str) -> None:
    values = a_field()
    store = open_store(a_store(tmp_path, {field: values}))

    out = buffer()

    assert store.read_field(field, 12, out) is out
    np.testing.assert_array_equal(out, values)


def test_what_the_zarr_library_writes_is_accepted(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path, mode="w", zarr_format=2)
    array = group.create_array(
        "t",
        shape=CONTRACT.array_shape("t"),
        chunks=CONTRACT.chunk_shape("t"),
        dtype="<f4",
        compressors=Blosc(cname="zstd", clevel=3, shuffle=Blosc.BITSHUFFLE),
        fill_value=float("nan"),
    )
    array[1, 7] = a_field(3)
    paths = ["t/.zarray", "t/1.7.0.0"]
    digests = {path: file_digest(path, (tmp_path / path).read_bytes()) for path in paths}

    read = MinerStore(tmp_path, digests, CONTRACT).read_field("t500", 12, buffer())

    np.testing.assert_array_equal(read, a_field(3))


@pytest.mark.parametrize(
    "values", [np.zeros(SHAPE, np.float32), np.random.default_rng(1).bytes(CONTRACT.field_bytes)]
)
def test_the_most_and_the_least_compressible_fields_are_read(tmp_path: Path, values: Any) -> None:
    payload = a_store(tmp_path, {"2t": a_field()})
    frame = bytes(Blosc("zstd", 3, Blosc.BITSHUFFLE).encode(np.frombuffer(values, np.float32)))
    put(tmp_path, payload["digests"], "2t/1.0.0", frame)

    read = open_store(payload).read_field("2t", 12, buffer())

    assert read.tobytes() == bytes(memoryview(values).cast("B"))


def test_lz4_is_allowed_when_the_metadata_says_so(tmp_path: Path) -> None:
    payload = a_store(tmp_path, {"2t": a_field()})
    metadata = metadata_of("2t")
    metadata["compressor"]["cname"] = "lz4"
    put(tmp_path, payload["digests"], "2t/.zarray", json.dumps(metadata).encode())
    put(tmp_path, payload["digests"], "2t/1.0.0", packed(a_field(), "lz4"))

    np.testing.assert_array_equal(open_store(payload).read_field("2t", 12, buffer()), a_field())


def test_bytes_swapped_after_the_commitment_are_refused(tmp_path: Path) -> None:
    payload = a_store(tmp_path, {"2t": a_field()})
    (tmp_path / "2t/1.0.0").write_bytes(packed(a_field(9)))

    with pytest.raises(MinerFault, match="not what the manifest promised"):
        open_store(payload).read_field("2t", 12, buffer())


def test_a_chunk_the_manifest_lacks_is_the_miners_fault(tmp_path: Path) -> None:
    store = open_store(a_store(tmp_path, {"2t": a_field()}))

    with pytest.raises(MinerFault, match="not in the manifest"):
        store.read_field("2t", 18, buffer())


def test_a_promised_file_missing_from_the_spool_is_not_the_miners_fault(tmp_path: Path) -> None:
    store = open_store(a_store(tmp_path, {"2t": a_field()}))
    (tmp_path / "2t/1.0.0").unlink()

    with pytest.raises(TransientError, match="spool"):
        store.read_field("2t", 12, buffer())


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "2t//0", "2t/./0", "a\0b", "a\\b", ""])
def test_a_path_that_leaves_the_store_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(MinerFault, match="not a path inside a store"):
        MinerStore(tmp_path, {path: "0" * 64}, CONTRACT).read(path)


@pytest.mark.parametrize("lead_hours", [0, 7, 30, -6])
def test_a_lead_outside_the_forecast_is_our_mistake(tmp_path: Path, lead_hours: int) -> None:
    store = open_store(a_store(tmp_path, {"2t": a_field()}))

    with pytest.raises(ValueError, match="no lead"):
        store.read_field("2t", lead_hours, buffer())


def test_a_chunk_longer_than_a_field_can_be_is_not_even_hashed(tmp_path: Path) -> None:
    payload = a_store(tmp_path, {"2t": a_field()})
    put(tmp_path, payload["digests"], "2t/1.0.0", bytes(CONTRACT.chunk_max_bytes + 1))

    with pytest.raises(MinerFault, match="longer than"):
        open_store(payload).read_field("2t", 12, buffer())


PICKLE = {"id": "pickle", "protocol": 5}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"filters": [PICKLE]}, "filters"),
        ({"compressor": PICKLE}, "compressor"),
        ({"compressor": None}, "compressor"),
        ({"compressor": {"id": "gzip", "level": 5}}, "compressor"),
        ({"dtype": "|O"}, "dtype"),
        ({"dtype": ">f4"}, "dtype"),
        ({"dtype": "<f8"}, "dtype"),
        ({"shape": [10**9, 181, 360]}, "shape"),
        ({"shape": [4.0, 181, 360]}, "shape"),
        ({"chunks": [4, 181, 360]}, "chunks"),
        ({"chunks": [True, 181, 360]}, "chunks"),
        ({"order": "F"}, "order"),
        ({"zarr_format": 3}, "zarr_format"),
        ({"dimension_separator": "/"}, "dimension_separator"),
        ({"fill_value": {"code": 1}}, "fill_value"),
        ({"attributes": {}}, "other keys"),
    ],
)
def test_metadata_that_differs_from_the_contract_is_refused(change: dict[str, Any], reason: str) -> None:
    content = json.dumps({**metadata_of("2t"), **change}).encode()

    with pytest.raises(MinerFault, match=reason):
        check_metadata(content, "2t", CONTRACT)


@pytest.mark.parametrize(
    "change",
    [{"cname": "blosclz"}, {"cname": ["zstd"]}, {"shuffle": 7}, {"clevel": True}, {"extra": 1}],
)
def test_compressor_settings_that_are_not_allowed_are_refused(change: dict[str, Any]) -> None:
    metadata = metadata_of("2t")
    metadata["compressor"].update(change)

    with pytest.raises(MinerFault, match="compressor"):
        check_metadata(json.dumps(metadata).encode(), "2t", CONTRACT)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{",
        b"[" * 60_000,
        b'{"order": "C", "order": "F"}',
        b" " * (METADATA_MAX_BYTES + 1),
        b'{"shape": ' + b"9" * 5000 + b"}",
    ],
)
def test_metadata_that_is_no_plain_object_is_refused(content: bytes) -> None:
    with pytest.raises(MinerFault):
        check_metadata(content, "2t", CONTRACT)


@pytest.mark.parametrize(
    "worst",
    [
        b"[" + b"[]," * 21_000 + b"0]",
        b"[" + b'{"a":0},' * 8_000 + b"0]",
        b"{" + b",".join(b'"%d":0' % number for number in range(6_500)) + b"}",
        b"[" + b"1e-300," * 9_000 + b"0]",
        b"[" + (b"9" * 4_300 + b",") * 14 + b"0]",
        b"9" * 65_000 + b".5",
        b"[" * 65_000,
    ],
    ids=["lists", "objects", "keys", "floats", "integers", "digits", "depth"],
)
def test_the_slowest_metadata_of_the_largest_size_costs_less_than_a_field(worst: bytes) -> None:
    content = json.dumps(metadata_of("2t")).encode()[:-1] + b', "x": ' + worst + b"}"
    assert len(content) <= METADATA_MAX_BYTES

    def cost_s() -> float:
        begun = time.thread_time()
        with pytest.raises(MinerFault):
            check_metadata(content, "2t", CONTRACT)
        return time.thread_time() - begun

    # Some 2 ms; of what a field may take, a tenth. The least of several, as the clock counts interrupts too.
    assert min(cost_s() for _ in range(5)) < FIELD_CPU_S / 10


def test_metadata_without_a_separator_means_a_dot() -> None:
    metadata = metadata_of("z500")
    del metadata["dimension_separator"]

    assert check_metadata(json.dumps(metadata).encode(), "z", CONTRACT) == "zstd"


def test_damage_behind_a_good_header_is_the_miners_fault(tmp_path: Path) -> None:
    payload = a_store(tmp_path, {"2t": a_field()})
    broken = FRAME[: len(FRAME) - 400] + bytes(400)
    put(tmp_path, payload["digests"], "2t/1.0.0", broken)

    with pytest.raises(MinerFault, match="cannot be decoded"):
        open_store(payload).read_field("2t", 12, buffer())


class Clock:
    """CPU time that has passed at each look, in seconds."""

    def __init__(self, *passed: float) -> None:
        self._times = iter(np.cumsum(passed).tolist())

    def __call__(self) -> float:
        return float(next(self._times))


LONG = FIELD_CPU_S + 0.1


def test_a_field_that_takes_too_long_to_decode_is_the_miners_fault() -> None:
    clock = Clock(5.0, LONG, 0.0, LONG)

    with pytest.raises(MinerFault, match=r"decoding 2t/1\.0\.0 took more than 2 s of CPU"):
        decode(FRAME, "2t/1.0.0", buffer(), clock)


def test_a_machine_that_was_paused_during_one_decoding_blames_nobody() -> None:
    clock = Clock(5.0, LONG, 0.0, 0.004)

    np.testing.assert_array_equal(decode(FRAME, "2t/1.0.0", buffer(), clock), a_field())


def test_the_full_grid_has_the_size_of_the_protocol() -> None:
    full = Contract(grid="0.25", steps=40, step_hours=6)

    assert full.array_shape("z") == (40, 13, 721, 1440)
    assert full.chunk_shape("msl") == (1, 721, 1440)
    assert full.field_bytes == 4_152_960
