"""What a local subnet's database and chain might say, for the tests of those who read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from gaia.localnet.options import Addresses
from gaia.localnet.view.watch import ForecastProgress, Progress, RunProgress, WeightsProgress

INIT_TIME = datetime(2026, 3, 25, tzinfo=UTC)
RUN_ID = "2026-03-25T00Z"
ADDRESSES = Addresses(
    chain="ws://127.0.0.1:9944",
    gfs="http://127.0.0.1:8000",
    cds="http://127.0.0.1:8000/api",
    cds_key="key",
    climatology="http://127.0.0.1:8000/climatology",
)


def a_run(day: int = 0, **changes: Any) -> RunProgress:
    init_time = INIT_TIME + timedelta(days=day)
    dull: dict[str, Any] = {
        "run_id": f"{init_time:%Y-%m-%dT%HZ}",
        "init_time": init_time,
        "rule_set": "gaia-2.9",
    }
    return RunProgress(**dull | {"completed": False} | changes)


def a_forecast(hotkey: str = "5Miner", uid: int = 1, **changes: Any) -> ForecastProgress:
    dull: dict[str, Any] = {"run_id": RUN_ID, "hotkey": hotkey, "uid": uid, "state": "planned"}
    return ForecastProgress(**dull | changes)


def some_weights(**changes: Any) -> WeightsProgress:
    dull: dict[str, Any] = {
        "block": 99,
        "block_hash": "0xab",
        "extrinsic": "99-1",
        "vector": ((1, 65535), (9, 65535)),
        "weights": {"5Miner": 0.5, "5Owner": 0.5},
        "run_ids": (RUN_ID,),
        "completed_ids": (),
    }
    return WeightsProgress(**dull | changes)


def a_finished_run(**changes: Any) -> Progress:
    """One run of one miner, scored, completed and weighed."""
    forecast = a_forecast(state="scored", day1=0.4, leads={"24": 0.5}, overall=0.6, frozen=True)
    return Progress(
        runs=(a_run(completed=True),),
        forecasts=changes.pop("forecasts", (forecast,)),
        weights=some_weights(completed_ids=(RUN_ID,)),
        references_ready=3,
        references_wanted=3,
    )
