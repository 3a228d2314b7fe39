"""Whatever an archive answers, at whatever step, is a typed error that waits."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gaia.tasks.defined_tasks.weather.sources.cds import CdsEra5Archive
from gaia.tasks.defined_tasks.weather.sources.refusals import (
    LONGEST_ASKED_WAIT,
    Overdue,
    Reason,
    SourceRefusal,
    words_of,
)
from gaia.validator.utils.borders import UNFORESEEN, Party
from gaia.validator.utils.errors import ConfigurationError, NotYetAvailable, OwnFailure, TransientError
from gaia.validator.utils.settings.sources import SourcesSettings
from tests.support.fakes import FakeClock
from tests.support.liar import Lie, lying
from tests.support.source_world import (
    INIT_TIME,
    NOWHERE,
    STEPS,
    a_world,
    jobs_of,
)

STATUSES = (*range(300, 309), *range(400, 432), 451, *range(500, 512))
BODIES = {
    "empty": b"",
    "page": b"<html><head><title>403 Forbidden</title></head><body><h1>nginx</h1></body></html>",
    "problem": json.dumps(
        {"type": "x", "title": "not today", "status": 0, "detail": "for a reason"}
    ).encode(),
    "other": b'["a list", {"title": 7}]',
    "nested": b"[" * 100_000,
    "binary": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("source", ["gfs", "climatology", "cds"])
async def test_an_archive_in_good_order_serves_each_client(tmp_path: Path, source: str) -> None:
    async with a_world(tmp_path, lambda step, path: None) as (_, clients):
        await clients.fetch(source)

    assert (tmp_path / source).exists()
    assert jobs_of(tmp_path) == []


@pytest.mark.parametrize("body", ["empty", "page", "problem", "other"])
@pytest.mark.parametrize("step", STEPS)
async def test_any_refusal_at_any_step_is_a_typed_error_that_waits(
    tmp_path: Path, step: str, body: str
) -> None:
    unforeseen = UNFORESEEN[Party.ARCHIVE]
    said: dict[int, Exception] = {}
    lie = Lie()

    async with a_world(tmp_path, lambda at, path: lie if at == step else None) as (_, clients):
        for status in STATUSES:
            lie = Lie(status, BODIES[body], {"Location": NOWHERE} if status < 400 else {})
            await clients.clock.idle_until(clients.clock.now() + timedelta(days=1))
            try:
                await clients.fetch(step.split(maxsplit=1)[0])
            except Exception as error:  # noqa: BLE001 - which one it is, is what is tested
                said[status] = error

    assert sorted(said) == sorted(STATUSES)
    assert {
        kind for kind in map(type, said.values()) if not issubclass(kind, TransientError | NotYetAvailable)
    } == set()
    assert not any(isinstance(error, ConfigurationError | OwnFailure) for error in said.values())
    assert not any("GAIA_CDS_KEY" in str(error) for error in said.values())
    assert all(str(error).isprintable() and len(str(error)) < 1500 for error in said.values())
    assert UNFORESEEN[Party.ARCHIVE] == unforeseen


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("step", [step for step in STEPS if step != "climatology chunk"])
async def test_success_with_a_body_that_makes_no_sense_is_a_typed_error(
    tmp_path: Path, step: str, body: str
) -> None:
    unforeseen = UNFORESEEN[Party.ARCHIVE]
    status = 206 if step == "gfs range" else 200

    async with a_world(tmp_path, lambda at, path: Lie(status, BODIES[body]) if at == step else None) as (
        _,
        clients,
    ):
        with pytest.raises(TransientError) as caught:
            await clients.fetch(step.split(maxsplit=1)[0])

    assert not isinstance(caught.value, OwnFailure)
    assert UNFORESEEN[Party.ARCHIVE] == unforeseen


@pytest.mark.parametrize("step", STEPS)
async def test_silence_at_any_step_ends_at_the_deadline_and_is_not_our_failure(
    tmp_path: Path, step: str
) -> None:
    async with a_world(
        tmp_path, lambda at, path: Lie(hangs=True) if at == step else None, source_timeout_s=0.2
    ) as (_, clients):
        with pytest.raises(TransientError, match=r"took more than 0\.2 s|fell silent") as caught:
            await clients.fetch(step.split(maxsplit=1)[0])

    assert not isinstance(caught.value, OwnFailure)


def refusing(
    status: int, title: str = "", detail: str = "", **headers: str
) -> Callable[[str, str], Lie | None]:
    body = json.dumps({"title": title, "detail": detail, "status": status}).encode()
    return lambda step, path: Lie(status, body, headers) if step == "cds submission" else None


@pytest.mark.parametrize(
    ("status", "title", "detail", "reason", "remedy"),
    [
        (
            403,
            "required licences not accepted",
            "Not all the required licences have been accepted; please visit https://cds.example/datasets/x",
            Reason.LICENCE,
            "accept the licences",
        ),
        (
            403,
            "cost limits exceeded",
            "Your request is too large, please reduce your selection.",
            Reason.COST,
            "GAIA_FINAL_FIELDS",
        ),
        (
            429,
            "rejected",
            "The number of queued requests for this dataset is temporarily limited.",
            Reason.QUEUE,
            "",
        ),
        (403, "forbidden", "Maximum number of daily requests reached", Reason.DAILY, ""),
        (401, "operation not allowed", "authentication required", Reason.KEY, "GAIA_CDS_KEY"),
        (403, "invalid API key", "", Reason.KEY, "GAIA_CDS_KEY"),
        (
            403,
            "permission denied",
            "your key is fine, your address is not",
            Reason.BLOCKED,
            "blocks your account",
        ),
        (403, "", "", Reason.BLOCKED, "blocks your account"),
        (502, "Bad Gateway", "", Reason.BUSY, ""),
        (400, "invalid request", "no such variable", Reason.OTHER, ""),
    ],
)
async def test_a_refusal_is_called_by_its_name_in_the_stores_own_words(
    tmp_path: Path, status: int, title: str, detail: str, reason: Reason, remedy: str
) -> None:
    async with a_world(tmp_path, refusing(status, title, detail)) as (_, clients):
        with pytest.raises(SourceRefusal) as caught:
            await clients.fetch("cds")

    assert caught.value.reason is reason
    assert title in str(caught.value)
    assert detail in str(caught.value)
    assert remedy in str(caught.value)
    assert ("GAIA_CDS_KEY" in str(caught.value)) == (reason is Reason.KEY)


def test_words_of_a_page_are_its_text_without_what_is_not_for_people() -> None:
    page = b"<!doctype html><html><head><title>Attention\nRequired!</title><script>var x = '<b>';</script></head>"
    page += b"<body>You are\x1b[31m blocked \x00 &mdash; <a href='x'>why</a></body>" + b"<" * 100_000

    words = str(words_of(page))

    assert "Attention Required!" in words
    assert "blocked" in words
    assert "var x" not in words
    assert words.isprintable()
    assert len(words) <= 300


@pytest.mark.parametrize(
    ("headers", "detail", "wait"),
    [
        ({"Retry-After": "17"}, "", timedelta(seconds=17)),
        ({"Retry-After": "999999999999"}, "", LONGEST_ASKED_WAIT),
        (
            {"Retry-After": "Wed, 25 Mar 2026 00:05:00 GMT", "Date": "Wed, 25 Mar 2026 00:00:00 GMT"},
            "",
            timedelta(minutes=5),
        ),
        ({"Retry-After": "soon"}, "", None),
        ({}, "Too many requests. Please wait 17 seconds.", timedelta(seconds=17)),
        ({}, "Please try again in 3 hours", timedelta(hours=3)),
        ({}, "try again later", None),
        ({"Retry-After": "-5"}, "", None),
    ],
)
async def test_the_wait_a_source_asks_for_is_understood_and_bounded(
    tmp_path: Path, headers: dict[str, str], detail: str, wait: timedelta | None
) -> None:
    async with a_world(tmp_path, refusing(429, "busy", detail, **headers)) as (_, clients):
        with pytest.raises(SourceRefusal) as caught:
            await clients.fetch("cds")

    assert caught.value.wait == wait


async def test_a_store_that_asks_for_a_pause_is_left_alone_for_so_long(tmp_path: Path) -> None:
    async with a_world(tmp_path, refusing(429, "busy", "please wait 60 seconds")) as (liar, clients):
        for seconds in (0, 59, 1):
            await clients.clock.idle_until(clients.clock.now() + timedelta(seconds=seconds))
            with pytest.raises(SourceRefusal, match="please wait 60 seconds"):
                await clients.fetch("cds")

    assert len(liar.seen) == 2


@pytest.mark.parametrize("key", ["", "  "])
async def test_a_missing_key_waits_and_names_the_setting(tmp_path: Path, key: str) -> None:
    async with a_world(tmp_path, lambda step, path: None, cds_key=key) as (liar, clients):
        with pytest.raises(SourceRefusal, match="no key .* set GAIA_CDS_KEY") as caught:
            await clients.fetch("cds")

    assert caught.value.reason is Reason.KEY
    assert liar.seen == []


async def test_a_key_in_the_old_form_is_recognised_when_it_is_refused(tmp_path: Path) -> None:
    lie = refusing(401, "operation not allowed", "authentication required")
    key = "12345:0a1b2c3d-1111-2222-3333-444455556666"

    async with a_world(tmp_path, lie, cds_key=key) as (_, clients):
        with pytest.raises(SourceRefusal, match="form UID:KEY of the store that was closed") as caught:
            await clients.fetch("cds")

    assert "0a1b2c3d" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("source", ["gfs", "climatology", "cds"])
async def test_a_redirect_within_the_same_host_is_followed(tmp_path: Path, source: str, status: int) -> None:
    def lie(step: str, path: str) -> Lie | None:
        if step == "cds submission" or "?moved" in path:
            return None
        return Lie(status, b"", {"Location": f"{path}?moved"})

    async with a_world(tmp_path, lie) as (_, clients):
        await clients.fetch(source)

    assert (tmp_path / source).exists()


@pytest.mark.parametrize("step", ["cds submission", "cds job", "cds results"])
async def test_a_redirect_to_another_host_never_carries_the_key(tmp_path: Path, step: str) -> None:
    async with lying(lambda method, path, headers: Lie()) as other:
        lie = Lie(308, b"", {"Location": f"{other.url}/elsewhere"})
        async with a_world(tmp_path, lambda at, path: lie if at == step else None) as (_, clients):
            with pytest.raises(SourceRefusal, match=f"{other.url}/elsewhere.*set GAIA_CDS_URL") as caught:
                await clients.fetch("cds")

    assert caught.value.reason is Reason.MOVED
    assert other.seen == []


@pytest.mark.parametrize(
    "target", ["http://[", "http://\x7f/", "//", "file:///etc/passwd", "http://x:99999/"]
)
@pytest.mark.parametrize("source", ["gfs", "climatology", "cds"])
async def test_a_redirect_to_nowhere_is_a_typed_error(tmp_path: Path, source: str, target: str) -> None:
    unforeseen = UNFORESEEN[Party.ARCHIVE]
    lie = Lie(302, b"", {"Location": target})

    async with a_world(tmp_path, lambda step, path: lie if step != "cds submission" else None) as (
        _,
        clients,
    ):
        with pytest.raises(TransientError):
            await clients.fetch(source)

    assert UNFORESEEN[Party.ARCHIVE] == unforeseen


async def test_redirects_in_circles_end(tmp_path: Path) -> None:
    async with a_world(tmp_path, lambda step, path: Lie(302, b"", {"Location": path})) as (liar, clients):
        with pytest.raises(TransientError, match="in circles"):
            await clients.fetch("gfs")

    assert len(liar.seen) < 10


@pytest.mark.parametrize(
    ("key", "told"), [("", 1), ("123:0a1b2c3d", 1), ("0a1b2c3d-1111-2222-3333-444455556666", 0)]
)
def test_a_key_that_cannot_work_is_said_when_the_process_starts(key: str, told: int) -> None:
    with capture_logs() as logs:
        CdsEra5Archive(SourcesSettings.model_validate({"cds_key": key}), "0.25", FakeClock())

    assert [(line["event"], line["log_level"]) for line in logs] == [("cds_key_unusable", "error")] * told
    assert "0a1b2c3d" not in str(logs)


async def test_era5_that_does_not_come_is_overdue_after_days(tmp_path: Path) -> None:
    text = "None of the data you have requested is available yet, please revise the period requested."
    published = INIT_TIME + timedelta(days=5, hours=6)
    kinds = []

    async with a_world(tmp_path, refusing(400, "job results failed", text)) as (_, clients):
        for late in (timedelta(hours=-1), timedelta(hours=47), timedelta(hours=49)):
            await clients.clock.idle_until(published + late)
            with pytest.raises(NotYetAvailable) as caught:
                await clients.fetch("cds")
            kinds.append(type(caught.value))

    assert kinds == [NotYetAvailable, NotYetAvailable, Overdue]


async def test_a_redirect_to_a_host_that_is_silent_names_both_addresses(tmp_path: Path) -> None:
    lie = Lie(308, b"", {"Location": NOWHERE})

    async with a_world(tmp_path, lambda step, path: lie) as (liar, clients):
        with pytest.raises(TransientError, match=f"over {liar.url}/gfs.*, which sends us on to {NOWHERE}"):
            await clients.fetch("gfs")
