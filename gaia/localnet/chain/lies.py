"""False answers of a node: refusals that did not happen, and malformed bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_STATE_CALL = "state_call"
_STORAGE = ("state_getStorage", "state_getStorageAt")


@dataclass(kw_only=True, slots=True)
class Lie:
    """A rule that replaces true answers by false ones."""

    method: str
    """A JSON-RPC method, a runtime API such as ``SubnetInfoRuntimeApi_get_metagraph``, or a storage key in hex."""
    tell: Callable[[Any], Any]
    """True answer, as a JSON-RPC object -> what is sent; None sends nothing."""
    times: int | None = 1
    """Number of answers that it replaces; None: all until `ChainLies.end`."""
    acts: bool = True
    """Whether the node carries out the request before it lies about it."""
    told: int = 0


class ChainLies:
    """The lies that a test has requested from a node."""

    def __init__(self) -> None:
        self._lies: list[Lie] = []

    def tell(
        self, method: str, answer: Callable[[Any], Any], *, times: int | None = 1, acts: bool = True
    ) -> Lie:
        """Replace the answers to the next `times` calls of `method` by `answer(truth)`; return the lie."""
        lie = Lie(method=method, tell=answer, times=times, acts=acts)
        self._lies.append(lie)
        return lie

    def end(self) -> None:
        """End all lies."""
        self._lies.clear()

    def about(self, request: Mapping[str, Any]) -> Lie | None:
        """Return the lie that applies to a request, and count its use; None if none applies."""
        names = _names_of(request)
        for lie in self._lies:
            if lie.method in names and (lie.times is None or lie.told < lie.times):
                lie.told += 1
                return lie
        return None


def result(value: Any) -> Callable[[Any], Any]:
    """Return a lie that answers with `value`."""
    return lambda truth: {"jsonrpc": "2.0", "id": truth["id"], "result": value}


def silence(_truth: Any) -> None:
    """Answer nothing at all, a lie of its own."""


def refusal(code: int, message: str, data: str = "") -> Callable[[Any], Any]:
    """Return a lie that answers with a JSON-RPC error."""
    error = {"code": code, "message": message} | ({"data": data} if data else {})
    return lambda truth: {"jsonrpc": "2.0", "id": truth["id"], "error": error}


def custom_error(number: int) -> Callable[[Any], Any]:
    """Return a lie that refuses an extrinsic like the subtensor pallet: 19 unknown uid, 10 unknown hotkey."""
    return refusal(1010, "Invalid Transaction", f"Custom error: {number}")


def _names_of(request: Mapping[str, Any]) -> set[str]:
    method = str(request.get("method"))
    given = request.get("params") or []
    parameters = list(given.values()) if isinstance(given, dict) else list(given)
    if method in (_STATE_CALL, *_STORAGE) and parameters:
        return {method, str(parameters[0])}
    return {method}
