"""Many forecasts in one unit score what each would alone, and each answers for itself alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numcodecs import blosc

from gaia.localnet.miners import hostile_frames
from gaia.tasks.defined_tasks.weather.validator.reading import chunks
from gaia.validator.utils.errors import TransientError
from tests.support.forecast_stores import CONTRACT, Values, a_field, a_store, packed, put, reference_files
from tests.support.weather_handlers import score_batch, score_day1, score_era5_final

Payload = dict[str, Any]
Alone = dict[str, Payload]

MEANS = {"2t": 280.0, "z500": 55_000.0}
HANDLERS = {"day1": score_day1, "final": score_era5_final}


def some_fields(seed: int) -> dict[str, Values]:
    return {name: a_field(seed + place, mean) for place, (name, mean) in enumerate(MEANS.items())}


@pytest.fixture
def alone(tmp_path: Path) -> Alone:
    """Hotkey -> the payload of its forecast alone."""
    roles = {
        role: reference_files(tmp_path / role, some_fields(seed))
        for seed, role in [(10, "truth"), (20, "climatology"), (30, "baseline"), (40, "persistence")]
    }
    return {name: a_store(tmp_path / name, some_fields(seed)) | roles for seed, name in enumerate("abc", 100)}


def together(payloads: Alone, kind: str = "day1", **changes: object) -> Payload:
    shared = {name: value for name, value in payloads["a"].items() if name not in ("store_dir", "digests")}
    forecasts = {
        hotkey: {"store_dir": payload["store_dir"], "digests": payload["digests"]}
        for hotkey, payload in payloads.items()
    }
    return shared | {"kind": kind, "forecasts": forecasts} | changes


@pytest.mark.parametrize("kind", HANDLERS)
@pytest.mark.parametrize("measures", ["gaia-2.9", "plain"])
def test_a_batch_gives_the_bits_of_one_by_one(alone: Alone, kind: str, measures: str) -> None:
    values = score_batch(together(alone, kind, measures=measures))

    assert values == {
        hotkey: HANDLERS[kind](payload | {"measures": measures}) for hotkey, payload in alone.items()
    }


def spoil(payload: Payload, kind: str) -> None:
    directory = Path(payload["store_dir"])
    match kind:
        case "swapped":
            (directory / "2t/1.0.0").write_bytes(packed(a_field(9)))
        case "nan":
            put(directory, payload["digests"], "2t/1.0.0", packed(np.full((181, 360), np.nan, np.float32)))
        case "short":
            put(directory, payload["digests"], "z/1.7.0.0", b"short")
        case "endless":
            frame = hostile_frames.shared_stream(CONTRACT.field_bytes, empty_blocks=40_000)
            put(directory, payload["digests"], "2t/1.0.0", frame)
        case "slow":
            frame = hostile_frames.many_tables(CONTRACT.field_bytes)
            put(directory, payload["digests"], "2t/1.0.0", frame)
        case "unspooled":
            (directory / "z/1.7.0.0").unlink()


@pytest.mark.parametrize(
    ("how", "error_type", "words"),
    [
        ("swapped", "DigestMismatch", "not what the manifest promised"),
        ("nan", "ImplausibleValues", "2t at lead 12 h holds values that are not finite"),
        ("short", "Undecodable", "too short"),
        ("endless", "Undecodable", "2t/1.0.0: blosc header is wrong in block size"),
        ("slow", "ImplausibleValues", "2t at lead 12 h"),
        ("unspooled", "OwnFailure", "cannot be read from the spool"),
    ],
)
def test_a_forecast_that_fails_fails_alone(alone: Alone, how: str, error_type: str, words: str) -> None:
    spoil(alone["b"], how)

    values = score_batch(together(alone))

    assert values["b"].keys() == {"failure"}
    assert values["b"]["failure"]["error_type"] == error_type
    assert words in values["b"]["failure"]["message"]
    assert [values["a"], values["c"]] == [score_day1(alone["a"]), score_day1(alone["c"])]


def test_a_field_that_takes_too_long_ends_its_own_forecast_alone(
    alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = packed(a_field(77))
    put(Path(alone["b"]["store_dir"]), alone["b"]["digests"], "2t/1.0.0", slow)
    decompress = blosc.decompress

    def decompressed(frame: bytes, out: Values) -> None:
        decompress(frame, out)
        if frame == slow:
            begun = time.thread_time()
            while time.thread_time() - begun < 0.05:
                pass

    honest = [score_day1(alone[name]) for name in "ac"]
    monkeypatch.setattr(blosc, "decompress", decompressed)
    monkeypatch.setattr(chunks, "FIELD_CPU_S", 0.04)

    values = score_batch(together(alone))

    assert values["b"]["failure"] == {
        "error_type": "Undecodable",
        "message": "decoding 2t/1.0.0 took more than 0.04 s of CPU",
    }
    assert [values["a"], values["c"]] == honest


@pytest.mark.parametrize("role", ["truth", "climatology", "baseline", "persistence"])
def test_our_own_damage_concerns_all_and_is_blamed_on_none(alone: Alone, role: str) -> None:
    spoil(alone["a"], "swapped")
    path = Path(alone["a"][role]["2t"])
    path.write_bytes(np.float32(np.nan).tobytes() + path.read_bytes()[4:])

    with pytest.raises(TransientError, match=f"{role} of 2t is incomplete"):
        score_batch(together(alone))


def test_day1_without_a_baseline_is_our_mistake_and_later_leads_need_none(alone: Alone) -> None:
    for payload in alone.values():
        del payload["baseline"], payload["persistence"]

    with pytest.raises(TransientError, match="baseline"):
        score_batch(together(alone))
    rows = score_batch(together(alone, "final"))["a"]["components"]
    assert [(row["skill_gfs"], row["skill_persistence"], row["mse_blend"]) for row in rows] == [
        (None,) * 3
    ] * 2


def test_persistence_and_gfs_make_every_measure_known(alone: Alone) -> None:
    rows = score_batch(together(alone, "final", measures="plain"))["a"]["components"]

    assert all(value is not None for row in rows for value in row.values())
