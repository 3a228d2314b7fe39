"""The only process with the hotkey: signs requests to miners, reads the chain, and sets weights."""

from __future__ import annotations

import asyncio
import contextvars
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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from gaia.validator.app.logging_config import configure_logging
from gaia.validator.app.meeting.heartbeat import Heart
from gaia.validator.app.meeting.rendezvous import signer_heartbeat_path
from gaia.validator.app.meeting.stack_dumps import offer_stacks
from gaia.validator.app.sandbox.confine import confine_signer
from gaia.validator.core.chain.hotkey import load_private_wallet
from gaia.validator.core.chain.nodes.comparison import compare_for_ever, states_of
from gaia.validator.core.chain.signing.kept_record import KeptRecord
from gaia.validator.core.chain.signing.signing_policy import SigningPolicy
from gaia.validator.core.chain.signing.term import Term
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import (
    ConfigurationError,
    OwnFailure,
    SigningRefused,
    SubnetMissing,
    TransientError,
)
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.ipc_types import Failure, FrameReader, encode_frame
from gaia.validator.utils.logs.context import bound
from gaia.validator.utils.machine.memory import free_memory, resident_bytes
from gaia.validator.utils.machine.parent_death import die_with_parent
from gaia.validator.utils.proxies import spare_loopback
from gaia.validator.utils.secrecy import hold, secrets_of_endpoint
from gaia.validator.utils.signer_messages import (
    AuthSigned,
    ChainRenewed,
    CommitWeights,
    ConsensusViewed,
    FromSigner,
    LeaseHeld,
    LeaseNoted,
    MetagraphRead,
    NodesRead,
    ReadConsensus,
    ReadMetagraph,
    ReadNodes,
    RenewChain,
    SealWeights,
    SetWeights,
    SignAuth,
    SignerFailed,
    ToSigner,
)

if TYPE_CHECKING:
    from bittensor import Wallet

    from gaia.validator.core.chain.nodes.quorum import Quorum
    from gaia.validator.core.chain.weight_answers import WeightAnswers
    from gaia.validator.utils.settings.handed import SignerSettings

_PR_SET_DUMPABLE = 4
_READ_BYTES = 65536
_NONCE_LETTERS = string.ascii_letters + string.digits
_NONCE_LENGTH = 10
_PEER = struct.Struct("3i")
_BEAT_S = 0.25
_NOWHERE = "/dev/null/none"
"""A folder that cannot be."""
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
    spare_loopback(*settings.chain.endpoints)
    if len(settings.chain.endpoints) > 1:
        # The SDK shares a runtime's metadata among all nodes, so that one that lies would decide what all encode.
        os.environ["BITTENSOR_RUNTIME_CACHE_DIR"] = _NOWHERE
    observation = settings.observation
    configure_logging(observation.log_level, observation.log_format, observation.log_files, role="signer")
    offer_stacks(Path(signer_socket.getsockname()).parent)
    heart = Heart(signer_heartbeat_path(Path(signer_socket.getsockname())))
    heart.beat()
    hold(secret for endpoint in settings.chain.endpoints for secret in secrets_of_endpoint(endpoint))
    wallet = load_private_wallet(settings.chain)
    is_confined = confine_signer(settings.sandbox)
    _log.debug("signer_confined", confined=is_confined)
    asyncio.run(ChainSigner(settings, wallet, heart).serve(signer_socket))


