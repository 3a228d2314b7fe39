"""Answers of a node that are not true: refusals that did not happen, and bytes that make no sense."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_STATE_CALL = "state_call"
_STORAGE = ("state_getStorage", "state_getStorageAt")


@dataclass(kw_only=True, slots=True)
class Lie:
    """What is told instead of the truth."""

    method: str
    """A JSON-RPC method, a runtime API such as ``SubnetInfoRuntimeApi_get_metagraph``, or a storage key in hex."""
    tell: Callable[[Any], Any]
    """True answer, as a JSON-RPC object -> what is sent."""
    times: int | None = 1
    """How often it is told; None: until `ChainLies.end`."""
    acts: bool = True
    """The node does what it was asked before it lies about it."""
    told: int = 0


class ChainLies:
    """The lies a test has asked a node for."""

    def __init__(self) -> None:
        self._lies: list[Lie] = []

    def tell(
        self, method: str, answer: Callable[[Any], Any], *, times: int | None = 1, acts: bool = True
    ) -> Lie:
        """Send `answer(truth)` for the next `times` calls of `method`; return the lie, which counts itself."""
        lie = Lie(method=method, tell=answer, times=times, acts=acts)
        self._lies.append(lie)
        return lie

    def end(self) -> None:
        """Tell the truth from now on."""
        self._lies.clear()

    def about(self, request: Mapping[str, Any]) -> Lie | None:
        """Return the lie to be told about a request, and count it as told."""
        names = _names_of(request)
        for lie in self._lies:
            if lie.method in names and (lie.times is None or lie.told < lie.times):
                lie.told += 1
                return lie
        return None


def result(value: Any) -> Callable[[Any], Any]:
    """Answer with `value`, whatever is true."""
    return lambda truth: {"jsonrpc": "2.0", "id": truth["id"], "result": value}


def refusal(code: int, message: str, data: str = "") -> Callable[[Any], Any]:
    """Answer with a JSON-RPC error."""
    error = {"code": code, "message": message} | ({"data": data} if data else {})
    return lambda truth: {"jsonrpc": "2.0", "id": truth["id"], "error": error}


def custom_error(number: int) -> Callable[[Any], Any]:
    """Refuse an extrinsic as the subtensor pallet's checks do: 19 for a uid, 10 for a hotkey it does not know."""
    return refusal(1010, "Invalid Transaction", f"Custom error: {number}")


def _names_of(request: Mapping[str, Any]) -> set[str]:
    method = str(request.get("method"))
    given = request.get("params") or []
    parameters = list(given.values()) if isinstance(given, dict) else list(given)
    if method in (_STATE_CALL, *_STORAGE) and parameters:
        return {method, str(parameters[0])}
    return {method}
