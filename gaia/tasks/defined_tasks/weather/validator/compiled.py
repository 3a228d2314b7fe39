"""Compiles functions once and keeps the machine code on disk, wherever there is a place for it."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.registry import cpu_target

Compiled = Callable[..., None]

_SEAL = "SEAL"
_DRAFT = "making-"
_DRAFT_AGE_S = 3600.0

_config: Any = numba.config
_log = logging.getLogger("application")


class _Unusable(Exception):
    """What was kept is not what was put there, or not for us."""


def compiled(function: Callable[..., None], signature: Any) -> Compiled:
    """Return `function` as machine code for `signature`, from disk if it was compiled before.

    Arithmetic is as written: nothing is reordered or contracted. What is kept bears a seal,
    a digest of all its bytes, for numba would run whatever it finds. Where the seal does not
    fit, that is logged, the function is compiled anew and what was kept is replaced as a
    whole. Where nothing can be kept, the function is compiled for this process alone.
    """
    place = _place(Path(function.__code__.co_filename))
    if place is None:
        return _made(function, signature)
    entry = place / _entry_name(function, signature)
    try:
        if entry.is_dir():
            return _loaded(function, signature, entry)
    except numba.core.errors.NumbaError:
        raise  # the function is at fault
    except Exception as error:  # noqa: BLE001 - what was kept can be broken in any way, and is not needed
        _report("compiled_code_unusable", entry, error)
    return _made_and_kept(function, signature, entry)


def _loaded(function: Callable[..., None], signature: Any, entry: Path) -> Compiled:
    """Return what was kept in `entry`.

    Raises
    ------
    _Unusable
        If it is damaged, or numba refuses it.
    OSError
        If it cannot be read.
    """
    if not (entry / _SEAL).is_file():
        raise _Unusable("it has no seal")
    if (entry / _SEAL).read_bytes() != _seal_of(entry).encode():
        raise _Unusable("its seal does not fit")
    made = _made(function, signature, entry)
    if not _was_loaded(made):
        raise _Unusable("other versions made it")
    return made


def _was_loaded(made: Any) -> bool:
    return bool(made.stats.cache_hits)


def _made_and_kept(function: Callable[..., None], signature: Any, entry: Path) -> Compiled:
    """Compile in a folder of our own, which then takes the place of `entry` in one step."""
    draft = entry.with_name(f"{_DRAFT}{uuid.uuid4().hex}")
    try:
        _remove_old_drafts(entry.parent)
        draft.mkdir()
        made = _made(function, signature, draft)
        (draft / _SEAL).write_text(_seal_of(draft))
        _put(draft, entry)
    except numba.core.errors.NumbaError:
        raise
    except Exception as error:  # noqa: BLE001 - a full disk, a sandbox, a source without a file: none is needed
        _report("compiled_code_not_kept", entry, error)
        return _made(function, signature)
    else:
        return made
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _made(function: Callable[..., None], signature: Any, kept_in: Path | None = None) -> Compiled:
    """Compile `function`, or load it from `kept_in`; what is compiled is written there."""
    earlier, _config.CACHE_DIR = _config.CACHE_DIR, str(kept_in or "")
    try:
        made: Compiled = numba.njit(signature, cache=kept_in is not None, nogil=True, error_model="numpy")(
            function
        )
        return made
    finally:
        _config.CACHE_DIR = earlier


def _put(draft: Path, entry: Path) -> None:
    """Move `draft` to where `entry` is; of several processes that do so at once any one may win."""
    try:
        draft.rename(entry)
    except OSError:
        if not entry.is_dir():
            raise
        former = entry.with_name(f"{_DRAFT}{uuid.uuid4().hex}")
        entry.rename(former)
        try:
            draft.rename(entry)
        finally:
            shutil.rmtree(former, ignore_errors=True)


def _remove_old_drafts(place: Path) -> None:
    """Remove what processes left that were killed while they compiled."""
    for draft in place.glob(f"{_DRAFT}*"):
        if time.time() - draft.stat().st_mtime > _DRAFT_AGE_S:
            shutil.rmtree(draft, ignore_errors=True)


def _seal_of(folder: Path) -> str:
    """Return a digest of the names and contents of all files but the seal."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _SEAL):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _entry_name(function: Callable[..., None], signature: Any) -> str:
    """Return a name that no other function, signature, source, processor or version shares."""
    code = function.__code__
    processor = cpu_target.target_context.codegen().magic_tuple()
    versions = (sys.implementation.cache_tag, numba.__version__, llvmlite.__version__)
    of = (code.co_filename, code.co_firstlineno, str(signature), processor, versions)
    return f"{function.__name__}-{hashlib.sha256(repr(of).encode()).hexdigest()[:16]}"


def _report(event: str, entry: Path, error: Exception) -> None:
    reason = str(error) if isinstance(error, _Unusable) else f"{type(error).__name__}: {error}"
    _log.warning(event, extra={"values": {"path": str(entry), "reason": reason}})


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
