"""All errors raised on purpose, by who must act."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import IntEnum
from typing import ClassVar

from gaia.validator.utils.secrecy import without_secrets


class ExitCode(IntEnum):
    """Exit status of the validator, for systemd units and operators' scripts."""

    OK = 0
    CRASH = 1
    BAD_SETTING = 2
    DATABASE_UNREACHABLE = 10
    PORT_BUSY = 11
    DATA_DIR_FULL = 12
    DATA_DIR_READ_ONLY = 13
    DATA_DIR_IN_USE = 14
    HOTKEY_NOT_REGISTERED = 15
    HOTKEY_MISSING = 16
    CHAIN_UNREACHABLE = 17
    CRASH_LOOP = 18
    SANDBOX_UNAVAILABLE = 19
    SECOND_INSTANCE = 20
    DATABASE_MISFIT = 21


class GaiaError(Exception):
    """Base of all errors raised on purpose; their texts are logged, stored and shown, so no secret is in them."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(without_secrets(each) if isinstance(each, str) else each for each in arguments))


class TransientError(GaiaError):
    """Temporary failure: retry with backoff."""


class OwnFailure(TransientError):
    """Our database, signer, pool or disk failed: wait and try again; no miner's attempt is spent."""


class DeadlineExceeded(OwnFailure):
    """A unit of work did not end before its deadline."""


class SigningRefused(TransientError):
    """The signer's policy forbids a signature; nothing was signed."""


class WeightsRefused(TransientError):
    """The chain refused weights that were signed.

    Parameters
    ----------
    name
        Name of the refusal; `utils.chain.refusals` says what it means.
    """

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class WeightsImpossible(WeightsRefused):
    """The chain would refuse weights, as our reading of it tells; nothing was signed."""


class SubnetMissing(TransientError):
    """The chain says that our subnet does not exist; believed only at the start, after agreeing readings."""


class NodesDisagree(TransientError):
    """The nodes of the chain contradict one another, and no answer is that of most of them."""


class ItemMissing(TransientError):
    """The chain's runtime has no such storage item; its next upgrade may bring it."""


class BlockUnknown(TransientError):
    """The node does not have this block: it is too new for it, or none."""


class NotYetAvailable(GaiaError):
    """The data are not published yet: try again at `retry_at`; no attempt is spent."""

    def __init__(self, message: str, retry_at: datetime) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class MissedByUs(GaiaError):
    """The time of a step passed while the validator was away: the miner is excused."""


class MinerFault(GaiaError):
    """The miner is at fault: reject the forecast, and never retry."""

    reason: ClassVar[str] = "protocol"
    """Word under which such faults are counted."""


class Refused(MinerFault):
    """The miner does not make a forecast."""

    reason = "refused"


class JobFailed(MinerFault):
    """The miner says that it failed to make the forecast."""

    reason = "job_failed"


class LateManifest(MinerFault):
    """No manifest could be frozen within the freeze window."""

    reason = "late"


class RegisteredAnew(MinerFault):
    """The hotkey was registered anew after the run opened, so it is another miner."""

    reason = "registration"


class InvalidManifest(MinerFault):
    """The manifest is unsigned, unreadable, incomplete, or another than the frozen one."""

    reason = "manifest"


class DigestMismatch(MinerFault):
    """A file is not the one that the frozen manifest promised."""

    reason = "digest"


class InvalidMetadata(MinerFault):
    """The metadata of an array break the contract."""

    reason = "metadata"


class Undecodable(MinerFault):
    """A chunk cannot be decoded."""

    reason = "encoding"


class ImplausibleValues(MinerFault):
    """A field holds values that are not finite or not weather."""

    reason = "values"


MINER_FAULTS: tuple[type[MinerFault], ...] = (MinerFault, *MinerFault.__subclasses__())
"""A fault of a miner without a kind of its own, and all kinds."""


class MinerUnreachable(GaiaError):
    """The miner did not answer; a later attempt within the window may succeed."""


class QuarantinedError(GaiaError):
    """A unit crashed every worker that ran it."""


class UnknownHandler(GaiaError):
    """A unit names an unknown handler."""


class ConfigurationError(GaiaError):
    """The operator must act: one sentence names the setting and the remedy, and the Supervisor halts.

    Parameters
    ----------
    setting
        Environment name of the setting at fault, such as ``GAIA_DATABASE_URL``.
    problem
        The problem, without a final full stop.
    remedy
        What the operator must do, as an imperative without a final full stop.
    """

    def __init__(
        self, setting: str, problem: str, remedy: str, exit_code: ExitCode = ExitCode.BAD_SETTING
    ) -> None:
        super().__init__(f"{setting}: {problem}; {remedy}.")
        self.setting = setting
        self.problem = without_secrets(problem)
        self.remedy = remedy
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[str, str, str, ExitCode]]:
        return type(self), (self.setting, self.problem, self.remedy, self.exit_code)


_SENT: tuple[type[GaiaError], ...] = (
    TransientError,
    OwnFailure,
    DeadlineExceeded,
    MissedByUs,
    SigningRefused,
    WeightsRefused,
    WeightsImpossible,
    SubnetMissing,
    NodesDisagree,
    BlockUnknown,
    ItemMissing,
    *MINER_FAULTS,
    MinerUnreachable,
    QuarantinedError,
    UnknownHandler,
)
_BY_NAME = {kind.__name__: kind for kind in _SENT}


def rebuild(
    error_type: str, message: str, retry_at: float | None = None, refusal: str | None = None
) -> GaiaError:
    """Return the error whose name and text another process sent.

    An unknown name is a bug in that process. It becomes a `TransientError` with the name, so that it
    is retried and then quarantined. A lack of memory is an `OwnFailure`.
    """
    if error_type == NotYetAvailable.__name__ and retry_at is not None:
        return NotYetAvailable(message, datetime.fromtimestamp(retry_at, UTC))
    kind = _BY_NAME.get(error_type)
    if kind is not None and issubclass(kind, WeightsRefused):
        return kind(message, refusal or "")
    if kind is not None:
        return kind(message)
    if error_type == MemoryError.__name__:
        return OwnFailure(f"{error_type}: {message}")
    return TransientError(f"{error_type}: {message}")
