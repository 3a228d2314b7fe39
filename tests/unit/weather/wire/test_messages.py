"""The words of the wire and the names both sides derive."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from gaia.tasks.defined_tasks.weather.wire.messages import (
    InitiateReply,
    InitiateRequest,
    PollReply,
    PublicKey,
    StoreReply,
    decode_reply,
    job_id_of,
    printable,
    store_name_of,
)
from gaia.validator.utils.errors import MinerFault

HOTKEY = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
INIT_TIME = datetime(2025, 11, 26, tzinfo=UTC)


def test_job_id_is_the_one_of_the_protocol() -> None:
    assert job_id_of(INIT_TIME, HOTKEY) == "954485c0-65a3-42c1-b8f1-b639f2abe142"


def test_job_id_does_not_depend_on_the_time_zone() -> None:
    elsewhere = INIT_TIME.astimezone(timezone(timedelta(hours=9)))

    assert job_id_of(elsewhere, HOTKEY) == job_id_of(INIT_TIME, HOTKEY)


def test_store_name_holds_time_hotkey_and_job() -> None:
    expected = "weather_forecast_2025112600_miner_hk_5GrwvaEF5z_954485c0.zarr"

    assert store_name_of(INIT_TIME, HOTKEY) == expected


def test_initiate_reply_fills_with_null_what_it_does_not_say() -> None:
    reply = msgspec.json.decode(msgspec.json.encode(InitiateReply(status="fetch_accepted", job_id="j")))

    assert reply == {
        "status": "fetch_accepted",
        "job_id": "j",
        "message": None,
        "expected_hotkey": None,
        "actual_hotkey": None,
        "zarr_store_url": None,
        "verification_hash": None,
        "access_token": None,
    }


def test_poll_reply_mentions_the_output_only_once_it_is_ready() -> None:
    assert b"output_ready" not in msgspec.json.encode(PollReply(status="running"))
    assert b'"output_ready":true' in msgspec.json.encode(PollReply(status="completed", output_ready=True))


@pytest.mark.parametrize("moment", ["2025-11-26T00:00:00Z", "2025-11-26T00:00:00+00:00"])
def test_request_takes_both_ways_to_write_utc(moment: str) -> None:
    text = f'{{"data": {{"forecast_start_time": "{moment}", "previous_step_time": "{moment}"}}}}'

    request = msgspec.json.decode(text, type=InitiateRequest)

    assert request.data.forecast_start_time == INIT_TIME


def test_members_we_do_not_know_are_passed_over() -> None:
    assert decode_reply(b'{"status": "x", "extra": {"a": [1]}}', PollReply).status == "x"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", PollReply),
        (b"<html>", PollReply),
        (b"[]", PollReply),
        (b"{}", PollReply),
        (b'{"status": 1}', PollReply),
        (b'{"status": "%s"}' % (b"x" * 65), PollReply),
        (b'{"status": "\xff"}', PollReply),
        (b'{"public_key": "k", "timestamp": NaN}', PublicKey),
        (b'{"status": "completed", "job_id": "../../x"}', InitiateReply),
        (b'{"status": "completed", "verification_hash": "abc"}', StoreReply),
        (b'{"status": "completed", "access_token": "a\\r\\nHost: b"}', StoreReply),
        (b'{"status": "completed", "job_id": "j\\n"}', InitiateReply),
        (b'{"status": "completed", "verification_hash": "%s\\n"}' % (b"a" * 64), StoreReply),
        (b'{"status": "completed", "access_token": "token\\n"}', StoreReply),
        (b'{"status": "failed", "status": "completed"}', PollReply),
        (b'{"status": "x", "extra": {"a": 1, "a": 2}}', PollReply),
        (b'{"status": "x", "deep": ' + b"[" * 100_000 + b"}", PollReply),
    ],
    ids=str,
)
def test_reply_that_breaks_the_protocol_is_the_miners_fault(
    content: bytes, kind: type[msgspec.Struct]
) -> None:
    with pytest.raises(MinerFault, match="cannot be read"):
        decode_reply(content, kind)


def test_strangers_text_becomes_one_short_line() -> None:
    assert printable("a\x00b\nc\u2028d" + "x" * 500) == "a b c d" + "x" * 193
