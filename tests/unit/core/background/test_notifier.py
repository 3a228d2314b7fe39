"""The notifier with real webhooks on loopback: begin, end, reminder, restart, and a service that is down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gaia.validator.core.background import notifier
from gaia.validator.core.background.notifier import FILE, NOTIFICATIONS, Notifier
from gaia.validator.core.status.facts import Facts, Job
from gaia.validator.db.rows import IncidentRow
from gaia.validator.utils.errors import OwnFailure
from gaia.validator.utils.messenger import Messenger
from gaia.validator.utils.settings.notify import NotifySettings
from tests.support.patience import patience
from tests.support.status_facts import NOW, some_facts, some_processes, some_work
from tests.support.webhooks import Webhook, stuck_service, webhook

WELL = some_facts()
LATE = some_facts(jobs=[Job(name="tick", last_success_at=None, is_overdue=True)])
STUCK = some_facts(processes=some_processes(is_running=False))
CHAIN_AWAY = some_facts(
    work=some_work(incidents=[IncidentRow(party="chain", began_at=NOW, last_at=NOW, evidence="no answer")])
)
DATABASE_DOWN = some_facts(work=None, database_error="the connection is refused")
SECRET = "hushhush"


@pytest.fixture
async def hook() -> AsyncIterator[Webhook]:
    async with webhook() as served:
        yield served


class Operator:
    """A notifier with its webhook, its facts and its time in the hands of a test."""

    def __init__(self, data_dir: Path, hook: Webhook, **settings: Any) -> None:
        self.data_dir = data_dir
        self.hook = hook
        self.settings = settings
        self.facts = WELL
        self.now = 1e9
        self.start()

    def start(self, life: str = "boot/1/1") -> None:
        """Make the notifier of a new IO-Engine."""
        settings = NotifySettings.model_validate({"notify_urls": [self.hook.address], **self.settings})
        addresses = [address.get_secret_value() for address in settings.notify_urls]
        self.notifier = Notifier(
            settings,
            self.data_dir,
            self._observe,
            Messenger(addresses, "GAIA_NOTIFY_URLS"),
            life,
            wall_clock=lambda: self.now,
        )

    async def _observe(self) -> Facts:
        return self.facts

    async def beat(self, facts: Facts, times: int = 1, after_s: float = 60.0) -> bool:
        self.facts = facts
        was_delivered = True
        for _ in range(times):
            self.now += after_s
            was_delivered = await self.notifier.notifier()
        return was_delivered

    @property
    def titles(self) -> list[str]:
        """What the titles of the messages say behind the name."""
        return [
            each["title"].removeprefix("Gaia validator 5GrwvaEF").strip(": ") for each in self.hook.posted
        ]


@pytest.fixture
def operator(tmp_path: Path, hook: Webhook) -> Operator:
    return Operator(tmp_path, hook)


async def test_trouble_is_told_when_it_begins_with_its_remedy_and_when_it_ends(operator: Operator) -> None:
    await operator.beat(WELL, 3)
    await operator.beat(LATE, 4)
    await operator.beat(WELL, 4)

    assert operator.titles == ["1 began", "1 over"]
    first, last = operator.hook.posted
    assert first["message"] == "degraded: job tick is overdue; remedy: gaia runbook ValidatorTaskOverdue"
    assert first["type"] == "warning"
    assert last["message"] == "over after 4 min: job tick is overdue\nAll is well."
    assert last["type"] == "success"


async def test_reminder_comes_after_the_hours_of_the_setting(tmp_path: Path, hook: Webhook) -> None:
    operator = Operator(tmp_path, hook, notify_remind_hours=1)

    await operator.beat(LATE, 62)

    assert operator.titles == ["1 began", "1 not over"]


async def test_restart_repeats_nothing_and_tells_the_end_of_what_was_told_before(operator: Operator) -> None:
    await operator.beat(LATE, 2)
    operator.start("boot/2/2")
    await operator.beat(LATE, 3)
    assert operator.titles == ["1 began"]

    operator.start("boot/3/3")
    await operator.beat(WELL, 2)
    assert operator.titles == ["1 began", "1 over"]


async def test_database_that_is_down_is_told_and_ends_no_trouble_that_it_hides(operator: Operator) -> None:
    await operator.beat(CHAIN_AWAY, 2)
    assert await operator.beat(DATABASE_DOWN, 3)
    await operator.beat(CHAIN_AWAY, 2)

    assert operator.titles == ["1 began", "1 began", "1 over"]
    assert (
        "the database cannot be read: the connection is refused; remedy: "
        in operator.hook.posted[1]["message"]
    )
    assert "All is well" not in operator.hook.posted[2]["message"]


async def test_service_that_is_down_gets_the_message_when_it_is_back(operator: Operator) -> None:
    before = dict(NOTIFICATIONS.items())
    operator.hook.answer = "503 Away"
    with capture_logs() as logs:
        assert not await operator.beat(LATE, 3)
        await operator.beat(LATE)
    failures = [line for line in logs if line["event"] == "notification_failed"]
    assert failures[0]["failures"] == ["JSON refused the message"]
    assert SECRET not in json.dumps(logs)

    operator.hook.answer = "200 OK"
    operator.hook.posted.clear()
    assert await operator.beat(LATE, 3)
    assert operator.titles == ["1 began"]
    after = dict(NOTIFICATIONS.items())
    assert after["failed"] - before["failed"] == 3
    assert after["sent"] - before["sent"] == 1


async def test_one_service_that_is_down_is_logged_and_the_other_has_the_message(
    tmp_path: Path, hook: Webhook
) -> None:
    async with webhook("500 No") as broken:
        operator = Operator(tmp_path, hook, notify_urls=[broken.address, hook.address])
        with capture_logs() as logs:
            assert await operator.beat(LATE, 4)

    assert operator.titles == ["1 began"]
    assert [line["event"] for line in logs] == ["notification_failed", "notification_sent"]


async def test_deadman_switch_hears_of_us_unless_something_is_stuck(tmp_path: Path, hook: Webhook) -> None:
    alive = f"http://127.0.0.1:{hook.port}/{SECRET}/alive"
    operator = Operator(tmp_path, hook, notify_urls=[], notify_alive_url=alive)

    await operator.beat(WELL)
    await operator.beat(LATE)
    await operator.beat(STUCK, 3)
    await operator.beat(WELL)

    assert [hook.gets.get_nowait() for _ in range(hook.gets.qsize())] == [f"/{SECRET}/alive"] * 3
    assert hook.posted == []


async def test_deadman_switch_is_told_at_most_once_in_its_interval(tmp_path: Path, hook: Webhook) -> None:
    alive = f"http://127.0.0.1:{hook.port}/alive"
    operator = Operator(tmp_path, hook, notify_urls=[], notify_alive_url=alive, notify_alive_interval_s=300)

    await operator.beat(WELL, 11)

    assert hook.gets.qsize() == 3


async def test_deadman_switch_that_did_not_hear_of_us_is_told_at_the_next_beat(tmp_path: Path) -> None:
    async with webhook("503 Busy") as switch:
        alive = f"http://127.0.0.1:{switch.port}/alive"
        operator = Operator(
            tmp_path, switch, notify_urls=[], notify_alive_url=alive, notify_alive_interval_s=300
        )
        first = await operator.beat(WELL)
        switch.answer = "200 OK"
        second = await operator.beat(WELL)
        await operator.beat(WELL, 3)

    assert (first, second, switch.gets.qsize()) == (False, True, 2)


async def test_deadman_switch_that_refuses_fails_the_beat_without_its_address(tmp_path: Path) -> None:
    async with webhook("404 Gone") as switch:
        alive = f"http://127.0.0.1:{switch.port}/{SECRET}"
        operator = Operator(tmp_path, switch, notify_urls=[], notify_alive_url=alive)
        with capture_logs() as logs:
            assert not await operator.beat(WELL)

    (line,) = logs
    assert (line["event"], line["error"]) == ("alive_not_reported", "the deadman switch answered 404")
    assert SECRET not in json.dumps(logs)


async def test_deadman_switch_hears_of_us_also_when_nothing_can_be_stored(
    tmp_path: Path, hook: Webhook
) -> None:
    alive = f"http://127.0.0.1:{hook.port}/alive"
    operator = Operator(tmp_path / "gone", hook, notify_alive_url=alive)
    await operator.beat(LATE)

    with pytest.raises(OwnFailure, match="storing what the operator was told"):
        await operator.beat(LATE)

    assert hook.gets.qsize() == 2
    assert operator.titles == ["1 began"]


async def test_start_is_told_once_for_a_validator_and_not_for_each_of_its_engines(
    tmp_path: Path, hook: Webhook
) -> None:
    operator = Operator(tmp_path, hook, notify_life=True)
    await operator.beat(WELL, 2)
    operator.start()
    await operator.beat(WELL, 2)
    assert operator.titles == ["started"]
    lines = hook.posted[0]["message"].splitlines()
    assert lines[0].endswith("rule set gaia-2.9")
    assert lines[1].startswith("netuid 57, hotkey 5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY, uid 3")
    assert lines[2] == "weights are signed"

    operator.start("boot/9/9")
    await operator.beat(WELL)
    assert operator.titles == ["started", "started"]


async def test_stop_is_told_with_its_reason_and_the_next_start_too(tmp_path: Path, hook: Webhook) -> None:
    operator = Operator(tmp_path, hook, notify_life=True)
    await operator.beat(WELL)
    await operator.notifier.tell_stop("GAIA_NETUID: there is no such subnet; correct it.")
    operator.start()
    await operator.beat(WELL)
    await operator.notifier.tell_stop()

    assert operator.titles == ["started", "stopped", "started", "stopped"]
    assert hook.posted[1]["message"].startswith("GAIA_NETUID: there is no such subnet")
    assert hook.posted[1]["type"] == "failure"
    assert hook.posted[3]["message"] == "It was told to stop."


async def test_stop_is_told_beside_a_beat_that_a_service_keeps_waiting(
    tmp_path: Path, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "SEND_WITHIN_S", patience(2.0))
    monkeypatch.setattr(notifier, "_STOP_SENT_WITHIN_S", 0.2)
    with stuck_service() as stuck:
        operator = Operator(tmp_path, hook, notify_life=True, notify_urls=[stuck, hook.address])
        beat = asyncio.create_task(operator.beat(WELL))
        while operator.titles != ["started"]:
            await asyncio.sleep(0.01)

        await operator.notifier.tell_stop("the disk is full")

        assert not beat.done()
        assert operator.titles == ["started", "stopped"]
        await beat
    # The beat, which ended later, has not put the start back.
    assert not (tmp_path / FILE).exists()


async def test_beat_after_a_stop_says_nothing(tmp_path: Path, hook: Webhook) -> None:
    operator = Operator(tmp_path, hook, notify_life=True)
    await operator.beat(WELL)
    await operator.notifier.tell_stop()

    await operator.beat(LATE, 3)

    assert operator.titles == ["started", "stopped"]


async def test_starts_and_stops_are_silent_by_default(operator: Operator) -> None:
    await operator.beat(WELL)
    await operator.notifier.tell_stop()

    assert operator.hook.posted == []


async def test_memory_that_cannot_be_read_is_begun_anew(tmp_path: Path, hook: Webhook) -> None:
    (tmp_path / FILE).write_text('{"told": 3}')
    with capture_logs() as logs:
        operator = Operator(tmp_path, hook)
        await operator.beat(LATE, 2)

    assert logs[0]["event"] == "notices_forgotten"
    assert operator.titles == ["1 began"]


async def test_own_delay_is_no_message(operator: Operator) -> None:
    await operator.beat(some_facts(jobs=[Job(name="notifier", last_success_at=None, is_overdue=True)]), 3)

    assert operator.hook.posted == []


async def test_file_of_what_was_told_holds_no_address(operator: Operator) -> None:
    await operator.beat(LATE, 2)

    assert SECRET not in (operator.data_dir / FILE).read_text()
