"""Makes encrypted calls to miners: handshake, symmetric keys and signed headers."""

from __future__ import annotations

import base64
import secrets
import string
import time
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gaia.tasks.defined_tasks.weather.wire.messages import (
    EXCHANGE_PATH,
    PUBLIC_KEY_PATH,
    KeyExchange,
    PublicKey,
    decode_reply,
)
from gaia.validator.core.miners.http import MAX_JSON_BYTES, Deadline, MinerHttp, Reply
from gaia.validator.core.miners.slots import Turns
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import MinerFault, MinerUnreachable
from gaia.validator.utils.identities import Hotkey

if TYPE_CHECKING:
    from gaia.validator.utils.signer_messages import AuthSigned

_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_KEY_BYTES = 32
_RSA_BITS = range(2048, 4097)
# The cost of encryption grows with the exponent; the usual one, 65537, has 17 bits.
_MOST_EXPONENT_BITS = 32
_ALPHABET = string.ascii_letters + string.digits
_STALE_KEY = b"No symmetric key"


class AuthSigner(Protocol):
    """Signs headers with the hotkey."""

    async def sign_auth(self, miner_hotkey: str, symmetric_key_uuid: str) -> AuthSigned:
        """Return nonce and signature for the headers of one request.

        Raises
        ------
        OwnFailure
            If no signature is available at present.
        """
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """A symmetric key that one miner process knows."""

    fernet: Fernet
    key_uuid: str
    expires_at: float
    """End of its validity, on the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Hotkey and address of a miner."""

    hotkey: Hotkey
    base_url: str


