"""Keeps a valid token of NASA's Earthdata Login: makes, lists, revokes and refreshes it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import structlog

from gaia.validator.core.background.web import Page, exchange
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.files import put_file

if TYPE_CHECKING:
    from gaia.validator.utils.settings.background import BackgroundSettings

T = TypeVar("T")

log = structlog.get_logger("security")

FOLDER: Final = "secrets"
"""Folder below the data folder that only our user may enter."""
FILE: Final = "earthdata.json"

_MOST_TOKENS = 2
_TIMEOUT_S = 30.0
_REFRESH_BEFORE = timedelta(days=7)
_CONFIRM_EVERY_S = 86_400.0
_DATES = ("%m/%d/%Y", "%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ")
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_FULL = "max_token_limit"


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token, as the service and our file have it."""

    access_token: str
    expiration_date: str

    @property
    def expires_at(self) -> datetime:
        """The moment from which it is invalid, at the earliest; long ago if its date has no form that we know."""
        for form in _DATES:
            try:
                return datetime.strptime(self.expiration_date, form).replace(tzinfo=UTC)
            except ValueError:
                continue
        return _LONG_AGO

    def __repr__(self) -> str:
        return f"Token(expiration_date={self.expiration_date!r})"


class EarthdataLogin:
    """The part of the service's API that is about tokens; each request has its own connection."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self._url = url.rstrip("/")
        self._login = (username, password)

    async def tokens(self) -> list[Token]:
        """Return the tokens of the user, at most two."""
        page = await self._ask("GET", "tokens")
        return _decoded(_accepted(page, "the list of tokens").content, list[Token])

    async def new_token(self) -> Token | None:
        """Return a new token; None if the user has as many as the service allows."""
        page = await self._ask("POST", "token")
        if page.status >= 400 and _FULL.encode() in page.content:
            return None
        return _decoded(_accepted(page, "a new token").content, Token)

    async def revoke(self, token: Token) -> None:
        """Revoke a token."""
        page = await self._ask("POST", "revoke_token", token)
        _accepted(page, "the revocation of a token")

    async def _ask(self, method: str, what: str, token: Token | None = None) -> Page:
        return await exchange(
            method,
            f"{self._url}/api/users/{what}",
            what="Earthdata Login",
            timeout_s=_TIMEOUT_S,
            login=self._login,
            query={"token": token.access_token} if token is not None else None,
        )


class EarthdataToken:
    """Keeps one valid token in a file that only our user may read.

    The token is confirmed with the service once a day, and replaced a week before it expires. No
    line of the log holds a token, a password or a user.
    """

    def __init__(
        self, settings: BackgroundSettings, data_dir: Path, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._is_on = bool(settings.earthdata_username)
        self._service = EarthdataLogin(
            settings.earthdata_url,
            settings.earthdata_username,
            settings.earthdata_password.get_secret_value(),
        )
        self._path = data_dir / FOLDER / FILE
        self._wall_clock = wall_clock
        self._confirmed_at = float("-inf")

    async def manage_earthdata_token(self) -> None:
        """Confirm the stored token or replace it, if that is due; without credentials, do nothing.

        Raises
        ------
        TransientError
            If the service does not answer, refuses, or sends something else.
        OwnFailure
            If the file cannot be written.
        """
        if not self._is_on:
            return
        now = self._wall_clock()
        held = await asyncio.to_thread(self._stored)
        if held is not None and self._lasts(held) and now < self._confirmed_at + _CONFIRM_EVERY_S:
            return
        tokens = await self._service.tokens()
        is_known = held is not None and any(held.access_token == token.access_token for token in tokens)
        if held is None or not is_known or not self._lasts(held):
            await self._replace(tokens)
        self._confirmed_at = now

    async def _replace(self, tokens: list[Token]) -> None:
        """Take the user's token that lasts longest, if it lasts long enough, or else a new one."""
        best = max(tokens, key=lambda token: token.expires_at, default=None)
        is_made = best is None or not self._lasts(best)
        if best is None or is_made:
            best = await self._made(tokens)
        await asyncio.to_thread(self._store, best)
        log.info("earthdata_token_stored", made=is_made, expires=best.expiration_date)

    async def _made(self, tokens: list[Token]) -> Token:
        """Return a new token; revoke the oldest if there is no room for it."""
        made = None
        if len(tokens) < _MOST_TOKENS:
            made = await self._service.new_token()
        if made is None:
            # Another program may have made one meanwhile.
            tokens = await self._service.tokens()
            if tokens:
                oldest = min(tokens, key=lambda token: token.expires_at)
                await self._service.revoke(oldest)
                log.info("earthdata_token_revoked", expires=oldest.expiration_date)
            made = await self._service.new_token()
        if made is None:
            raise TransientError("Earthdata Login has no room for another token")
        if not self._lasts(made):
            raise TransientError("Earthdata Login made a token whose date of expiry is unknown or near")
        return made

    def _lasts(self, token: Token) -> bool:
        now = datetime.fromtimestamp(self._wall_clock(), UTC)
        return token.expires_at > now + _REFRESH_BEFORE

    def _stored(self) -> Token | None:
        """Return the token of the file; None if there is none that can be read."""
        with border(Party.DISK, "reading the Earthdata token"):
            try:
                token = msgspec.json.decode(self._path.read_bytes(), type=Token)
            except (FileNotFoundError, msgspec.DecodeError):
                return None
        return token

    def _store(self, token: Token) -> None:
        with border(Party.DISK, "storing the Earthdata token"):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            put_file(self._path, msgspec.json.encode(token))
            self._path.chmod(0o600)


def _accepted(page: Page, what: str) -> Page:
    if not 200 <= page.status < 300:
        raise TransientError(f"Earthdata Login refused {what} with status {page.status}")
    return page


def _decoded(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError:
        # The text of the error could repeat a token.
        raise TransientError("Earthdata Login sent an answer of another form") from None
