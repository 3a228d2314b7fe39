"""Client of the chain signer, used by the IO-Engine."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import ConfigurationError, DeadlineExceeded, GaiaError, OwnFailure
from gaia.validator.utils.ipc_types import FrameReader, encode_frame
from gaia.validator.utils.signer_messages import (
    AuthSigned,
    ChainRenewed,
    CheckUpdate,
    CommitAsked,
    CommitsRead,
    CommitWeights,
    ConsensusViewed,
    FromSigner,
    JournalledVector,
    LeaseHeld,
    MetagraphRead,
    NodesRead,
    NodeState,
    ReadCommits,
    ReadConsensus,
    ReadMetagraph,
    ReadNodes,
    ReadWeights,
    RenewChain,
    SealedWeights,
    SealWeights,
    SetWeights,
    SignAuth,
    SignerFailed,
    UpdateChecked,
    WeightsCommitted,
    WeightsRead,
    WeightsSealed,
    WeightsSet,
)

if TYPE_CHECKING:
    from gaia.validator.utils.chain.consensus import ConsensusView
    from gaia.validator.utils.chain.metagraph import Metagraph

_READ_BYTES = 65536
# Largest number of the signer's chain calls, each with its own time limit, in one request.
_SIGN_CALLS, _READ_CALLS, _HELD_CALLS, _RENEW_CALLS = 1, 3, 6, 2
_CHECK_CALLS = 20
_CONSENSUS_CALLS = 24
_SEAL_CALLS, _COMMIT_CALLS = 30, 38
_LOOK_CALLS = 8
"""Chain calls for each commit whose fate is asked."""
_SET_CALLS = 36
WRITE_CALLS = max(_SET_CALLS, _SEAL_CALLS + _COMMIT_CALLS)
"""Largest number of chain calls of one setting of weights, plain or sealed."""
_Reply = TypeVar("_Reply", bound=msgspec.Struct)


class LeaseHeldBy(Protocol):
    """A lease of the database, as the signer has to know it."""

    def ends_at(self) -> float | None:
        """Return when we must stop to sign, in seconds of CLOCK_BOOTTIME; None: there is no lease."""

    def when_renewed(self, act: Callable[[], None]) -> None:
        """Call `act` after each renewal."""


class SignerClient:
    """Sends requests to the chain signer over one connection, several at once.

    The first request opens the connection, as does the first after the signer died. An open request
    then raises `OwnFailure`, and the chain tells whether weights were set. A signer that is away,
    silent or sends invalid messages also causes `OwnFailure`. Errors that the signer returns are
    raised here with their own type.

    Parameters
    ----------
    path
        The signer's socket.
    chain_timeout_s
        The signer's time limit for one chain call; limits here are multiples of it.
    lease
        Our lease of the database, whose end the signer is told; None: nothing binds it.
    """

    def __init__(
        self, path: Path | str, chain_timeout_s: float = 60.0, lease: LeaseHeldBy | None = None
    ) -> None:
        self._path = path
        self._lease = lease
        if lease is not None:
            lease.when_renewed(self._tell_lease)
        self._timeout_s = chain_timeout_s
        self._ids = itertools.count(1)
        self._pending: dict[int, asyncio.Future[FromSigner]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()

    async def sign_auth(self, miner_hotkey: str, symmetric_key_uuid: str) -> AuthSigned:
        """Return the signed headers of one request to one miner (protocol.md, 2.3).

        Raises
        ------
        OwnFailure
            If there is no signature for any reason, because no miner can cause that.
        ConfigurationError
            If the signer says that the operator must act.
        """

        def request(number: int) -> SignAuth:
            return SignAuth(
                request_id=number,
                miner_hotkey=miner_hotkey,
                symmetric_key_uuid=symmetric_key_uuid,
                lease_ends_at=self._lease_ends_at(),
            )

        try:
            return await self._ask(request, AuthSigned, _SIGN_CALLS)
        except (OwnFailure, ConfigurationError):
            raise
        except GaiaError as error:
            raise OwnFailure(f"nothing was signed: {error}") from error

    async def read_metagraph(self) -> Metagraph:
        """Return the subnet at the newest block."""
        read = await self._ask(lambda number: ReadMetagraph(request_id=number), MetagraphRead, _READ_CALLS)
        return read.metagraph

    async def read_nodes(self) -> list[NodeState]:
        """Return how each node of the chain does, as the signer knows it by now."""
        return (await self._ask(lambda number: ReadNodes(request_id=number), NodesRead, _SIGN_CALLS)).nodes

    async def read_consensus(self, proposed: Sequence[Sequence[int]] | None = None) -> ConsensusView:
        """Return our weights beside the other validators', and what the next epoch gives us.

        Parameters
        ----------
        proposed
            [uid, u16] pairs of a vector that the chain does not count yet.
        """
        pairs = None if proposed is None else [(int(uid), int(weight)) for uid, weight in proposed]
        viewed = await self._ask(
            lambda number: ReadConsensus(request_id=number, proposed=pairs), ConsensusViewed, _CONSENSUS_CALLS
        )
        return viewed.view

    async def read_weights(self) -> WeightsRead:
        """Return our weights on chain at the newest block."""
        return await self._ask(lambda number: ReadWeights(request_id=number), WeightsRead, _HELD_CALLS)

    async def check_update(self) -> int:
        """Return the block as of which our last weights or commit on chain are of our signer.

        Raises
        ------
        SigningRefused
            If another program made them; nothing is signed until they are explained.
        ConfigurationError
            If several blocks have said so.
        """
        checked = await self._ask(lambda number: CheckUpdate(request_id=number), UpdateChecked, _CHECK_CALLS)
        return checked.block

    async def set_weights(self, vector: JournalledVector, promised_block: int | None = None) -> WeightsSet:
        """Let the signer sign, submit and read back one vector.

        Nothing is signed if the chain holds weights of ours that are newer than `promised_block`.

        Raises
        ------
        SigningRefused
            If the signer's policy forbids it, as it does a second vector of an epoch.
        """

        def request(number: int) -> SetWeights:
            return SetWeights(
                request_id=number,
                vector=vector,
                promised_block=promised_block,
                lease_ends_at=self._lease_ends_at(),
            )

        return await self._ask(request, WeightsSet, _SET_CALLS)

    async def seal_weights(self, vector: JournalledVector) -> SealedWeights:
        """Return a vector, sealed until the chain reveals the commits of its epoch; see `set_weights`."""

        def request(number: int) -> SealWeights:
            return SealWeights(request_id=number, vector=vector, lease_ends_at=self._lease_ends_at())

        return (await self._ask(request, WeightsSealed, _SEAL_CALLS)).sealed

    async def commit_weights(self, vector: JournalledVector, sealed: SealedWeights) -> WeightsCommitted:
        """Let the signer sign and submit a sealed vector, unless it is in the chain's queue already."""

        def request(number: int) -> CommitWeights:
            return CommitWeights(
                request_id=number, vector=vector, sealed=sealed, lease_ends_at=self._lease_ends_at()
            )

        return await self._ask(request, WeightsCommitted, _COMMIT_CALLS)

    async def read_commits(self, commits: Sequence[CommitAsked]) -> CommitsRead:
        """Return what became of commits of ours."""
        calls = _HELD_CALLS + _LOOK_CALLS * len(commits)
        return await self._ask(
            lambda number: ReadCommits(request_id=number, commits=list(commits)), CommitsRead, calls
        )

    async def renew_chain(self, max_age_s: float) -> ChainRenewed:
        """Let the signer replace its connection to the chain if it is older than `max_age_s`."""
        return await self._ask(
            lambda number: RenewChain(request_id=number, max_age_s=max_age_s), ChainRenewed, _RENEW_CALLS
        )

    async def close(self) -> None:
        """Close the connection; open requests raise `OwnFailure`."""
        if self._writer is not None:
            self._writer.close()
        if self._listening is not None:
            await self._listening

    def _lease_ends_at(self) -> float | None:
        return None if self._lease is None else self._lease.ends_at()

    def _tell_lease(self) -> None:
        """Tell the signer of a renewal, if we are connected; nobody waits for its answer."""
        ends_at = self._lease_ends_at()
        if self._writer is not None and not self._writer.is_closing() and ends_at is not None:
            self._writer.write(encode_frame(LeaseHeld(request_id=next(self._ids), ends_at=ends_at)))

    async def _ask(self, make: Callable[[int], msgspec.Struct], reply: type[_Reply], calls: int) -> _Reply:
        number = next(self._ids)
        timeout_s = calls * self._timeout_s
        with border(Party.SIGNER, "asking the chain signer"):
            try:
                async with asyncio.timeout(timeout_s):
                    answer = await self._exchange(number, encode_frame(make(number)))
            except TimeoutError as error:
                raise DeadlineExceeded(f"the chain signer did not answer in {timeout_s:g} s") from error
            finally:
                self._pending.pop(number, None)
        if isinstance(answer, SignerFailed):
            raise answer.failure.exception()
        if not isinstance(answer, reply):
            raise OwnFailure(f"the chain signer sent an unexpected {type(answer).__name__}")
        return answer

    async def _exchange(self, number: int, frame: bytes) -> FromSigner:
        writer = await self._connected()
        waiting: asyncio.Future[FromSigner] = asyncio.get_running_loop().create_future()
        self._pending[number] = waiting
        writer.write(frame)
        return await waiting

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._connecting:
            if self._writer is None:
                try:
                    reader, self._writer = await asyncio.open_unix_connection(self._path)
                except OSError as error:
                    raise OwnFailure(f"the chain signer cannot be reached: {error.strerror}") from error
                self._listening = asyncio.create_task(self._listen(reader, self._writer))
            return self._writer

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Deliver answers until the connection ends; then fail all open requests."""
        frames: FrameReader[FromSigner] = FrameReader(FromSigner)
        reason = "the connection to the chain signer ended before it answered"
        try:
            while data := await reader.read(_READ_BYTES):
                for answer in frames.feed(data):
                    waiting = self._pending.get(answer.request_id)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(answer)
        except ValueError as error:
            reason = f"the chain signer sent an invalid message: {error}"
        except OSError as error:
            reason = f"the connection to the chain signer failed: {error.strerror}"
        finally:
            self._writer = None
            writer.close()
            for waiting in self._pending.values():
                if not waiting.done():
                    waiting.set_exception(OwnFailure(reason))
