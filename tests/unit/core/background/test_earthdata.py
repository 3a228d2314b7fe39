"""The Earthdata token from its making to its refresh, with the other side played on loopback."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from structlog.testing import capture_logs

from gaia.validator.core.background.earthdata import FILE, FOLDER, EarthdataToken
from gaia.validator.utils.errors import OwnFailure, TransientError
from gaia.validator.utils.settings.background import BackgroundSettings
from tests.support.liar import Liar, Lie, lying

NOW = datetime(2026, 11, 28, tzinfo=UTC)
USER, PASSWORD = "a-person", "hush-hush"
LOGIN = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class Service:
    """Earthdata Login: at most two tokens a user, each valid for 60 days."""

    def __init__(self) -> None:
        self.now = NOW
        self.tokens: dict[str, datetime] = {}
        self.made = 0
        self.calls: list[str] = []
        self.outage: Lie | None = None

    def give(self, name: str, days: float) -> None:
        self.tokens[name] = self.now + timedelta(days=days)

    def __call__(self, method: str, path: str, headers: Mapping[str, str]) -> Lie:
        split = urlsplit(path)
        self.calls.append(f"{method} {split.path}")
        if self.outage is not None:
            return self.outage
        if headers.get("authorization") != LOGIN:
            return Lie(401, b'{"error": "invalid_credentials"}')
        match self.calls[-1]:
            case "GET /api/users/tokens":
                return self._said([self._token(name) for name in self.tokens])
            case "POST /api/users/token":
                if len(self.tokens) == 2:
                    return Lie(403, b'{"error": "max_token_limit", "error_description": "Max token limit"}')
                self.made += 1
                self.give(f"secret-{self.made}", 60)
                return self._said({**self._token(f"secret-{self.made}"), "token_type": "Bearer"})
            case "POST /api/users/revoke_token":
                (name,) = parse_qs(split.query)["token"]
                return Lie() if self.tokens.pop(name, None) else Lie(404, b'{"error": "token_not_found"}')
        return Lie(404)

    def _token(self, name: str) -> dict[str, str]:
        return {"access_token": name, "expiration_date": f"{self.tokens[name]:%m/%d/%Y}"}

    def _said(self, value: object) -> Lie:
        return Lie(body=json.dumps(value).encode(), headers={"Content-Type": "application/json"})


class World:
    """The service on loopback, and a keeper of its token."""

    def __init__(self, service: Service, liar: Liar, folder: Path) -> None:
        self.service = service
        self.url = liar.url
        self.folder = folder
        self.path = folder / FOLDER / FILE
        self.keeper = self.a_keeper()

    def a_keeper(self, **changes: str) -> EarthdataToken:
        settings = {
            "earthdata_url": self.url,
            "earthdata_username": USER,
            "earthdata_password": PASSWORD,
            **changes,
        }
        return EarthdataToken(BackgroundSettings.model_validate(settings), self.folder, self.wall_clock)

    def wall_clock(self) -> float:
        return self.service.now.timestamp()

    @property
    def stored(self) -> str:
        return str(json.loads(self.path.read_text())["access_token"])

    async def beat(self, *, later: timedelta = timedelta()) -> None:
        self.service.now += later
        self.service.calls.clear()
        await self.keeper.manage_earthdata_token()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    service = Service()
    async with lying(service) as liar:
        yield World(service, liar, tmp_path)


async def test_first_beat_makes_a_token_and_stores_it_for_our_user_alone(world: World) -> None:
    await world.beat()

    assert world.service.calls == ["GET /api/users/tokens", "POST /api/users/token"]
    assert world.stored == "secret-1"
    assert stat.S_IMODE(world.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(world.path.parent.stat().st_mode) == 0o700


async def test_token_that_the_user_has_already_is_taken(world: World) -> None:
    world.service.give("by-hand", 50)
    world.service.give("older", 20)

    await world.beat()

    assert world.stored == "by-hand"
    assert world.service.calls == ["GET /api/users/tokens"]


async def test_oldest_is_revoked_when_there_are_two_and_neither_lasts(world: World) -> None:
    world.service.give("older", 2)
    world.service.give("newer", 5)

    await world.beat()

    assert set(world.service.tokens) == {"newer", "secret-1"}
    assert world.stored == "secret-1"


async def test_room_that_another_program_took_meanwhile_is_made_again(world: World) -> None:
    world.service.give("newer", 5)
    takes_room = iter(["racer"])

    def racing(method: str, path: str, headers: Mapping[str, str]) -> Lie:
        if method == "POST":
            for name in takes_room:
                world.service.give(name, 1)
        return world.service(method, path, headers)

    async with lying(racing) as liar:
        await World(world.service, liar, world.folder).keeper.manage_earthdata_token()

    assert set(world.service.tokens) == {"newer", "secret-1"}
    assert world.stored == "secret-1"


async def test_token_is_refreshed_a_week_before_it_expires_and_no_earlier(world: World) -> None:
    await world.beat()

    await world.beat(later=timedelta(days=52))
    kept = world.stored
    await world.beat(later=timedelta(days=1, hours=1))

    assert kept == "secret-1"
    assert world.stored == "secret-2"


async def test_service_is_asked_once_a_day_only(world: World) -> None:
    await world.beat()

    await world.beat(later=timedelta(hours=1))
    soon = list(world.service.calls)
    await world.beat(later=timedelta(hours=24))

    assert soon == []
    assert world.service.calls == ["GET /api/users/tokens"]


async def test_token_that_was_revoked_elsewhere_is_replaced_within_a_day(world: World) -> None:
    await world.beat()
    world.service.tokens.clear()

    await world.beat(later=timedelta(hours=25))

    assert world.stored == "secret-2"


async def test_new_validator_goes_on_with_the_token_in_the_file(world: World) -> None:
    await world.beat()
    world.keeper = world.a_keeper()

    await world.beat()

    assert world.service.made == 1
    assert world.stored == "secret-1"


@pytest.mark.parametrize("content", ["", "{", '{"access_token": "x", "expiration_date": "soon"}'])
async def test_file_that_cannot_be_read_counts_as_none(world: World, content: str) -> None:
    world.path.parent.mkdir()
    world.path.write_text(content)

    await world.beat()

    assert world.stored == "secret-1"


async def test_nothing_is_asked_without_credentials(world: World) -> None:
    keeper = world.a_keeper(earthdata_username="", earthdata_password="")

    await keeper.manage_earthdata_token()

    assert world.service.calls == []
    assert not world.path.exists()


@pytest.mark.parametrize(
    "outage",
    [
        Lie(500, b"secret-1 hush-hush"),
        Lie(body=b"<html>"),
        Lie(body=b'[{"access_token": "secret-9"}]'),
        Lie(302, headers={"Location": "http://127.0.0.1:9/secret-9"}),
    ],
)
async def test_outage_is_a_failure_without_secrets_and_the_next_beat_asks_again(
    world: World, outage: Lie
) -> None:
    world.service.outage = outage
    with pytest.raises(TransientError) as raised:
        await world.beat()
    world.service.outage = None
    await world.beat()

    assert not any(secret in str(raised.value) for secret in ("secret", PASSWORD, USER))
    assert world.stored == "secret-1"


async def test_token_whose_expiry_cannot_be_read_is_not_relied_on(world: World) -> None:
    world.service.outage = Lie(
        body=b'[{"access_token": "secret-9", "expiration_date": "the day after tomorrow"}]'
    )
    with pytest.raises(TransientError, match="of another form"):
        await world.beat()
    asked_for_a_new_one = "POST /api/users/token" in world.service.calls

    assert asked_for_a_new_one
    assert not world.path.exists()


async def test_wrong_password_is_a_failure_and_is_not_repeated_in_it(world: World) -> None:
    keeper = world.a_keeper(earthdata_password="wrong-password")

    with pytest.raises(TransientError, match="status 401") as raised:
        await keeper.manage_earthdata_token()

    assert "wrong-password" not in str(raised.value)


async def test_no_line_of_the_log_holds_a_token_a_password_or_a_user(world: World) -> None:
    with capture_logs() as logs:
        world.service.give("secret-of-old", 2)
        world.service.give("secret-of-late", 3)
        await world.beat()

    assert [line["event"] for line in logs] == ["earthdata_token_revoked", "earthdata_token_stored"]
    assert not any(secret in str(logs) for secret in ("secret-", PASSWORD, USER))


async def test_disk_that_takes_no_file_is_our_failure(world: World) -> None:
    (world.folder / FOLDER).write_text("no folder")

    with pytest.raises(OwnFailure, match="the Earthdata token: NotADirectoryError"):
        await world.beat()
