"""What the hotkey has signed, epoch by epoch, on disk beside the key: the database may be lost or restored."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

import msgspec

from gaia.validator.utils.errors import ConfigurationError, ExitCode, OwnFailure, SigningRefused
from gaia.validator.utils.files import put_file

KEPT: Final = 512
"""Number of epochs that a record keeps; nothing is signed for an epoch before them."""
_MOST_COMMITS = 8
"""Largest number of sealed forms of one vector."""
_SETTING = "GAIA_SIGNED_EPOCHS_FILE"


class _Signed(msgspec.Struct, kw_only=True):
    """One epoch, and the only vector that is signed for it."""

    epoch: int
    vector_sha256: str
    commits: list[str] = []
    """Digests of its sealed forms."""


class _Record(msgspec.Struct, kw_only=True):
    hotkey: str
    netuid: int
    forgotten: int = -1
    """Newest epoch that was dropped from the record."""
    epochs: list[_Signed] = []
    """In ascending order."""


class SignedEpochs:
    """Promises at most one vector for each epoch, and keeps its promises over restarts.

    A promise is on disk before the signature exists. A vector may be signed again, because an
    outcome may be unknown; another one for the same epoch may not.
    """

    def __init__(self, path: Path, record: _Record, lock: int) -> None:
        self._path = path
        self._record = record
        self._lock = lock
        self._by_epoch = {each.epoch: each for each in record.epochs}

    @classmethod
    def open(cls, path: Path, hotkey: str, netuid: int) -> SignedEpochs:
        """Return the record at `path`, which no other process can open meanwhile; a missing one is begun.

        Raises
        ------
        ConfigurationError
            If the file cannot be kept, is damaged, in use, or belongs to another hotkey or subnet.
        """
        try:
            lock = _locked(path)
            record = _read(path)
            if record is None:
                record = _Record(hotkey=hotkey, netuid=netuid)
                # A place that cannot keep it is found before the first signature.
                put_file(path, msgspec.json.encode(record), sync=True)
        except OSError as error:
            raise _not_kept(path, error) from error
        if (record.hotkey, record.netuid) != (hotkey, netuid):
            owner = f"hotkey {record.hotkey} on subnet {record.netuid}"
            raise ConfigurationError(_SETTING, f"{path} is the record of {owner}", "name another file")
        return cls(path, record, lock)

    def close(self) -> None:
        """Let other processes open the record."""
        os.close(self._lock)

    def names(self, vector_sha256: str) -> bool:
        """Return whether this vector was promised for any epoch of the record."""
        return any(each.vector_sha256 == vector_sha256 for each in self._record.epochs)

    def knows(self, epoch: int) -> bool:
        """Return whether a vector was promised for `epoch`."""
        return epoch in self._by_epoch

    def holds_commit(self, epoch: int, commit: str) -> bool:
        """Return whether `commit` is the digest of a sealed form that was promised for `epoch`."""
        return self.knows(epoch) and commit in self._by_epoch[epoch].commits

    def promise(self, epoch: int, vector_sha256: str, commit: str | None = None) -> None:
        """Store that this vector is the only one of `epoch`, and `commit` a sealed form of it.

        Raises
        ------
        SigningRefused
            If another vector is promised for the epoch, or the epoch is older than the record.
        OwnFailure
            If the promise cannot be stored.
        """
        signed = self._by_epoch.get(epoch)
        if signed is None:
            if epoch <= self._record.forgotten:
                raise SigningRefused(f"epoch {epoch} is older than the signer's record")
            signed = _Signed(epoch=epoch, vector_sha256=vector_sha256)
        elif signed.vector_sha256 != vector_sha256:
            raise SigningRefused(f"another vector was signed for epoch {epoch}; each epoch gets only one")
        commits = list(signed.commits)
        if commit is not None and commit not in commits:
            if len(commits) >= _MOST_COMMITS:
                raise SigningRefused(f"the vector of epoch {epoch} was sealed {len(commits)} times")
            commits.append(commit)
        if self.knows(epoch) and commits == signed.commits:
            return
        kept = {**self._by_epoch, epoch: msgspec.structs.replace(signed, commits=commits)}
        if epoch in sorted(kept)[:-KEPT]:
            raise SigningRefused(f"epoch {epoch} is older than the signer's record")
        self._write(kept)

    def _write(self, by_epoch: dict[int, _Signed]) -> None:
        ordered = [by_epoch[epoch] for epoch in sorted(by_epoch)]
        dropped, kept = ordered[:-KEPT], ordered[-KEPT:]
        forgotten = max([self._record.forgotten, *(each.epoch for each in dropped)])
        record = msgspec.structs.replace(self._record, epochs=kept, forgotten=forgotten)
        try:
            put_file(self._path, msgspec.json.encode(record), sync=True)
        except OSError as error:
            raise OwnFailure(f"the record of signed epochs cannot be stored: {error.strerror}") from error
        self._record, self._by_epoch = record, {each.epoch: each for each in kept}


def is_damaged(path: Path) -> bool:
    """Return whether there is a file that is no record; one that cannot be read is not called so."""
    try:
        _read(path)
    except ConfigurationError:
        return True
    except OSError:
        return False
    return False


def lock_of(path: Path) -> Path:
    """Return the file beside the record that its signer locks."""
    return path.with_name(f"{path.name}.lock")


def _locked(path: Path) -> int:
    """Return the descriptor of a lock beside the record, which lasts as long as it is open."""
    lock = os.open(lock_of(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        problem = f"another validator signs with the record {path}"
        remedy = "stop it, because two validators with one hotkey set two vectors"
        raise ConfigurationError(_SETTING, problem, remedy, ExitCode.DATA_DIR_IN_USE) from error
    return lock


def _not_kept(path: Path, error: OSError) -> ConfigurationError:
    problem = f"the record of signed epochs, {path}, cannot be kept ({error.strerror or error})"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ConfigurationError(_SETTING, problem, "free some space", ExitCode.DATA_DIR_FULL)
    return ConfigurationError(_SETTING, problem, "name a file that the validator's user can write")


def _read(path: Path) -> _Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Record)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        remedy = "move it away once the present epoch is over, and start again"
        raise ConfigurationError(_SETTING, f"{path} is damaged ({error})", remedy) from error
