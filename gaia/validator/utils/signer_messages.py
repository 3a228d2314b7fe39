"""Messages between the IO-Engine and the chain signer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated

import msgspec

from gaia.validator.utils.chain.consensus import ConsensusView
from gaia.validator.utils.chain.metagraph import Metagraph
from gaia.validator.utils.ipc_types import Failure


class SignAuth(msgspec.Struct, frozen=True, kw_only=True, tag="sign_auth"):
    """Request the signed headers of one request to one miner (protocol.md, 2.3)."""

    request_id: int
    miner_hotkey: str
    symmetric_key_uuid: str
    lease_ends_at: float | None = None
    """End of the engine's lease of the database, in seconds of CLOCK_BOOTTIME; None: it has none."""


class AuthSigned(msgspec.Struct, frozen=True, kw_only=True, tag="auth_signed"):
    """Answer to `SignAuth`."""

    request_id: int
    validator_hotkey: str
    nonce: str
    signature: str


class ReadMetagraph(msgspec.Struct, frozen=True, kw_only=True, tag="read_metagraph"):
    """Request the metagraph."""

    request_id: int


class MetagraphRead(msgspec.Struct, frozen=True, kw_only=True, tag="metagraph_read"):
    """Answer to `ReadMetagraph`."""

    request_id: int
    metagraph: Metagraph


class ReadNodes(msgspec.Struct, frozen=True, kw_only=True, tag="read_nodes"):
    """Request a comparison of the nodes of the chain."""

    request_id: int


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """How one node of the chain does."""

    name: str
    """Its host and port."""
    block: int
    """Its newest block when it last told one; 0: never."""
    is_up: bool
    """Whether it gave its last answer."""
    is_trusted: bool
    """Whether it is believed; false after contradictions to most nodes."""
    contradictions: int
    """Number of its answers that most nodes contradicted, since the signer started."""
    problem: str
    """Its last failure or contradiction; "": none."""


class NodesRead(msgspec.Struct, frozen=True, kw_only=True, tag="nodes_read"):
    """Answer to `ReadNodes`: all nodes, in the operator's order."""

    request_id: int
    nodes: list[NodeState]


_U16 = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class ReadConsensus(msgspec.Struct, frozen=True, kw_only=True, tag="read_consensus"):
    """Request our weights beside the other validators'."""

    request_id: int
    proposed: list[tuple[_U16, _U16]] | None = None
    """[uid, u16] pairs of a vector that the chain does not count yet; None: none is asked about."""


class ConsensusViewed(msgspec.Struct, frozen=True, kw_only=True, tag="consensus_viewed"):
    """Answer to `ReadConsensus`."""

    request_id: int
    view: ConsensusView


class JournalledVector(msgspec.Struct, frozen=True, kw_only=True):
    """The only vector of an epoch, as the journal promises it: to registrations, not to uids."""

    epoch: int
    """Epoch of the chain's own counter."""
    uids: list[int]
    """Uids when the vector was computed."""
    weights: list[int]
    """Values as u16 with the largest at 65535, from `core.weights.vector.quantise`."""
    version_key: int
    sha256: str
    """The journal's digest of uids and weights; see `digest_of`."""
    hotkeys: list[str] = []
    """Hotkey of each uid as the vector was computed for them; empty: it pays the uids, whoever holds them."""
    registered: list[int] = []
    """Block in which each of these hotkeys was registered; empty in vectors of older releases."""
    burner: str = ""
    """Hotkey of the burn; "" if nothing is burnt."""

    @property
    def promise(self) -> str:
        """Digest of what is promised to whom, in hex: the same for all uids that follow from it."""
        if not self.hotkeys:
            return self.sha256
        owners = [self.hotkeys, self.registered, self.burner]
        return hashlib.sha256(json.dumps([self.sha256, *owners]).encode()).hexdigest()


def digest_of(pairs: Iterable[Iterable[int]]) -> str:
    """Return the digest of [uid, u16] pairs, in hex.

    >>> digest_of([[1, 65535]]) == digest_of([(1, 65535)])
    True
    """
    return hashlib.sha256(json.dumps([list(pair) for pair in pairs]).encode()).hexdigest()


class SetWeights(msgspec.Struct, frozen=True, kw_only=True, tag="set_weights"):
    """Request to sign and submit one vector, which the engine has journalled before."""

    request_id: int
    vector: JournalledVector
    promised_block: int | None = None
    """Nothing is signed if the chain holds weights of ours newer than this block; None: no such check."""
    lease_ends_at: float | None = None
    """As in `SignAuth`."""


class WeightsSet(msgspec.Struct, frozen=True, kw_only=True, tag="weights_set"):
    """The extrinsic succeeded, and the weights were read back from the chain."""

    request_id: int
    block: int
    block_hash: str
    extrinsic: str
    """Extrinsic id "<block>-<index>", or its hash if the SDK gives no index."""
    read_back: list[list[int]]
    """[uid, u16] pairs as stored on chain after inclusion."""


class ReadWeights(msgspec.Struct, frozen=True, kw_only=True, tag="read_weights"):
    """Request our weights on chain."""

    request_id: int


class WeightsRead(msgspec.Struct, frozen=True, kw_only=True, tag="weights_read"):
    """Our weights on chain, at `block`."""

    request_id: int
    block: int
    last_update: int
    """Block of our last weights; 0: never."""
    update_hash: str
    """Hash of that block; "" if unknown."""
    pairs: list[list[int]]
    """[uid, u16] pairs as stored."""
    epochs: list[int] = []
    """Epochs whose vector these are, as far as the signer's record knows."""


