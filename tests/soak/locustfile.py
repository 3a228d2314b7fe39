"""Load on a running engine, for Locust: `python3 scripts/chaos.py load --minutes 10` starts both.

Each answer is compared with the one that the handler gives alone. For 72 hours: `--minutes 4320`.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import gevent
from campaigns.load_engine.answers import BOOK, QUEUE, SCENARIOS, UNITS, fault_of, queue_fault_of
from locust import HttpUser, between, constant_pacing, task

_BOOK: dict[str, Any] = json.loads(Path(os.environ[BOOK]).read_bytes())
_AT_ONCE = 4


class _Asks(HttpUser):
    abstract = True

    def on_start(self) -> None:
        """Use no proxy, because the engine listens on loopback."""
        self.client.trust_env = False

    def ask(self, scenario: str) -> None:
        """Have one unit of the scenario run; fail unless its answer is right."""
        unit, expected = random.choice(
            [
                (place, each["expected"])
                for place, each in enumerate(_BOOK["units"])
                if each["scenario"] == scenario
            ]
        )
        with self.client.post(UNITS, json={"unit": unit}, name=scenario, catch_response=True) as response:
            if response.ok and (fault := fault_of(response.json(), expected)):
                response.failure(fault)

    def look_at_queue(self) -> None:
        """See that the queue is short and all workers live."""
        with self.client.get(QUEUE, name="queue_health", catch_response=True) as response:
            if response.ok and (
                fault := queue_fault_of(response.json(), _BOOK["workers"], _BOOK["most_waiting"])
            ):
                response.failure(fault)


class ValidatorWorkloadUser(_Asks):
    """Asks for units one after the other, as a validator's tasks do."""

    weight = 2
    wait_time = between(0.1, 0.5)

    @task(SCENARIOS["hash"])
    def hash_weather(self) -> None:
        self.ask("hash")

    @task(SCENARIOS["day1"])
    def score_day1(self) -> None:
        self.ask("day1")

    @task(SCENARIOS["era5_final"])
    def score_final(self) -> None:
        self.ask("era5_final")

    @task(SCENARIOS["verification"])
    def verify_forecast(self) -> None:
        self.ask("verification")

    @task(SCENARIOS["queue_health"])
    def check_queue(self) -> None:
        self.look_at_queue()


class BurstWorkloadUser(_Asks):
    """Asks for several units at once, as when the truth of a lead arrives."""

    weight = 1
    wait_time = constant_pacing(10)

    @task
    def burst(self) -> None:
        kinds = [name for name in SCENARIOS if name != "queue_health"]
        gevent.joinall(
            [
                gevent.spawn(self.ask, kind)
                for kind in random.choices(kinds, [SCENARIOS[kind] for kind in kinds], k=_AT_ONCE)
            ],
            raise_error=True,
        )
        self.look_at_queue()
