"""Compiles functions once and keeps the machine code on disk, wherever there is a place for it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numba

Compiled = Callable[..., None]

_config: Any = numba.config


def compiled(function: Callable[..., None], signature: Any) -> Compiled:
    """Return `function` as machine code for `signature`, from disk if it was compiled before.

    Arithmetic is as written: nothing is reordered or contracted. Where nothing can be
    kept, or what was kept is damaged, it is compiled anew.
    """
    place = _place(Path(function.__code__.co_filename))
    if place is not None:
        earlier, _config.CACHE_DIR = _config.CACHE_DIR, str(place)
        try:
            return _made(function, signature, cache=True)
        except numba.core.errors.NumbaError:
            raise  # the function is at fault
        except Exception:  # noqa: BLE001 - a cache can be broken in any way, and none is needed
            return _made(function, signature, cache=False)
        finally:
            _config.CACHE_DIR = earlier
    return _made(function, signature, cache=False)


def _made(function: Callable[..., None], signature: Any, *, cache: bool) -> Compiled:
    made: Compiled = numba.njit(signature, cache=cache, nogil=True, error_model="numpy")(function)
    return made


@cache
def _place(source: Path) -> Path | None:
    """Return the first folder that is ours to write; None: there is none.

    It bears the digest of the source. numba itself only looks at a file's size and
    time, which two releases may share.
    """
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    for parent in _parents(source):
        place = parent / f"compiled-{digest}"
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place, os.W_OK):
            return place
    return None


def _parents(source: Path) -> Iterator[Path]:
    """`NUMBA_CACHE_DIR`, beside the source, the user's cache."""
    if _config.CACHE_DIR:
        yield Path(_config.CACHE_DIR)
    yield source.parent / "__pycache__"
    try:
        yield Path.home() / ".cache" / "gaia"
    except RuntimeError:
        return  # a user without a home
