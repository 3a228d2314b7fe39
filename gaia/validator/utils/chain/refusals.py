"""What the chain's refusals of weights mean, and who must act; names are those of the runtime and its pool."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Cause(StrEnum):
    """Who must act after a refusal."""

    OURS = "ours"
    """The operator: stake, permit, registration, clock, or a fault of this program."""
    THEIRS = "theirs"
    """The subnet's owner or the chain has another rule than this program follows."""
    NETWORK = "network"
    """A node or its pool failed; another node, or a later attempt, may succeed."""
    RACE = "race"
    """Something changed between reading and inclusion; the next attempt reads it anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One name under which weights are refused."""

    name: str
    cause: Cause
    meaning: str
    """Clause that says what is wrong."""
    remedy: str
    """Clause that says what to do, or what happens by itself."""
    is_foreseen: bool = False
    """Whether our reading of the chain tells it before anything is signed."""

    def __str__(self) -> str:
        return f"{self.name}: {self.meaning}; {self.remedy}"


_AGAIN = "the next attempt reads the chain anew"
_OTHER_NODE = "the next attempt follows; if this stays, name another node in `GAIA_CHAIN_ENDPOINT`"
_RELEASE = "install a release that knows this runtime"
_WAIT = "wait; if it stays, install a newer release"
_REPORT = "report this as a fault of the validator"
_STAKE = "stake more on this hotkey: `btcli stake add`"
_REGISTER = "register it, or correct `GAIA_WALLET_HOTKEY`"
_NETUID = "correct `GAIA_NETUID`"
_OWNER = "the rule is the subnet owner's; ask there, and wait"


def _ours(name: str, meaning: str, remedy: str, *, foreseen: bool = False) -> Refusal:
    return Refusal(name=name, cause=Cause.OURS, meaning=meaning, remedy=remedy, is_foreseen=foreseen)


def _theirs(name: str, meaning: str, remedy: str, *, foreseen: bool = False) -> Refusal:
    return Refusal(name=name, cause=Cause.THEIRS, meaning=meaning, remedy=remedy, is_foreseen=foreseen)


def _network(name: str, meaning: str, remedy: str = _OTHER_NODE) -> Refusal:
    return Refusal(name=name, cause=Cause.NETWORK, meaning=meaning, remedy=remedy)


def _race(name: str, meaning: str, *, foreseen: bool = False) -> Refusal:
    return Refusal(name=name, cause=Cause.RACE, meaning=meaning, remedy=_AGAIN, is_foreseen=foreseen)


_FROM_THE_RUNTIME: Final = (
    _ours("CanNotSetRootNetworkWeights", "subnet 0 takes no weights", _NETUID, foreseen=True),
    _ours("SubnetNotExists", "the subnet does not exist", _NETUID, foreseen=True),
    _ours("HotKeyNotRegisteredInSubNet", "the hotkey has no uid on the subnet", _REGISTER, foreseen=True),
    _ours("NotEnoughStakeToSetWeights", "the hotkey has too little stake", _STAKE, foreseen=True),
    _ours("NeuronNoValidatorPermit", "our uid has no validator permit", _STAKE, foreseen=True),
    _ours("WeightVecNotEqualSize", "uids and weights differ in number", _REPORT, foreseen=True),
    _ours("DuplicateUids", "a uid occurs twice", _REPORT, foreseen=True),
    _ours("CommitPayloadTooLarge", "the sealed vector is too long", _REPORT, foreseen=True),
    _ours(
        "InvalidRevealRound",
        "the beacon's round of the seal is published already",
        "compare this machine's clock with UTC: `timedatectl`",
        foreseen=True,
    ),
    _ours(
        "TooManyUnrevealedCommits",
        "ten commits of ours wait in this epoch",
        "stop the other program that uses this hotkey",
        foreseen=True,
    ),
    _theirs("MechanismDoesNotExist", "the subnet has no mechanism 0", _OWNER, foreseen=True),
    _theirs("WeightVecLengthIsLow", "the vector names too few uids", _OWNER, foreseen=True),
    _theirs("MaxWeightExceeded", "one uid gets too much of the weight", _OWNER, foreseen=True),
    _theirs("CommitRevealEnabled", "the subnet wants sealed weights", _AGAIN, foreseen=True),
    _theirs("CommitRevealDisabled", "the subnet wants plain weights", _AGAIN, foreseen=True),
    _theirs("IncorrectCommitRevealVersion", "the chain wants another seal", _RELEASE, foreseen=True),
    _theirs("CallFiltered", "the chain takes no such call now", _RELEASE),
    _theirs("CallDisabled", "the chain has switched this call off", _WAIT),
    _theirs("DisabledTemporarily", "the chain has switched this call off for a time", _WAIT),
    _theirs("Deprecated", "the chain no longer has this call", _RELEASE),
    _theirs("BadOrigin", "the chain wants another signer for this call", _RELEASE),
    _race("IncorrectWeightVersionKey", "the owner wants a larger version key by now", foreseen=True),
    _race("UidsLengthExceedUidsInSubNet", "the subnet has fewer uids by now", foreseen=True),
    _race("UidVecContainInvalidOne", "a uid of the vector no longer exists", foreseen=True),
    _race("SettingWeightsTooFast", "the last weights are too new", foreseen=True),
    _race("CommittingWeightsTooFast", "the last commit is too new", foreseen=True),
)
"""Refusals of the call itself, in a block."""

