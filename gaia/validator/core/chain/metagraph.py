"""Keeps the newest metagraph, and decides which readings are accepted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gaia.validator.utils.errors import (
    ConfigurationError,
    ExitCode,
    OwnFailure,
    SubnetMissing,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gaia.validator.utils.chain.metagraph import Metagraph

_AGREEING_READINGS = 3
_RETRY_S, _REREAD_S = 0.2, 1.0
_MORE_FOR_OURS = 3.0


class MetagraphSource(Protocol):
    """Reads metagraphs from the chain."""

    async def read_metagraph(self) -> Metagraph: ...


class MetagraphKeeper:
    """Keeps the newest accepted metagraph.

    Parameters
    ----------
    accepted
        Called with each accepted metagraph.
    """

    def __init__(self, source: MetagraphSource, accepted: Callable[[Metagraph], None] | None = None) -> None:
        self._source = source
        self._accepted = accepted
        self._latest: Metagraph | None = None
        self._absences = 0
        """Readings in succession that lack our hotkey."""

    def latest(self) -> Metagraph | None:
        return self._latest

    async def refresh(self) -> None:
        """Read the metagraph again.

        Raises
        ------
        TransientError
            If it cannot be read, or lacks our hotkey although an earlier one had it. The earlier
            one stays until three readings in succession agree, because one answer proves nothing.
        """
        absences, self._absences = self._absences, 0
        fresh = await self._source.read_metagraph()
        self._absences = absences + 1 if fresh.own_uid is None else 0
        known = self._latest
        is_news = fresh.own_uid is None and known is not None and known.own_uid is not None
        if is_news and self._absences < _AGREEING_READINGS:
            raise TransientError(f"the chain says that our hotkey is not registered on subnet {fresh.netuid}")
        self._latest = fresh
        if self._accepted is not None:
            self._accepted(fresh)

    async def first(self, timeout_s: float) -> Metagraph:
        """Read the first metagraph, with attempts for `timeout_s`.

        A failure of our signer says nothing of the chain, and the Supervisor replaces a signer that is
        silent. So it counts only once three readings in succession fail so, and `timeout_s` has passed three times.

        Raises
        ------
        ConfigurationError
            If the chain cannot be reached in that time. Also if the last readings agree that our
            subnet does not exist, that our hotkey is not registered, or that our signer fails.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        agreeing, verdict = 0, None
        while True:
            before = verdict
            verdict = await self._verdict()
            if verdict is None:
                assert self._latest is not None
                return self._latest
            agreeing = agreeing + 1 if before is not None and before.kind == verdict.kind else 1
            is_certain = verdict.is_told_by_one or agreeing >= _AGREEING_READINGS
            if is_certain and loop.time() - begun > timeout_s * (_MORE_FOR_OURS if verdict.is_ours else 1.0):
                raise verdict.error
            await asyncio.sleep(
                _RETRY_S if verdict.is_out_of_reach else min(_REREAD_S, timeout_s / _AGREEING_READINGS)
            )

    async def _verdict(self) -> _Verdict | None:
        """Read once; return what to report if it persists, or None if all is well."""
        try:
            await self.refresh()
        except SubnetMissing as error:
            return _Verdict(ConfigurationError("GAIA_NETUID", str(error), "choose one that does"))
        except OwnFailure as error:
            return _Verdict(
                _out_of_reach(f"the chain signer does not read the chain ({error})"), is_ours=True
            )
        except TransientError as error:
            return _Verdict(_out_of_reach(f"the chain cannot be reached ({error})"))
        assert self._latest is not None
        if self._latest.own_uid is not None:
            return None
        return _Verdict(
            ConfigurationError(
                "GAIA_WALLET_HOTKEY",
                f"hotkey {self._latest.own_hotkey} is not registered on subnet {self._latest.netuid}",
                "register it, or name the registered one",
                ExitCode.HOTKEY_NOT_REGISTERED,
            )
        )


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What one reading says."""

    error: ConfigurationError
    is_ours: bool = False
    """Whether our signer failed."""

    @property
    def kind(self) -> tuple[ExitCode, bool]:
        return self.error.exit_code, self.is_ours

    @property
    def is_out_of_reach(self) -> bool:
        return self.error.exit_code is ExitCode.CHAIN_UNREACHABLE

    @property
    def is_told_by_one(self) -> bool:
        """Whether one reading is enough: no answer is no lie."""
        return self.is_out_of_reach and not self.is_ours


def _out_of_reach(problem: str) -> ConfigurationError:
    return ConfigurationError(
        "GAIA_CHAIN_ENDPOINT", problem, "correct the address or start the node", ExitCode.CHAIN_UNREACHABLE
    )
