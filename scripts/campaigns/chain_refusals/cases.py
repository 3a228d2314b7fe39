"""Ways to be refused: states of the chain, answers of a node's pool, and errors of the runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gaia.localnet.chain.lies import custom_error, refusal
from gaia.localnet.chain.node import LocalChain
from gaia.localnet.wallets import VALIDATOR_URI, keypair
from gaia.validator.utils.chain.refusals import POOL_REFUSALS, REFUSALS

NETUID: Final = 57
OWN: Final = str(keypair(VALIDATOR_URI).ss58_address)
_STRANGER: Final = str(keypair("//Stranger").ss58_address)
_SUBMIT: Final = "author_submitAndWatchExtrinsic"
_MUCH: Final = 10**18
"""Stake in rao that nobody has."""
_LATER: Final = 10**12
"""A round of the beacon that is far away."""

Act = Callable[[LocalChain], None]


class Form(StrEnum):
    """How weights are set."""

    PLAIN = "plain"
    SEALED = "sealed"


class When(StrEnum):
    """When the cause of a refusal appears."""

    BEFORE = "before"
    """Before anything is asked of the signer."""
    SEALED = "after the sealing"
    SIGNED = "after the signature"
    """The pool has the extrinsic, and no block does."""
    POOL = "in the pool"
    """A node refuses it, whatever the state is."""
    BLOCK = "in the block"
    """The runtime refuses it, whatever the state is."""

    @property
    def is_foreseeable(self) -> bool:
        """Whether a reading of the chain shows the cause before the signature."""
        return self in (When.BEFORE, When.SEALED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One refusal that is provoked."""

    name: str
    """Name under which it must be told."""
    form: Form
    when: When
    act: Act
    dispatched: str = ""
    """Name that it has when it appears after the signature; "": the same."""


def _write(item: str, *parameters: object, value: object) -> Act:
    return lambda chain: chain.write_storage(item, *parameters, value=value)


def _leave(chain: LocalChain) -> None:
    chain.remove_storage("Uids", NETUID, OWN)
    chain.write_storage("Keys", NETUID, 0, value=_STRANGER)


def _date(chain: LocalChain) -> None:
    """Let our last update be of the newest block, with a limit that weights then break.

    It is a registration, so that it is not taken for weights of another program.
    """
    chain.write_storage("WeightsSetRateLimit", NETUID, value=100)
    chain.write_storage("BlockAtRegistration", NETUID, 0, value=chain.block)
    chain.write_storage("LastUpdate", NETUID, value=[chain.block, *[0] * 4])


def _trim(chain: LocalChain) -> None:
    """Let the last two uids not exist, one of which the vector pays."""
    chain.write_storage("SubnetworkN", NETUID, value=3)


_RULES: Final[Mapping[str, Act]] = {
    "HotKeyNotRegisteredInSubNet": _leave,
    "NotEnoughStakeToSetWeights": _write("StakeThreshold", value=_MUCH),
    "NeuronNoValidatorPermit": _write("ValidatorPermit", NETUID, value=[False] * 5),
    "MechanismDoesNotExist": _write("MechanismCountCurrent", NETUID, value=0),
    "WeightVecLengthIsLow": _write("MinAllowedWeights", NETUID, value=5),
    "MaxWeightExceeded": _write("MaxWeightsLimit", NETUID, value=9000),
    "UidVecContainInvalidOne": _trim,
    "UidsLengthExceedUidsInSubNet": _write("SubnetworkN", NETUID, value=2),
    "IncorrectWeightVersionKey": _write("WeightsVersionKey", NETUID, value=5000),
}
"""States under which neither form of a vector is taken; of the sealed form, some show at the reveal alone."""

_IN_A_COMMIT: Final = frozenset({"HotKeyNotRegisteredInSubNet", "MechanismDoesNotExist"})
"""Rules that the runtime applies to a commit itself."""
_BY_THE_POOL: Final = frozenset({"NotEnoughStakeToSetWeights", "SettingWeightsTooFast", "InvalidRevealRound"})
"""Rules that a node applies before the block: it then drops the extrinsic, and says no more than that."""

