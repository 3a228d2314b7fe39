"""What the hotkey has signed, epoch by epoch, on disk beside the key: the database may be lost or restored."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from gaia.validator.core.chain.epochs import LONGEST_ERA
from gaia.validator.core.weights.doubts import has_weights_of
from gaia.validator.utils.errors import ConfigurationError, ExitCode, OwnFailure, SigningRefused
from gaia.validator.utils.files import put_file
from gaia.validator.utils.signer_messages import digest_of

KEPT: Final = 512
"""Number of epochs that a record keeps; nothing is signed for an epoch before them."""
_MOST_COMMITS = 8
"""Largest number of sealed forms of one vector."""
_WHOLE: Final = 4
"""Number of newest epochs whose pairs are kept themselves."""
_MOST_RESOLVED = 64
"""Largest number of changes of the uids that one promise follows."""
_SETTING = "GAIA_SIGNED_EPOCHS_FILE"
_INCLUDED_WITHIN: Final = 2 * LONGEST_ERA
"""Blocks after the head that is noted for a signature, within which its extrinsic can be included.

A slow node may take half of them to answer before the signature.
"""
_FORK_BLOCKS: Final = 16
"""Blocks before that head in which it can be included, because the era begins at the finalised block."""


class _Signed(msgspec.Struct, kw_only=True):
    """One epoch, and the only vector that is signed for it."""

    epoch: int
    vector_sha256: str
    """Digest of the promise; of the uids and weights themselves in records of earlier releases."""
    commits: list[str] = []
    """Digests of its sealed forms."""
    resolved: list[str] = []
    """Digests of the [uid, u16] pairs that followed from the promise when it was signed or sealed."""
    sealed_of: dict[str, str] = {}
    """Sealed form -> which of these pairs it contains; absent for those of earlier releases."""
    version_keys: dict[str, int] = {}
    """Sealed form -> version key in it; absent for those of earlier releases."""
    sent: list[list[list[int]]] = []
    """These pairs themselves, while the epoch is one of the newest."""
    first_block: int | None = None
    """Head of the chain before the first signature; None: nothing was signed, or by an earlier release."""
    last_block: int | None = None
    """Head of the chain before the last signature."""

    @property
    def pairs(self) -> set[str]:
        """Digests of all pairs that may stand on chain for this epoch."""
        return {self.vector_sha256, *self.resolved}

    def may_be_in(self, block: int) -> bool:
        """Return whether an extrinsic with this vector can be in `block`."""
        if self.first_block is None or self.last_block is None:
            return False
        return self.first_block - _FORK_BLOCKS < block <= self.last_block + _INCLUDED_WITHIN


class _Record(msgspec.Struct, kw_only=True):
    hotkey: str
    netuid: int
    forgotten: int = -1
    """Newest epoch that was dropped from the record."""
    epochs: list[_Signed] = []
    """In ascending order."""
    foreign: int | None = None
    """Block of an update of our hotkey that another program made; the record is of no more use."""


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
        if refusal := _refusal_of(record, path, hotkey, netuid):
            os.close(lock)
            raise refusal
        return cls(path, record, lock)

    def close(self) -> None:
        """Let other processes open the record."""
        os.close(self._lock)

    def epochs_of(self, pairs: Sequence[Sequence[int]]) -> list[int]:
        """Return the epochs for which [uid, u16] pairs on chain were signed or sealed.

        The chain clears or moves some of them later, when miners are replaced or trimmed.
        """
        digest = digest_of(pairs)
        exact = [each.epoch for each in self._record.epochs if digest in each.pairs]
        return exact or [
            each.epoch for each in self._record.epochs if any(has_weights_of(pairs, one) for one in each.sent)
        ]

    def knows(self, epoch: int) -> bool:
        """Return whether a vector was promised for `epoch`."""
        return epoch in self._by_epoch

    def vector_of(self, epoch: int) -> str:
        """Return the digest of the vector that was promised for `epoch`, which the record knows."""
        return self._by_epoch[epoch].vector_sha256

    def holds_commit(self, epoch: int, commit: str) -> bool:
        """Return whether `commit` is the digest of a sealed form that was promised for `epoch`."""
        return self.knows(epoch) and commit in self._by_epoch[epoch].commits

    def sealed_of(self, epoch: int, commit: str) -> str | None:
        """Return the digest of the pairs in a sealed form; None if the record does not tell."""
        return self._by_epoch[epoch].sealed_of.get(commit) if self.knows(epoch) else None

    def version_key_of(self, epoch: int, commit: str) -> int | None:
        """Return the version key in a sealed form; None if the record does not tell."""
        return self._by_epoch[epoch].version_keys.get(commit) if self.knows(epoch) else None

    @property
    def path(self) -> Path:
        """File of the record."""
        return self._path

    @property
    def begun_at(self) -> int | None:
        """Head of the chain before the earliest signature that is known; None: there is none."""
        return min(
            (each.first_block for each in self._record.epochs if each.first_block is not None), default=None
        )

    def has_set(self, block: int, pairs: str) -> bool:
        """Return whether pairs with this digest, set plainly or revealed, can date from `block`."""
        return any(
            pairs in each.pairs and (each.commits or each.may_be_in(block)) for each in self._record.epochs
        )

    def has_sealed(self, epoch: int) -> bool:
        """Return whether a sealed form of the vector of `epoch` was promised."""
        return self.knows(epoch) and bool(self._by_epoch[epoch].commits)

    def call_foreign(self, block: int) -> ConfigurationError:
        """Store that the update of `block` is of another program, and return the error that ends the validator.

        A restart by a service manager must not take up the record again, so that only the operator can.

        Raises
        ------
        OwnFailure
            If it cannot be stored.
        """
        self._put(msgspec.structs.replace(self._record, foreign=block))
        return second_instance(block, self._path)

    def epochs_in(self, block: int) -> list[int]:
        """Return the epochs of which an extrinsic can be in `block`."""
        return [each.epoch for each in self._record.epochs if each.may_be_in(block)]

    def promise(
        self,
        epoch: int,
        vector_sha256: str,
        commit: str | None = None,
        block: int | None = None,
        pairs: Sequence[Sequence[int]] = (),
        version_key: int | None = None,
    ) -> None:
        """Store that this vector is the only one of `epoch`, and `commit` a sealed form of it.

        Parameters
        ----------
        pairs
            The [uid, u16] pairs that follow from it now; none: the vector names them itself. What an earlier
            release promised by its pairs may be signed again as these pairs.
        block
            Head of the chain, if a signature follows; None: only a promise.
        version_key
            The one in `commit`.

        Raises
        ------
        SigningRefused
            If another vector is promised for the epoch, or the epoch is older than the record.
        OwnFailure
            If the promise cannot be stored.
        """
        signed = self._by_epoch.get(epoch)
        digest = digest_of(pairs) if pairs else vector_sha256
        if signed is None:
            if epoch <= self._record.forgotten:
                raise SigningRefused(f"epoch {epoch} is older than the signer's record")
            signed = _Signed(epoch=epoch, vector_sha256=vector_sha256)
        elif signed.vector_sha256 not in (vector_sha256, digest):
            raise SigningRefused(another_vector(epoch))
        changed = _extended(signed, commit, pairs, digest)
        if commit is not None and version_key is not None:
            changed.version_keys = {**changed.version_keys, commit: version_key}
        if block is not None:
            changed.first_block = block if signed.first_block is None else min(block, signed.first_block)
            changed.last_block = block if signed.last_block is None else max(block, signed.last_block)
        if self.knows(epoch) and changed == signed:
            return
        kept = {**self._by_epoch, epoch: changed}
        if epoch in sorted(kept)[:-KEPT]:
            raise SigningRefused(f"epoch {epoch} is older than the signer's record")
        self._write(kept)

    def _write(self, by_epoch: dict[int, _Signed]) -> None:
        ordered = [by_epoch[epoch] for epoch in sorted(by_epoch)]
        dropped, kept = ordered[:-KEPT], ordered[-KEPT:]
        for each in kept[:-_WHOLE]:
            each.sent = []
        forgotten = max([self._record.forgotten, *(each.epoch for each in dropped)])
        self._put(msgspec.structs.replace(self._record, epochs=kept, forgotten=forgotten))
        self._by_epoch = {each.epoch: each for each in kept}

    def _put(self, record: _Record) -> None:
        try:
            put_file(self._path, msgspec.json.encode(record), sync=True)
        except OSError as error:
            raise OwnFailure(f"the record of signed epochs cannot be stored: {error.strerror}") from error
        self._record = record


def _extended(signed: _Signed, commit: str | None, pairs: Sequence[Sequence[int]], digest: str) -> _Signed:
    """Return the entry with these pairs, and with a sealed form of them."""
    resolved = signed.resolved if digest in signed.pairs else [*signed.resolved, digest]
    if len(resolved) > _MOST_RESOLVED:
        raise SigningRefused(f"epoch {signed.epoch} had {_MOST_RESOLVED} sets of uids already")
    whole = [list(pair) for pair in pairs]
    sent = signed.sent if not whole or whole in signed.sent else [*signed.sent, whole]
    signed = msgspec.structs.replace(signed, resolved=resolved, sent=sent)
    if commit is None or commit in signed.commits:
        return signed
    if len(signed.commits) >= _MOST_COMMITS:
        raise SigningRefused(f"the vector of epoch {signed.epoch} was sealed {len(signed.commits)} times")
    return msgspec.structs.replace(
        signed,
        commits=[*signed.commits, commit],
        sealed_of={**signed.sealed_of, commit: digest},
    )


def another_vector(epoch: int) -> str:
    """Return the sentence about a second vector for one epoch."""
    return f"another vector was signed for epoch {epoch}; each epoch gets only one"


def foreign_words(block: int) -> str:
    """Return the sentence about an update of our hotkey that another program made."""
    return f"the weights of block {block} are not of this validator; another program signs with its hotkey"


def second_instance(block: int, path: Path) -> ConfigurationError:
    """Return the error that ends a validator because of such an update."""
    remedy = f"stop the other one, then move {path} away once the present epoch is over, and start again"
    return ConfigurationError("GAIA_WALLET_HOTKEY", foreign_words(block), remedy, ExitCode.SECOND_INSTANCE)


def is_damaged(path: Path) -> bool:
    """Return whether there is a file that is no record; one that cannot be read is not called so."""
    try:
        _read(path)
    except ConfigurationError:
        return True
    except OSError:
        return False
    return False


def told_by(path: Path) -> tuple[str, int | None]:
    """Return the hotkey of the record at `path`, and the block of another program's update that it tells of.

    ("", None): there is no record that can be read.
    """
    try:
        record = _read(path)
    except (ConfigurationError, OSError):
        return "", None
    return (record.hotkey, record.foreign) if record is not None else ("", None)


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


def _refusal_of(record: _Record, path: Path, hotkey: str, netuid: int) -> ConfigurationError | None:
    """Return why a signer cannot go on with the record of `path`; None if it can."""
    if (record.hotkey, record.netuid) != (hotkey, netuid):
        owner = f"hotkey {record.hotkey} on subnet {record.netuid}"
        return ConfigurationError(_SETTING, f"{path} is the record of {owner}", "name another file")
    return None if record.foreign is None else second_instance(record.foreign, path)


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
