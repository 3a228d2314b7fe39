"""Reads and decodes the bodies of requests, and builds the bodies of answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
from starlette.responses import Response

from gaia.miner.sessions import RefusedError

if TYPE_CHECKING:
    from starlette.requests import Request

_MAX_BODY_BYTES = 256 * 1024
R = TypeVar("R", bound=msgspec.Struct)


async def body_of(request: Request) -> bytes:
    """Return the body of a request.

    Raises
    ------
    RefusedError
        If it is too large (413).
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_BODY_BYTES:
            raise RefusedError(413, "Request is too large")
    return bytes(body)


def decoded(content: bytes, kind: type[R]) -> R:
    """Return the decoded message.

    Raises
    ------
    RefusedError
        If it is not JSON (400).
    ValidationError
        If it is a different message.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError:
        raise
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "Body is not JSON") from error


def reply_of(reply: msgspec.Struct) -> Response:
    """Return the response that carries a message."""
    return Response(msgspec.json.encode(reply), media_type="application/json")


def read_below(root: Path, path: str) -> bytes | None:
    """Return the file `path` below `root`; None if it does not exist or lies outside."""
    try:
        target = (root / path).resolve()
        return target.read_bytes() if target.is_relative_to(root) else None
    except (OSError, ValueError):
        return None
