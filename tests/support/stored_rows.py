"""Rows as the database's reading functions return them, with values that a test changes where it cares."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gaia.validator.db.rows import ComponentRow, ForecastRow, OverallRow, VectorRow
from gaia.validator.db.states import ForecastState, RunState, VectorState

MOMENT = datetime(2026, 3, 25, tzinfo=UTC)


def a_forecast_row(**changes: Any) -> ForecastRow:
    """Return a forecast that is scored."""
    row: dict[str, Any] = {
        "run_id": "r",
        "hotkey": "5Miner",
        "uid": 1,
        "registered_at": 0,
        "state": ForecastState.SCORED,
        "reason": None,
        "manifest_sha256": None,
        "committed_at": MOMENT,
    }
    return ForecastRow(**row | changes)


def a_component_row(measures: dict[str, float | None], **changes: Any) -> ComponentRow:
    """Return one field of a final lead, with these measures and no others."""
    row: dict[str, Any] = {
        "run_id": "r",
        "hotkey": "5Miner",
        "rule_set": "gaia-2.9",
        "kind": "final",
        "field": "2t",
        "lead_hours": 24,
        "forecast_digest": "d" * 64,
        "truth_digest": "t" * 64,
        "scored_at": MOMENT,
    }
    return ComponentRow(**row | changes, measures=measures)


def an_overall_row(**changes: Any) -> OverallRow:
    """Return an overall score of a completed run."""
    row: dict[str, Any] = {
        "run_id": "r",
        "init_time": MOMENT,
        "run_state": RunState.COMPLETED,
        "rule_set": "gaia-2.9",
        "hotkey": "5Miner",
        "uid": 1,
        "registered_at": 0,
        "state": ForecastState.SCORED,
        "day1": None,
        "overall": 0.5,
        "counted": True,
    }
    return OverallRow(**row | changes)


def a_vector_row(**changes: Any) -> VectorRow:
    """Return a vector that stands on chain."""
    row: dict[str, Any] = {
        "netuid": 57,
        "mechid": 0,
        "epoch": 7,
        "rule_set": "gaia-2.9",
        "vector": [],
        "vector_sha256": "",
        "weights": {},
        "run_ids": [],
        "state": VectorState.SET,
        "intended_at": MOMENT,
        "block": 1,
        "block_hash": None,
        "extrinsic": None,
        "error": None,
        "inputs": None,
        "promised_block": None,
        "commit_block": None,
    }
    return VectorRow(**row | changes)
