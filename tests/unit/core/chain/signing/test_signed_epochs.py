"""The record of signed epochs: what it promises outlives the signer, the journal and a full disk."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gaia.validator.core.chain.signing import signed_epochs
from gaia.validator.core.chain.signing.signed_epochs import KEPT, SignedEpochs
from gaia.validator.utils.errors import ConfigurationError, ExitCode, OwnFailure, SigningRefused
from gaia.validator.utils.signer_messages import digest_of

_OWN, _NETUID = "5Own", 57


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "signed.json"


def _open(path: Path, hotkey: str = _OWN) -> SignedEpochs:
    """Open the record as a signer that starts after the one before has ended."""
    record = SignedEpochs.open(path, hotkey, _NETUID)
    record.close()
    return record


def test_vector_of_an_epoch_may_be_signed_again_and_another_may_not(path: Path) -> None:
    _open(path).promise(7, "aa")

    _open(path).promise(7, "aa")
    with pytest.raises(SigningRefused, match="another vector was signed for epoch 7"):
        _open(path).promise(7, "bb")
    _open(path).promise(8, "bb")


def test_promise_is_on_disk_before_it_is_given(path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path;"
        "from gaia.validator.core.chain.signing.signed_epochs import SignedEpochs;"
        "SignedEpochs.open(Path(sys.argv[1]), '5Own', 57).promise(7, 'aa');"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(path)], check=False)

    assert killed.returncode == -9
    with pytest.raises(SigningRefused):
        _open(path).promise(7, "bb")


def test_sealed_forms_of_one_vector_are_kept_and_bounded(path: Path) -> None:
    signed = _open(path)
    for number in range(8):
        signed.promise(7, "aa", f"commit {number}")
    with pytest.raises(SigningRefused, match="sealed 8 times"):
        signed.promise(7, "aa", "one more")

    again = _open(path)
    assert again.holds_commit(7, "commit 3")
    assert not again.holds_commit(7, "one more")
    assert not again.holds_commit(8, "commit 3")


def test_epoch_before_the_record_gets_nothing_although_a_lying_chain_asked_for_a_far_one(path: Path) -> None:
    signed = _open(path)
    signed.promise(10**9, "a lie")
    for epoch in range(100, 100 + KEPT + 5):
        signed.promise(epoch, "aa")

    with pytest.raises(SigningRefused, match="epoch 103 is older than the signer's record"):
        _open(path).promise(103, "bb")
    _open(path).promise(100 + KEPT + 5, "aa")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"hotkey": 7}'])
def test_damaged_record_stops_the_signer_with_a_remedy(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(ConfigurationError, match="GAIA_SIGNED_EPOCHS_FILE: .*is damaged.*; move it away"):
        _open(path)


def test_record_of_another_hotkey_is_not_used(path: Path) -> None:
    _open(path, "5Other").promise(7, "aa")

    with pytest.raises(ConfigurationError, match="is the record of hotkey 5Other on subnet 57"):
        _open(path)


def test_place_that_cannot_keep_the_record_is_found_before_the_first_signature(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be kept"):
        _open(tmp_path / "missing" / "signed.json")
    with pytest.raises(ConfigurationError, match="cannot be kept"):
        _open(tmp_path)


def test_record_is_held_by_one_signer(path: Path) -> None:
    first = SignedEpochs.open(path, _OWN, _NETUID)
    with pytest.raises(ConfigurationError, match="another validator signs with the record") as raised:
        SignedEpochs.open(path, _OWN, _NETUID)
    assert raised.value.exit_code is ExitCode.DATA_DIR_IN_USE

    first.close()

    _open(path)


def test_epoch_that_the_record_would_drop_at_once_is_refused(path: Path) -> None:
    signed = _open(path)
    for epoch in range(10**6, 10**6 + KEPT):
        signed.promise(epoch, "of another chain")

    with pytest.raises(SigningRefused, match="epoch 5 is older than the signer's record"):
        signed.promise(5, "aa")


def test_full_disk_at_the_start_may_be_waited_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(signed_epochs, "put_file", fail)
    with pytest.raises(ConfigurationError, match="No space left") as raised:
        _open(path)
    assert raised.value.exit_code is ExitCode.DATA_DIR_FULL


def test_full_disk_gives_no_promise_and_a_later_one_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = _open(path)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(signed_epochs, "put_file", fail)
        with pytest.raises(OwnFailure, match="cannot be stored"):
            signed.promise(7, "aa")
    assert not signed.knows(7)

    signed.promise(7, "aa")
    assert signed.knows(7)


_FIRST, _SECOND = [[1, 65535], [2, 9]], [[1, 65535]]


def test_pairs_that_follow_from_a_promise_are_of_its_epoch(path: Path) -> None:
    _open(path).promise(7, "promise", block=100, pairs=_FIRST)
    _open(path).promise(7, "promise", "a seal", block=110, pairs=_SECOND)

    signed = _open(path)
    assert [signed.epochs_of(pairs) for pairs in (_FIRST, _SECOND, [[4, 300]])] == [[7], [7], []]
    assert signed.has_set(105, digest_of(_FIRST))
    assert (signed.sealed_of(7, "a seal"), signed.sealed_of(7, "another"), signed.sealed_of(8, "a seal")) == (
        digest_of(_SECOND),
        None,
        None,
    )


def test_what_a_trim_leaves_of_signed_pairs_is_known_while_they_are_new(path: Path) -> None:
    sent = [[1, 300], [3, 65535], [7, 40000], [9, 9]]
    left = [[2, 65535], [6, 40000], [7, 9]]
    _open(path).promise(7, "promise", block=100, pairs=sent)

    assert _open(path).epochs_of(left) == [7]
    assert _open(path).epochs_of([[2, 65535], [6, 40001], [7, 9]]) == []
    assert _open(path).epochs_of([[2, 65535]]) == []

    for epoch in range(8, 12):
        _open(path).promise(epoch, f"promise {epoch}", pairs=[[1, 65535]])
    assert _open(path).epochs_of(left) == []
    assert _open(path).epochs_of(sent) == [7]


def test_vector_of_an_earlier_release_is_the_promise_that_pays_the_same_uids(path: Path) -> None:
    """An earlier release stored the digest of the pairs themselves."""
    _open(path).promise(7, digest_of(_FIRST))

    _open(path).promise(7, "promise", pairs=_FIRST)
    for pairs in (_SECOND, []):
        with pytest.raises(SigningRefused, match="another vector"):
            _open(path).promise(7, "promise", pairs=pairs)


def test_changes_of_uids_that_one_promise_follows_are_bounded(path: Path) -> None:
    signed = _open(path)
    for number in range(64):
        signed.promise(7, "promise", pairs=[[number, 65535]])

    with pytest.raises(SigningRefused, match="64 sets of uids"):
        signed.promise(7, "promise", pairs=[[64, 65535]])
    signed.promise(7, "promise", pairs=[[5, 65535]])