_FROM_THE_POOL: Final = (
    _ours("StakeAmountTooLow", "the hotkey has too little stake", _STAKE, foreseen=True),
    _ours("HotKeyNotRegisteredInNetwork", "the hotkey is not registered", _REGISTER, foreseen=True),
    _ours("HotKeyAccountNotExists", "the chain does not know the hotkey", _REGISTER, foreseen=True),
    _ours("ColdkeySwapAnnounced", "a swap of the coldkey is announced", "wait until it is done"),
    _ours("ColdkeySwapDisputed", "a swap of the coldkey is disputed", "end the dispute"),
    _ours("Payment", "the account cannot pay the fee", "send a little TAO to the hotkey's address"),
    _theirs("BadRequest", "the pool does not say why", _RELEASE),
    _theirs("Call", "the chain does not take this call", _RELEASE),
    _theirs("BadMandatory", "the chain reserves this call for itself", _RELEASE),
    _theirs("MandatoryValidation", "the chain reserves this call for itself", _RELEASE),
    _theirs("NoUnsignedValidator", "the call has lost its signature", _RELEASE),
    _theirs("UnknownOrigin", "the chain does not see who signed", _RELEASE),
    _theirs("IndeterminateImplicit", "the chain signs other data with a call", _RELEASE),
    _race("RateLimitExceeded", "the last weights are too new", foreseen=True),
    _race("Stale", "another extrinsic of ours has this number"),
    _race("Future", "an extrinsic of ours before this one is missing"),
    _race("AncientBirthBlock", "the extrinsic is too old"),
    _race("PriorityTooLow", "the pool has another extrinsic with this number"),
    _race("AlreadyImported", "the pool has this extrinsic already"),
    _race("Usurped", "another extrinsic of ours took its place"),
    _race("Retracted", "its block is no longer part of the chain"),
    _network("BadProof", "the node does not accept the signature"),
    _network("BadSigner", "the node does not accept the signer"),
    _network("CannotLookup", "the node does not find the signer"),
    _network("ExhaustsResources", "the next block is full"),
    _network("Dropped", "the pool dropped the extrinsic"),
    _network("Invalid", "the pool calls the extrinsic invalid without a reason"),
    _network("FinalityTimeout", "its block did not become final in time"),
    _network("TemporarilyBanned", "the pool has banned this extrinsic for a while"),
    _network("ImmediatelyDropped", "the pool is full"),
    _network("CycleDetected", "the pool sees a circle of extrinsics"),
    _network("Unactionable", "the node passes no extrinsics on"),
    _network("FutureNotAccepted", "the pool takes no extrinsics for later"),
    _network("UnknownValidity", "the node cannot check the extrinsic"),
)
"""Refusals of a node, before any block."""

REFUSALS: Final = {refusal.name: refusal for refusal in (*_FROM_THE_RUNTIME, *_FROM_THE_POOL)}
"""Name -> its meaning."""

POOL_REFUSALS: Final = frozenset(refusal.name for refusal in _FROM_THE_POOL)
"""Names that only a node's pool says."""

_WORDS: Final = (
    ("temporarily banned", "TemporarilyBanned"),
    ("immediately dropped", "ImmediatelyDropped"),
    ("cycle detected", "CycleDetected"),
    ("not accepting future", "FutureNotAccepted"),
    ("cannot be propagated", "Unactionable"),
    ("unknown transaction validity", "UnknownValidity"),
)
"""Words of a node for which the SDK has no name."""


def refusal_named(name: str) -> Refusal:
    """Return what a name means; one that is unknown here is of a newer runtime.

    >>> refusal_named("SettingWeightsTooFast").cause.value
    'race'
    """
    known = REFUSALS.get(name)
    return known or _theirs(name, "this release does not know this refusal", _RELEASE)


def name_of(name: str | None, message: str, otherwise: str) -> str:
    """Return the name of a refusal: the SDK's, or that of the node's words, or `otherwise`."""
    if name:
        return name
    said = message.lower()
    return next((found for words, found in _WORDS if words in said), otherwise)
