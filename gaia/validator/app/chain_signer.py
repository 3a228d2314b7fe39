"""The only process with the hotkey: signs requests to miners, reads the chain, and sets weights."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import secrets
import signal
import socket
import string
import struct
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from gaia.validator.app.child import die_with_parent
from gaia.validator.app.logging_config import configure_logging
from gaia.validator.app.meeting.heartbeat import Heart
from gaia.validator.app.meeting.rendezvous import signer_heartbeat_path
from gaia.validator.app.meeting.stack_dumps import offer_stacks
from gaia.validator.app.sandbox.confine import confine_signer
from gaia.validator.core.chain.hotkey import load_private_wallet
from gaia.validator.core.chain.signed_epochs import SignedEpochs
from gaia.validator.core.chain.signing_policy import SigningPolicy
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import ConfigurationError, SigningRefused
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.ipc_types import Failure, FrameReader, encode_frame
from gaia.validator.utils.logs.context import bound
from gaia.validator.utils.machine.memory import free_memory, resident_bytes
from gaia.validator.utils.proxies import spare_loopback
from gaia.validator.utils.secrecy import hold, secrets_in_url
from gaia.validator.utils.signer_messages import (
    AuthSigned,
    ChainRenewed,
    CommitWeights,
    FromSigner,
    MetagraphRead,
    ReadMetagraph,
    RenewChain,
    SealWeights,
    SetWeights,
    SignAuth,
    SignerFailed,
    ToSigner,
)

if TYPE_CHECKING:
    from bittensor import Wallet

    from gaia.validator.core.chain.client import ChainClient
    from gaia.validator.core.chain.weight_answers import WeightAnswers
    from gaia.validator.utils.settings.handed import SignerSettings

_PR_SET_DUMPABLE = 4
_READ_BYTES = 65536
_NONCE_LETTERS = string.ascii_letters + string.digits
_NONCE_LENGTH = 10
_PEER = struct.Struct("3i")
_BEAT_S = 0.25
# Fraction of the drain time for open requests; the Supervisor waits for a fifth of it.
_SHARE_OF_DRAIN = 0.15
_log = structlog.get_logger("security")


def run_chain_signer(settings: SignerSettings, signer_socket: socket.socket) -> None:
    """Serve `signer_socket`, an inherited listening AF_UNIX socket, until SIGTERM; runs in its own process.

    A heartbeat beside the socket shows from the start that the loop runs, so that a hang over the
    key file is noticed too.

    Raises
    ------
    ConfigurationError
        With `ExitCode.HOTKEY_MISSING`, if the hotkey cannot be loaded, or others can read it.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        die_with_parent(parent.pid)
    _refuse_inspection()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The SDK uses the environment's proxy, which cannot reach a node on this machine.
    spare_loopback(settings.chain.chain_endpoint)
    observation = settings.observation
    configure_logging(observation.log_level, observation.log_format, observation.log_files, role="signer")
    offer_stacks(Path(signer_socket.getsockname()).parent)
    heart = Heart(signer_heartbeat_path(Path(signer_socket.getsockname())))
    heart.beat()
    hold(secrets_in_url(settings.chain.chain_endpoint))
    wallet = load_private_wallet(settings.chain)
    is_confined = confine_signer(settings.sandbox)
    _log.debug("signer_confined", confined=is_confined)
    asyncio.run(ChainSigner(settings, wallet, heart).serve(signer_socket))