class CheckUpdate(msgspec.Struct, frozen=True, kw_only=True, tag="check_update"):
    """Ask whether our last weights or commit on chain are of this signer."""

    request_id: int


class UpdateChecked(msgspec.Struct, frozen=True, kw_only=True, tag="update_checked"):
    """They are, or nothing is known against it, as of `block`."""

    request_id: int
    block: int


class SealWeights(msgspec.Struct, frozen=True, kw_only=True, tag="seal_weights"):
    """Request to seal a journalled vector until the chain reveals the commits of its epoch."""

    request_id: int
    vector: JournalledVector
    lease_ends_at: float | None = None
    """As in `SignAuth`."""


class SealedWeights(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed vector. The same bytes are sent again if an outcome is unknown."""

    ciphertext: bytes
    reveal_round: int
    """Round of the drand beacon from which on everybody can open it."""
    epoch: int
    """Epoch of the chain's own counter in which it must be committed."""
    reveal_epoch: int
    """Epoch in which the chain reveals it."""


class WeightsSealed(msgspec.Struct, frozen=True, kw_only=True, tag="weights_sealed"):
    """Answer to `SealWeights`; nothing is signed yet."""

    request_id: int
    sealed: SealedWeights


class CommitWeights(msgspec.Struct, frozen=True, kw_only=True, tag="commit_weights"):
    """Request to sign and submit a sealed vector, which the engine has journalled before."""

    request_id: int
    vector: JournalledVector
    """What was sealed; it is sealed anew if its uids are others by now."""
    sealed: SealedWeights
    lease_ends_at: float | None = None
    """As in `SignAuth`."""


class WeightsCommitted(msgspec.Struct, frozen=True, kw_only=True, tag="weights_committed"):
    """The sealed vector is in the chain's queue since `block`."""

    request_id: int
    block: int
    block_hash: str
    """Hash of that block; "" if unknown."""
    extrinsic: str
    """Extrinsic id "<block>-<index>"; "" if unknown."""


class CommitAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A commit whose fate is wanted."""

    epoch: int
    """Epoch in which it was, or should have been, committed."""
    reveal_epoch: int


class ReadCommits(msgspec.Struct, frozen=True, kw_only=True, tag="read_commits"):
    """Request what became of commits of ours."""

    request_id: int
    commits: list[CommitAsked]


class CommitRead(msgspec.Struct, frozen=True, kw_only=True):
    """What the chain holds of one epoch's commits of ours."""

    epoch: int
    queued: dict[str, int]
    """SHA-256 of the ciphertext -> block of the commit, of those that are not revealed yet."""
    revealed_in: int | None
    """Block in which the chain said that it revealed one; None: it did not say so, as far as is known."""
    is_known: bool
    """Whether every block since the beginning of the reveal's epoch was looked at."""
    known_block: int | None = None
    """Block of one in the queue that the signer's record has for this epoch; None: there is none."""
    is_held: bool = False
    """Whether the signer's record knows our weights on chain as this epoch's."""


class CommitsRead(msgspec.Struct, frozen=True, kw_only=True, tag="commits_read"):
    """Answer to `ReadCommits`, at `block`."""

    request_id: int
    block: int
    epoch: int
    """The chain's present epoch."""
    pairs: list[list[int]]
    """Our weights on chain: [uid, u16] pairs as stored."""
    commits: list[CommitRead]
    """In the order of the request."""


class RenewChain(msgspec.Struct, frozen=True, kw_only=True, tag="renew_chain"):
    """Request to replace the connection to the chain if it is older than `max_age_s`."""

    request_id: int
    max_age_s: float


class ChainRenewed(msgspec.Struct, frozen=True, kw_only=True, tag="chain_renewed"):
    """Answer to `RenewChain`."""

    request_id: int
    age_s: float
    """Age that the connection had; 0: there was none."""
    is_new: bool
    """Whether it was replaced."""
    resident_before_bytes: int = 0
    """Resident memory of the signer before the replacement, and after it; 0: nothing was replaced."""
    resident_after_bytes: int = 0


class SignerFailed(msgspec.Struct, frozen=True, kw_only=True, tag="signer_failed"):
    """Answer to any request that failed."""

    request_id: int
    failure: Failure


class LeaseHeld(msgspec.Struct, frozen=True, kw_only=True, tag="lease_held"):
    """Tell that the engine's lease of the database was renewed, for requests that take longer than one lease."""

    request_id: int
    ends_at: float
    """As in `SignAuth`."""


class LeaseNoted(msgspec.Struct, frozen=True, kw_only=True, tag="lease_noted"):
    """Answer to `LeaseHeld`."""

    request_id: int


ToSigner = (
    SignAuth
    | ReadMetagraph
    | SetWeights
    | ReadWeights
    | CheckUpdate
    | SealWeights
    | CommitWeights
    | ReadCommits
    | RenewChain
    | ReadNodes
    | ReadConsensus
    | LeaseHeld
)
FromSigner = (
    AuthSigned
    | MetagraphRead
    | WeightsSet
    | WeightsRead
    | UpdateChecked
    | WeightsSealed
    | WeightsCommitted
    | CommitsRead
    | ChainRenewed
    | LeaseNoted
    | NodesRead
    | ConsensusViewed
    | SignerFailed
)