class MinerSessions:
    """Makes encrypted calls, and exchanges a new key if there is none or the old one is dead.

    Parameters
    ----------
    session_hours
        Hours for which a key is used; miners keep it for five hours.
    """

    def __init__(self, http: MinerHttp, signer: AuthSigner, session_hours: float) -> None:
        self._http = http
        self._signer = signer
        self._lifetime_s = session_hours * 3600.0
        self._sessions: dict[Peer, Session] = {}
        self._handshakes: Turns[Peer] = Turns()

    async def call(self, peer: Peer, path: str, content: Callable[[str], bytes], limit: Deadline) -> Reply:
        """Post `content(our hotkey)` encrypted; return the answer.

        If the miner has lost a cached key, or does not answer with it, the key is replaced once
        and the call is repeated.

        Parameters
        ----------
        limit
            The time limit of the call, which stands still while we wait for our signer.

        Raises
        ------
        MinerUnreachable, MinerFault
            As `MinerHttp.exchange`; and if the handshake fails.
        OwnFailure
            If our signer fails.
        """
        session = self._cached(peer)
        if session is not None:
            reply = await self._attempt(peer, session, path, content, limit)
            if reply is not None:
                return reply
        session = await self._fresh(peer, session, limit)
        reply = await self._post(peer, session, path, content, limit)
        if _says_stale(reply):
            self._forget(peer, session)
            raise MinerUnreachable("miner lost the symmetric key it had just been given")
        return reply

    async def _attempt(
        self, peer: Peer, session: Session, path: str, content: Callable[[str], bytes], limit: Deadline
    ) -> Reply | None:
        """Return the answer with the cached key; None, and forget the key, if it does not work."""
        answered = False
        try:
            reply = await self._post(peer, session, path, content, limit)
        except MinerUnreachable:
            return None
        else:
            answered = not _says_stale(reply)
            return reply if answered else None
        finally:
            # Also after a timeout of the caller, because a dead key must not stay cached.
            if not answered:
                self._forget(peer, session)

    async def _post(
        self, peer: Peer, session: Session, path: str, content: Callable[[str], bytes], limit: Deadline
    ) -> Reply:
        signed = await self._signed(peer, session.key_uuid, limit)
        headers = _headers(signed, peer.hotkey, session.key_uuid, "application/octet-stream")
        return await self._http.exchange(
            "POST",
            peer.base_url + path,
            headers=headers,
            content=session.fernet.encrypt(content(signed.validator_hotkey)),
            limit_bytes=MAX_JSON_BYTES,
        )

    async def _signed(self, peer: Peer, key_uuid: str, limit: Deadline) -> AuthSigned:
        with limit.paused(), border(Party.SIGNER, "signing the headers of a request"):
            return await self._signer.sign_auth(peer.hotkey, key_uuid)

    async def _fresh(self, peer: Peer, dead: Session | None, limit: Deadline) -> Session:
        """Return a session other than `dead`; concurrent callers share one handshake."""
        async with AsyncExitStack() as stack:
            # The handshake before ours has its own time limit, and may be waiting for our signer.
            with limit.paused():
                await stack.enter_async_context(self._handshakes.turn(peer))
            session = self._cached(peer)
            if session is None or session is dead:
                with border(Party.MINER, "handshake"):
                    session = await self._handshake(peer, limit)
                self._keep(peer, session)
            return session

    async def _handshake(self, peer: Peer, limit: Deadline) -> Session:
        url = peer.base_url + PUBLIC_KEY_PATH
        reply = await self._http.exchange("GET", url, limit_bytes=MAX_JSON_BYTES)
        if reply.status != HTTPStatus.OK:
            raise reply.error("handshake")
        public_key = _rsa_key(decode_reply(reply.body, PublicKey).public_key)
        key, key_uuid = secrets.token_bytes(_KEY_BYTES), secrets.token_hex(_KEY_BYTES)
        encrypted = base64.b64encode(_encrypted(key, public_key)).decode()
        signed = await self._signed(peer, key_uuid, limit)
        reply = await self._http.exchange(
            "POST",
            peer.base_url + EXCHANGE_PATH,
            headers=_headers(signed, peer.hotkey, key_uuid, "application/json"),
            content=msgspec.json.encode(KeyExchange(encrypted_symmetric_key=encrypted)),
            limit_bytes=MAX_JSON_BYTES,
        )
        if reply.status != HTTPStatus.OK:
            raise reply.error("key exchange")
        fernet = Fernet(base64.urlsafe_b64encode(key))
        return Session(fernet, key_uuid, time.monotonic() + self._lifetime_s)

    def forget(self, hotkeys: Collection[str]) -> int:
        """Forget the keys of these miners; return their number."""
        gone = [peer for peer in self._sessions if peer.hotkey in hotkeys]
        for peer in gone:
            del self._sessions[peer]
        return len(gone)

    def _cached(self, peer: Peer) -> Session | None:
        session = self._sessions.get(peer)
        if session is not None and session.expires_at <= time.monotonic():
            self._forget(peer, session)
            return None
        return session

    def _keep(self, peer: Peer, session: Session) -> None:
        """Store `session` and remove expired ones, because addresses change."""
        now = time.monotonic()
        self._sessions = {other: held for other, held in self._sessions.items() if held.expires_at > now}
        self._sessions[peer] = session

    def _forget(self, peer: Peer, session: Session) -> None:
        if self._sessions.get(peer) is session:
            del self._sessions[peer]


def fresh_nonce() -> str:
    """Return a nonce: the time in nanoseconds and ten random characters."""
    return f"{time.time_ns()}_{''.join(secrets.choice(_ALPHABET) for _ in range(10))}"


def _headers(signed: AuthSigned, miner_hotkey: str, key_uuid: str, content_type: str) -> dict[str, str]:
    return {
        "Content-Type": content_type,
        "symmetric-key-uuid": key_uuid,
        "validator-hotkey": signed.validator_hotkey,
        "miner-hotkey": miner_hotkey,
        "nonce": signed.nonce,
        "signature": signed.signature,
    }


def _rsa_key(pem: str) -> rsa.RSAPublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MinerFault("public key is not a PEM key") from error
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size not in _RSA_BITS:
        raise MinerFault("public key is not an RSA key of 2048 to 4096 bits")
    numbers = key.public_numbers()
    if numbers.n % 2 == 0 or numbers.e.bit_length() > _MOST_EXPONENT_BITS:
        raise MinerFault("public key has an even modulus or too great an exponent")
    return key


def _encrypted(key: bytes, public_key: rsa.RSAPublicKey) -> bytes:
    try:
        return public_key.encrypt(key, _OAEP)
    except ValueError as error:
        raise MinerFault("public key cannot encrypt") from error


def _says_stale(reply: Reply) -> bool:
    return reply.status == HTTPStatus.BAD_REQUEST and _STALE_KEY in reply.body