class ChainSigner:
    """Answers the IO-Engine's requests on one socket.

    It signs only the headers of requests to miners, and one vector of weights an epoch on our own
    subnet. It keeps one chain connection, and replaces a broken one.

    Raises
    ------
    ConfigurationError
        If the record of signed epochs cannot be kept.
    """

    def __init__(self, settings: SignerSettings, wallet: Wallet, heart: Heart | None = None) -> None:
        self._settings = settings.chain
        self._drain_timeout_s = settings.drain_timeout_s
        self._wallet = wallet
        self._heart = heart
        self._hotkey = Hotkey(wallet.hotkey.ss58_address)
        self._signed: SignedEpochs | None = None
        if not settings.chain.dry_run:
            self._signed = SignedEpochs.open(settings.signed_epochs, self._hotkey, settings.chain.netuid)
        self._policy = SigningPolicy(self._signed)
        self._chain: ChainClient | None = None
        self._users: Counter[ChainClient] = Counter()
        """Connection -> number of requests that use it."""
        self._retired: set[ChainClient] = set()
        """Replaced connections that are closed after their last request."""
        self._connecting = asyncio.Lock()
        self._submitting = asyncio.Lock()
        self._conversations: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._replies: set[asyncio.Task[None]] = set()
        self._answered: Counter[str] = Counter()
        """Kind of request -> number of answers."""

    async def serve(self, listener: socket.socket) -> None:
        """Answer until SIGTERM, then finish the open requests."""
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        server = await asyncio.start_unix_server(self._converse, sock=listener)
        beating = asyncio.create_task(self._beat())
        _log.info("signer_ready", hotkey=self._hotkey)
        await stopped.wait()
        server.close()
        if self._replies:
            await asyncio.wait(self._replies, timeout=_SHARE_OF_DRAIN * self._drain_timeout_s)
        for writer in self._conversations.values():
            writer.close()
        if self._conversations:
            await asyncio.wait(self._conversations)
        for chain in (self._chain, *self._retired):
            if chain is not None:
                await chain.close()
        beating.cancel()
        if self._signed is not None:
            self._signed.close()
        _log.info("signer_ended", answered=dict(self._answered))

    async def _beat(self) -> None:
        while self._heart is not None:
            self._heart.beat()
            await asyncio.sleep(_BEAT_S)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read requests of one connection until it ends; answer each when it is done."""
        frames: FrameReader[ToSigner] = FrameReader(ToSigner)
        task = asyncio.current_task()
        assert task is not None
        self._conversations[task] = writer
        try:
            if not _is_own_user(writer.get_extra_info("socket")):
                _log.warning("signer_connection_refused")
                return
            while data := await reader.read(_READ_BYTES):
                for request in frames.feed(data):
                    reply = asyncio.create_task(self._reply(request, writer))
                    self._replies.add(reply)
                    reply.add_done_callback(self._replies.discard)
        except (ValueError, ConnectionError) as error:
            _log.warning("signer_connection_dropped", reason=type(error).__name__)
        finally:
            del self._conversations[task]
            writer.close()

    async def _reply(self, request: ToSigner, writer: asyncio.StreamWriter) -> None:
        about = {"hotkey": request.miner_hotkey} if isinstance(request, SignAuth) else {}
        try:
            with bound(**about):
                answer = await self._answer(request)
            self._answered[type(request).__name__] += 1
        except SigningRefused as error:
            name, reason = type(request).__name__, str(error)
            _log.error("signature_refused", request=name, reason=reason, once=(name, reason))
            answer = SignerFailed(request_id=request.request_id, failure=Failure.of(error))
        except Exception as error:  # noqa: BLE001 - the only place: the requester judges every failure
            name, reason = type(request).__name__, str(error)
            _log.warning("signer_request_failed", request=name, reason=reason, once=(name, reason))
            answer = SignerFailed(request_id=request.request_id, failure=Failure.of(error))
        if not writer.is_closing():
            writer.write(encode_frame(answer))

    async def _answer(self, request: ToSigner) -> FromSigner:
        if isinstance(request, SignAuth):
            with border(Party.SIGNER, "signing a request to a miner"):
                return await self._sign_auth(request)
        with border(Party.CHAIN, type(request).__name__):
            if isinstance(request, SetWeights | SealWeights | CommitWeights):
                self._refuse_in_dry_run()
                async with self._submitting, self._connected() as chain:
                    return await self._weights(chain).answer(request)
            if isinstance(request, RenewChain):
                return await self._renew_chain(request)
            async with self._connected() as chain:
                if isinstance(request, ReadMetagraph):
                    metagraph = await chain.metagraph(self._settings.netuid, self._hotkey)
                    return MetagraphRead(request_id=request.request_id, metagraph=metagraph)
                return await self._weights(chain).answer(request)

    async def _sign_auth(self, request: SignAuth) -> AuthSigned:
        """Sign the headers of one request to a miner (protocol.md, 2.3)."""
        await self._policy.permit_auth(request)
        letters = "".join(secrets.choice(_NONCE_LETTERS) for _ in range(_NONCE_LENGTH))
        nonce = f"{time.time_ns()}_{letters}"
        message = f"{nonce}:{request.miner_hotkey}:{request.symmetric_key_uuid}"
        return AuthSigned(
            request_id=request.request_id,
            validator_hotkey=self._hotkey,
            nonce=nonce,
            signature="0x" + bytes(self._wallet.hotkey.sign(message.encode())).hex(),
        )

    def _refuse_in_dry_run(self) -> None:
        if self._settings.dry_run:
            raise ConfigurationError("GAIA_DRY_RUN", "a dry run signs no weights", "unset it to set weights")

    def _weights(self, chain: ChainClient) -> WeightAnswers:
        from gaia.validator.core.chain.weight_answers import WeightAnswers

        return WeightAnswers(chain, self._settings, self._wallet, self._policy)

    async def _renew_chain(self, request: RenewChain) -> ChainRenewed:
        """Replace a connection that is old; requests that use the old one end first."""
        old = self._chain
        if old is None or old.age_s <= request.max_age_s:
            age_s = old.age_s if old is not None else 0.0
            return ChainRenewed(request_id=request.request_id, age_s=age_s, is_new=False)
        before_bytes, age_s = resident_bytes(), old.age_s
        # If no other connection is possible, the old one stays.
        fresh = await self._open()
        async with self._connecting:
            is_ours = self._chain is old
            if is_ours:
                self._chain = fresh
        await self._retire(old if is_ours else fresh)
        await asyncio.to_thread(free_memory)
        return ChainRenewed(
            request_id=request.request_id,
            age_s=age_s,
            is_new=True,
            resident_before_bytes=before_bytes,
            resident_after_bytes=resident_bytes(),
        )

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[ChainClient]:
        """Yield a connection that is not marked as broken, and that nobody closes during the body."""
        async with self._connecting:
            if self._chain is not None and self._chain.is_broken:
                broken, self._chain = self._chain, None
                await self._retire(broken)
            if self._chain is None:
                self._chain = await self._open()
            chain = self._chain
        self._users[chain] += 1
        try:
            yield chain
        finally:
            self._users[chain] -= 1
            if not self._users[chain]:
                del self._users[chain]
                if chain in self._retired:
                    self._retired.discard(chain)
                    await chain.close()

    async def _open(self) -> ChainClient:
        from gaia.validator.core.chain.client import ChainClient

        return await ChainClient.connect(self._settings.chain_endpoint, self._settings.chain_timeout_s)

    async def _retire(self, chain: ChainClient) -> None:
        """Close a connection once no request uses it."""
        if chain.is_broken or not self._users[chain]:
            await chain.close()
        else:
            self._retired.add(chain)


def _is_own_user(connection: Any) -> bool:
    """Return whether the peer of a unix socket runs as our user; elsewhere than on Linux the folder guards it."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return bool(_PEER.unpack(credentials)[1] == os.getuid())


def _refuse_inspection() -> None:
    """Prevent core dumps, and reads of our memory by processes of our user (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