class ChainSigner:
    """Answers the IO-Engine's requests on one socket.

    It signs only the headers of requests to miners, and one vector of weights an epoch on our own
    subnet. It keeps a connection to each node of the chain, and replaces broken ones.

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
        self._term = Term()
        self._record: KeptRecord | None = None
        if not settings.chain.dry_run:
            self._record = KeptRecord(settings.signed_epochs, self._hotkey, settings.chain.netuid, self._term)
            self._record.try_at_start()
        self._policy = SigningPolicy(self._record.record if self._record else None, term=self._term)
        self._nodes: Quorum | None = None
        self._comparing: asyncio.Task[None] | None = None
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
        if self._comparing is not None:
            self._comparing.cancel()
        if self._nodes is not None:
            await self._nodes.close()
        beating.cancel()
        if self._record is not None:
            self._record.close()
        _log.info("signer_ended", answered=dict(self._answered))

    async def _beat(self) -> None:
        """Show that the loop turns; let the record go when the lease of the engine is over."""
        while True:
            if self._heart is not None:
                self._heart.beat()
            if self._record is not None and not self._submitting.locked():
                self._record.let_go_if_over()
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
            writer.write(_framed(answer))

    async def _answer(self, request: ToSigner) -> FromSigner:
        if isinstance(request, LeaseHeld):
            self._term.note(request.ends_at)
            return LeaseNoted(request_id=request.request_id)
        if isinstance(request, SignAuth | SetWeights | SealWeights | CommitWeights):
            self._term.note(request.lease_ends_at)
        if isinstance(request, SignAuth):
            with border(Party.SIGNER, "signing a request to a miner"):
                return await self._sign_auth(request)
        with border(Party.CHAIN, type(request).__name__):
            chain = self._quorum()
            chain.begin_request()
            match request:
                case SetWeights() | SealWeights() | CommitWeights():
                    self._refuse_in_dry_run()
                    async with self._submitting:
                        return await self._weights(chain).answer(request)
                case RenewChain():
                    return await self._renew_chain(chain, request)
                case ReadNodes():
                    return NodesRead(request_id=request.request_id, nodes=states_of(chain))
                case ReadMetagraph():
                    return await self._read_metagraph(chain, request)
                case ReadConsensus():
                    return await self._read_consensus(chain, request)
            return await self._weights(chain).answer(request)

    async def _read_metagraph(self, chain: Quorum, request: ReadMetagraph) -> MetagraphRead:
        """Return the metagraph; that we are not registered, or the subnet is gone, no node says alone."""
        netuid = self._settings.netuid
        try:
            metagraph = await chain.metagraph(netuid, self._hotkey)
        except SubnetMissing as error:
            if chain.is_confirmed:
                raise
            raise TransientError(f"{error}, and no other node confirms it") from error
        if metagraph.own_uid is None and not chain.is_confirmed:
            raise TransientError(
                f"our hotkey is not registered on subnet {netuid}, as some nodes say; the others do not confirm it"
            )
        metagraph = msgspec.structs.replace(metagraph, is_confirmed=chain.is_confirmed)
        return MetagraphRead(request_id=request.request_id, metagraph=metagraph)

    async def _read_consensus(self, chain: Quorum, request: ReadConsensus) -> ConsensusViewed:
        from gaia.validator.core.consensus.comparing import view_of
        from gaia.validator.core.consensus.reading import read_consensus

        state = await read_consensus(chain, self._settings.netuid, self._hotkey)
        if not chain.is_confirmed:
            raise TransientError(
                "one node alone tells the other validators' weights, and no other confirms it"
            )
        return ConsensusViewed(request_id=request.request_id, view=view_of(state, request.proposed))

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

    def _weights(self, chain: Quorum) -> WeightAnswers:
        from gaia.validator.core.chain.weight_answers import WeightAnswers

        return WeightAnswers(chain, self._settings, self._wallet, self._policy)

    async def _renew_chain(self, chain: Quorum, request: RenewChain) -> ChainRenewed:
        """Replace connections that are old; requests that use the old ones end first."""
        before_bytes = resident_bytes()
        age_s, is_new = await chain.renew(request.max_age_s)
        if not is_new:
            return ChainRenewed(request_id=request.request_id, age_s=age_s, is_new=False)
        await asyncio.to_thread(free_memory)
        return ChainRenewed(
            request_id=request.request_id,
            age_s=age_s,
            is_new=True,
            resident_before_bytes=before_bytes,
            resident_after_bytes=resident_bytes(),
        )

    def _quorum(self) -> Quorum:
        """Return the nodes of the chain, made at the first call, because the SDK takes a second to load."""
        from gaia.validator.core.chain.nodes.quorum import Quorum

        if self._nodes is None:
            self._nodes = Quorum(self._settings.nodes, self._settings.chain_timeout_s)
            comparing = compare_for_ever(self._nodes, self._settings.netuid, self._hotkey)
            # Not in the context of the request that happens to be the first.
            self._comparing = asyncio.create_task(comparing, context=contextvars.Context())
        return self._nodes


def _framed(answer: FromSigner) -> bytes:
    """Return the bytes of an answer; one that cannot be encoded becomes a failure, so that it is not awaited for ever."""
    try:
        return encode_frame(answer)
    except (ValueError, OverflowError) as error:
        failure = Failure.of(OwnFailure(f"the answer cannot be sent: {error}"))
        return encode_frame(SignerFailed(request_id=answer.request_id, failure=failure))


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