_SAID: Final[Mapping[str, tuple[int, str, str]]] = {
    "Payment": (1010, "Invalid Transaction", "Inability to pay some fees (e.g. account balance too low)"),
    "Future": (1010, "Invalid Transaction", "Transaction will be valid in the future"),
    "Stale": (1010, "Invalid Transaction", "Transaction is outdated"),
    "BadProof": (1010, "Invalid Transaction", "Transaction has a bad signature"),
    "Call": (1010, "Invalid Transaction", "Transaction call is not expected"),
    "AncientBirthBlock": (1010, "Invalid Transaction", "Transaction has an ancient birth block"),
    "ExhaustsResources": (1010, "Invalid Transaction", "Transaction would exhaust the block limits"),
    "BadMandatory": (
        1010,
        "Invalid Transaction",
        "A call was labelled as mandatory, but resulted in an Error.",
    ),
    "MandatoryValidation": (
        1010,
        "Invalid Transaction",
        "Transaction dispatch is mandatory; transactions must not be validated.",
    ),
    "BadSigner": (1010, "Invalid Transaction", "Invalid signing address"),
    "IndeterminateImplicit": (
        1010,
        "Invalid Transaction",
        "The implicit data was unable to be calculated",
    ),
    "UnknownOrigin": (
        1010,
        "Invalid Transaction",
        "The transaction extension did not authorize any origin",
    ),
    "CannotLookup": (
        1011,
        "Unknown Transaction Validity",
        "Could not lookup information required to validate the transaction",
    ),
    "NoUnsignedValidator": (
        1011,
        "Unknown Transaction Validity",
        "Could not find an unsigned validator for the unsigned transaction",
    ),
    "UnknownValidity": (1011, "Unknown Transaction Validity", ""),
    "TemporarilyBanned": (1012, "Transaction is temporarily banned", ""),
    "AlreadyImported": (1013, "Transaction Already Imported", ""),
    "PriorityTooLow": (1014, "Priority is too low: (0 vs 0)", ""),
    "CycleDetected": (1015, "Cycle Detected", ""),
    "ImmediatelyDropped": (1016, "Immediately Dropped", ""),
    "Unactionable": (
        1018,
        "Transaction cannot be propagated and the local node does not author blocks",
        "",
    ),
    "FutureNotAccepted": (1019, "The pool is not accepting future transactions", ""),
}
"""Name -> code, message and data of a node's answer."""
_NUMBERED: Final = {
    "ColdkeySwapAnnounced": 0,
    "StakeAmountTooLow": 1,
    "SubnetNotExists": 3,
    "HotKeyAccountNotExists": 4,
    "RateLimitExceeded": 6,
    "HotKeyNotRegisteredInNetwork": 10,
    "InvalidRevealRound": 15,
    "HotKeyNotRegisteredInSubNet": 19,
    "ColdkeySwapDisputed": 21,
    "BadRequest": 255,
}
"""Name -> number of a "Custom error"."""
EXCLUDED: Final = {
    "CommitPayloadTooLarge": "the local chain's runtime does not have it; a vector of 5000 bytes names more uids than exist",
}
"""Name -> why no trial can have it."""
BY_SHAPE: Final = {
    "CanNotSetRootNetworkWeights": "the preflight knows it by the number of the subnet",
    "WeightVecNotEqualSize": "the signer's policy takes no such vector",
    "DuplicateUids": "the signer's policy takes no such vector",
    "TooManyUnrevealedCommits": "the signer commits nothing beside another commit of ours",
}
"""Names that no state of the chain brings about -> what excludes them."""
SAME_AS: Final = {
    "StakeAmountTooLow": "NotEnoughStakeToSetWeights",
    "RateLimitExceeded": "SettingWeightsTooFast",
    "HotKeyNotRegisteredInNetwork": "HotKeyNotRegisteredInSubNet",
    "HotKeyAccountNotExists": "HotKeyNotRegisteredInSubNet",
}
"""Name that a pool has for the cause of another -> that other."""
_WATCHED: Final = {
    "Dropped": "dropped",
    "Usurped": "usurped",
    "Invalid": "invalid",
    "Retracted": "retracted",
    "FinalityTimeout": "finalityTimeout",
}
"""Name -> status with which an extrinsic leaves the pool after it was taken."""


