"""Compiles functions once, and caches the machine code on disk if a folder is writable."""

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
    """The cached code is damaged, or was made by other versions."""


def compiled(function: Callable[..., None], signature: Any) -> Compiled:
    """Return `function` compiled for `signature`, from the disk cache if possible.

    Arithmetic is as written: nothing is reordered or contracted. A cache entry has a seal, which is
    a digest of all its bytes, because numba runs any code that it finds. If the seal is wrong, this
    is logged, and the function is compiled again and replaces the entry as a whole. If no folder is
    writable, the code is compiled for this process only.
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
    except Exception as error:  # noqa: BLE001 - a cache entry can be broken in any way, and is not needed
        _report("compiled_code_unusable", entry, error)
    return _made_and_kept(function, signature, entry)


def _loaded(function: Callable[..., None], signature: Any, entry: Path) -> Compiled:
    """Return the code cached in `entry`.

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
    """Compile in a separate folder, which then replaces `entry` in one step."""
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
    """Load `function` from `kept_in`, or compile it and write it there."""
    earlier, _config.CACHE_DIR = _config.CACHE_DIR, str(kept_in or "")
    try:
        made: Compiled = numba.njit(signature, cache=kept_in is not None, nogil=True, error_model="numpy")(
            function
        )
        return made
    finally:
        _config.CACHE_DIR = earlier


def _put(draft: Path, entry: Path) -> None:
    """Replace `entry` by `draft`; if several processes do so at once, any of them may win."""
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
    """Remove the drafts of processes that were killed while they compiled."""
    for draft in place.glob(f"{_DRAFT}*"):
        if time.time() - draft.stat().st_mtime > _DRAFT_AGE_S:
            shutil.rmtree(draft, ignore_errors=True)


def _seal_of(folder: Path) -> str:
    """Return a digest of the names and contents of all files except the seal."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _SEAL):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _entry_name(function: Callable[..., None], signature: Any) -> str:
    """Return a name unique to the function, signature, source, processor and versions."""
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
    """Return the first writable folder; None if there is none.

    Its name holds the digest of the source, because numba itself compares only the size and
    time of a file, which two releases may share.
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
    """Yield the candidate folders: `NUMBA_CACHE_DIR`, beside the source, the user's cache."""
    if _config.CACHE_DIR:
        yield Path(_config.CACHE_DIR)
    yield source.parent / "__pycache__"
    try:
        yield Path.home() / ".cache" / "gaia"
    except RuntimeError:
        return  # a user without a home