def trials() -> list[Trial]:
    """Return all trials; each name of `REFUSALS` has one or more, but for what the signer's own checks exclude."""
    return [*_foreseeable(), *_too_late(), *_of_the_pool(), *_of_the_block()]


def _foreseeable() -> list[Trial]:
    found = [
        Trial(name=name, form=form, when=When.BEFORE, act=act)
        for name, act in _RULES.items()
        for form in Form
    ]
    found += [Trial(name=name, form=Form.SEALED, when=When.SEALED, act=act) for name, act in _RULES.items()]
    gone = _write("NetworksAdded", NETUID, value=False)
    found += [Trial(name="SubnetNotExists", form=form, when=When.BEFORE, act=gone) for form in Form]
    of_form = {
        Form.PLAIN: ("SettingWeightsTooFast", "CommitRevealEnabled", True),
        Form.SEALED: ("CommittingWeightsTooFast", "CommitRevealDisabled", False),
    }
    for form, (fast, other, wanted) in of_form.items():
        toggle = _write("CommitRevealWeightsEnabled", NETUID, value=wanted)
        for when in (When.BEFORE, When.SEALED) if form is Form.SEALED else (When.BEFORE,):
            found.append(Trial(name=fast, form=form, when=when, act=_date))
            found.append(Trial(name=other, form=form, when=when, act=toggle))
    newer, published = (
        _write("CommitRevealWeightsVersion", value=5),
        lambda chain: chain.beacon.publish(_LATER),
    )
    for when in (When.BEFORE, When.SEALED):
        found.append(Trial(name="IncorrectCommitRevealVersion", form=Form.SEALED, when=when, act=newer))
    found.append(Trial(name="InvalidRevealRound", form=Form.SEALED, when=When.SEALED, act=published))
    return found


def _too_late() -> list[Trial]:
    """Return the same causes where they appear between the signature and the block."""
    return [
        Trial(
            name="Invalid" if trial.name in _BY_THE_POOL else trial.name,
            form=trial.form,
            when=When.SIGNED,
            act=trial.act,
        )
        for trial in _foreseeable()
        if trial.when is When.BEFORE
        and trial.name != "SubnetNotExists"
        and (trial.form is Form.PLAIN or trial.name not in _RULES or trial.name in _IN_A_COMMIT)
    ]


def _of_the_pool() -> list[Trial]:
    def told(answer: Callable[[object], object]) -> Act:
        def act(chain: LocalChain) -> None:
            chain.lies.tell(_SUBMIT, answer, acts=False)

        return act

    answers = {name: refusal(*said) for name, said in _SAID.items()}
    answers |= {name: custom_error(number) for name, number in _NUMBERED.items()}
    found = [
        Trial(name=name, form=form, when=When.POOL, act=told(answer))
        for name, answer in answers.items()
        for form in Form
    ]
    for name, status in _WATCHED.items():
        found += [Trial(name=name, form=form, when=When.POOL, act=_doom(status)) for form in Form]
    return found


def _doom(status: str) -> Act:
    return lambda chain: chain.doom(status)


def _of_the_block() -> list[Trial]:
    """Return a refusal in the block for each name that the runtime has, also where a preflight tells it."""
    pallets = {"CallFiltered": "System"}

    def refuse(name: str) -> Act:
        return lambda chain: chain.refuse(name, pallets.get(name, "SubtensorModule"))

    return [
        Trial(name=name, form=form, when=When.BLOCK, act=refuse(name))
        for name in REFUSALS
        if name not in POOL_REFUSALS | EXCLUDED.keys()
        for form in Form
    ]
