"""Whose update of our hotkey is on chain: what the record explains is ours, and nothing else is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from gaia.validator.core.chain.commits import Commits
from gaia.validator.core.chain.signing.own_updates import OwnUpdates
from gaia.validator.core.chain.signing.signed_epochs import SignedEpochs
from gaia.validator.core.chain.signing.signing_policy import SigningPolicy, digest_of_commit
from gaia.validator.utils.errors import ConfigurationError, ExitCode, SigningRefused, TransientError
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.signer_messages import digest_of

_OWN = Hotkey("5Own")
_OURS, _OTHER = [[1, 65535]], [[2, 65535]]
_SEALED, _OTHER_SEALED = b"\xff\x01", b"\xff\x02"


@dataclass(frozen=True)
class State:
    """What the chain holds of us from one block on."""

    updated: int = 900
    registered: int = 50
    commit_reveal: bool = False
    pairs: list[list[int]] = field(default_factory=lambda: _OURS)
    queue: tuple[tuple[str, int, str, int], ...] = ()
    miner_registered: int = 50
    """Block of the registration of every other uid."""


class Chain:
    """Stands for `ChainReader`: block -> state from it on; a block before `known_from` is forgotten."""

    is_confirmed = True

    def __init__(self, **states: State) -> None:
        self.states = {int(block.removeprefix("b")): state for block, state in states.items()}
        self.known_from = 0

    def _at(self, block: int | None) -> State:
        assert block is not None
        if block < self.known_from:
            raise TransientError(f"State already discarded for {block}")
        return self.states[max(each for each in self.states if each <= block)]

    async def own_uid_of(self, netuid: int, hotkey: str, block: int | None = None) -> int:
        self._at(block)
        return 0

    async def last_update(self, netuid: int, uid: int, block: int | None = None) -> int:
        return self._at(block).updated

    async def pairs(self, netuid: int, uid: int, block: int | None = None) -> list[list[int]]:
        return self._at(block).pairs

    async def query(self, item: str, *parameters: Any, block: int | None = None) -> Any:
        state = self._at(block)
        if item == "TimelockedWeightCommits":
            return [row for row in state.queue if parameters[1] == 6]
        if item == "BlockAtRegistration":
            return state.registered if parameters[1] == 0 else state.miner_registered
        return {
            "CommitRevealWeightsEnabled": state.commit_reveal,
            "SubnetEpochIndex": 7,
            "RevealPeriodEpochs": 1,
        }[item]


@pytest.fixture
def record(tmp_path: Path) -> SignedEpochs:
    """A record in which the vector of epoch 6 was signed with the chain at block 1000."""
    record = SignedEpochs.open(tmp_path / "signed.json", _OWN, 57)
    record.close()
    record.promise(6, digest_of(_OURS), block=1000)
    return record


@pytest.fixture
def sealed(record: SignedEpochs) -> SignedEpochs:
    """That record, if the vector was committed and not set."""
    record.promise(6, digest_of(_OURS), digest_of_commit(_SEALED, 9))
    return record


async def _judge(chain: Chain, record: SignedEpochs, head: int, policy: SigningPolicy | None = None) -> None:
    known: Any = chain
    policy = policy or SigningPolicy(lambda: record)
    await OwnUpdates(known, Commits(known, 57, _OWN), 57, _OWN, policy).refuse_foreign(head)


async def _is_foreign(chain: Chain, record: SignedEpochs, head: int) -> bool:
    try:
        await _judge(chain, record, head)
    except SigningRefused:
        return True
    return False


def _row(block: int, ciphertext: bytes = _SEALED, hotkey: str = _OWN) -> tuple[str, int, str, int]:
    return hotkey, block, "0x" + ciphertext.hex(), 9


@pytest.mark.parametrize("block", [1001, 1064, 1128])
async def test_our_vector_soon_after_its_signature_is_ours(record: SignedEpochs, block: int) -> None:
    chain = Chain(b0=State(), **{f"b{block}": State(updated=block)})

    assert not await _is_foreign(chain, record, block + 5)


async def test_other_vector_is_foreign_even_soon_after_a_signature(record: SignedEpochs) -> None:
    chain = Chain(b0=State(), b1003=State(updated=1003, pairs=_OTHER))

    assert await _is_foreign(chain, record, 1005)


async def test_equal_vector_long_after_its_signature_is_foreign(record: SignedEpochs) -> None:
    chain = Chain(b0=State(), b1200=State(updated=1200))

    assert await _is_foreign(chain, record, 1205)


@pytest.mark.parametrize("updated", [0, 999, 1000])
async def test_what_is_older_than_the_record_is_not_judged(record: SignedEpochs, updated: int) -> None:
    assert not await _is_foreign(Chain(b0=State(updated=updated, pairs=_OTHER)), record, 1300)


async def test_record_without_a_signature_judges_nothing(tmp_path: Path) -> None:
    record = SignedEpochs.open(tmp_path / "new.json", _OWN, 57)
    record.close()
    record.promise(6, digest_of(_OURS))

    assert not await _is_foreign(Chain(b0=State(updated=1200, pairs=_OTHER)), record, 1205)


async def test_registration_that_dates_the_neuron_is_no_update(record: SignedEpochs) -> None:
    chain = Chain(b0=State(), b1200=State(updated=1200, registered=1200, pairs=[]))

    assert not await _is_foreign(chain, record, 1205)


async def test_our_commit_is_ours_whatever_weights_stand(sealed: SignedEpochs) -> None:
    chain = Chain(
        b0=State(commit_reveal=True),
        b1002=State(updated=1002, commit_reveal=True, pairs=_OTHER, queue=(_row(1002),)),
    )

    assert not await _is_foreign(chain, sealed, 1005)


@pytest.mark.parametrize(
    "queue",
    [(), (_row(1002, _OTHER_SEALED),), (_row(1002, hotkey="5Other"),), (_row(1001), _row(1002, b"x"))],
)
async def test_commit_that_was_not_sealed_here_is_foreign_although_our_vector_stands(
    sealed: SignedEpochs, queue: tuple[tuple[str, int, str, int], ...]
) -> None:
    chain = Chain(b0=State(commit_reveal=True), b1002=State(updated=1002, commit_reveal=True, queue=queue))

    assert await _is_foreign(chain, sealed, 1005)


async def test_reveal_after_the_end_of_commits_dates_our_vector_at_any_time(sealed: SignedEpochs) -> None:
    chain = Chain(b0=State(), b1500=State(updated=1500))

    assert not await _is_foreign(chain, sealed, 1505)


async def test_commit_in_the_block_that_ends_commits_is_ours(sealed: SignedEpochs) -> None:
    chain = Chain(b0=State(commit_reveal=True), b1002=State(updated=1002, pairs=_OTHER, queue=(_row(1002),)))

    assert not await _is_foreign(chain, sealed, 1005)


async def test_weights_in_the_block_that_begins_commits_are_ours(record: SignedEpochs) -> None:
    chain = Chain(b0=State(), b1002=State(updated=1002, commit_reveal=True))

    assert not await _is_foreign(chain, record, 1005)


async def test_miner_that_was_replaced_in_the_block_of_our_weights_is_no_stranger(
    tmp_path: Path,
) -> None:
    both = [[1, 65535], [2, 40000]]
    record = SignedEpochs.open(tmp_path / "both.json", _OWN, 57)
    record.close()
    record.promise(6, digest_of(both), block=1000)
    cleared = State(updated=1002, pairs=[[1, 65535], [2, 0]], miner_registered=1002)
    chain = Chain(b0=State(), b1002=cleared)

    assert not await _is_foreign(chain, record, 1005)
    chain.states[1002] = replace(cleared, miner_registered=900)
    assert await _is_foreign(chain, record, 1005)


async def test_trim_of_the_subnet_after_our_weights_is_no_stranger(tmp_path: Path) -> None:
    record = SignedEpochs.open(tmp_path / "trimmed.json", _OWN, 57)
    record.close()
    record.promise(6, "promise", block=1000, pairs=[[3, 300], [5, 65535], [7, 40000]])
    trimmed = State(updated=1002, pairs=[[4, 65535], [6, 40000]])
    chain = Chain(b0=State(), b1002=trimmed)
    chain.known_from = 1200

    assert not await _is_foreign(chain, record, 1300)
    chain.states[1002] = replace(trimmed, pairs=[[4, 65535], [6, 40001]])
    assert await _is_foreign(chain, record, 1300)


async def test_replaced_miner_excuses_no_update_that_we_could_not_have_made(record: SignedEpochs) -> None:
    cleared = State(updated=1200, pairs=[[1, 0], [2, 65535]], miner_registered=1200)

    assert await _is_foreign(Chain(b0=State(), b1200=cleared), record, 1205)


async def test_other_weights_soon_after_a_commit_of_ours_are_foreign(sealed: SignedEpochs) -> None:
    chain = Chain(b0=State(), b1003=State(updated=1003, pairs=_OTHER))

    assert await _is_foreign(chain, sealed, 1005)


@pytest.mark.parametrize(("block", "is_foreign"), [(1984, True), (1985, False), (2000, False)])
async def test_extrinsic_may_land_before_the_head_that_we_saw_after_a_fork(
    record: SignedEpochs, block: int, is_foreign: bool
) -> None:
    record.promise(7, digest_of(_OTHER), block=2000)
    chain = Chain(b0=State(), **{f"b{block}": State(updated=block, pairs=_OTHER)})

    assert await _is_foreign(chain, record, 2010) is is_foreign


async def test_update_of_the_neuron_before_ours_is_not_judged(record: SignedEpochs) -> None:
    chain = Chain(b0=State(), b1300=State(updated=1200, registered=1290, pairs=_OTHER))

    assert not await _is_foreign(chain, record, 1305)


async def test_old_plain_update_is_ours_if_its_vector_stands_or_is_partly_cleared(
    record: SignedEpochs,
) -> None:
    chain = Chain(b0=State(), b1064=State(updated=1064))
    chain.known_from = 1300
    assert not await _is_foreign(chain, record, 1300)

    chain.states[1200] = State(updated=1064, pairs=[[1, 0]], miner_registered=1199)
    assert not await _is_foreign(chain, record, 1300)

    chain.states[1200] = State(updated=1064, pairs=_OTHER)
    assert await _is_foreign(chain, record, 1300)

    chain.states[1200] = State(updated=1190)
    assert await _is_foreign(chain, record, 1300)


async def test_old_commit_is_known_from_the_queue_although_our_earlier_vector_stands(
    sealed: SignedEpochs,
) -> None:
    ours = State(updated=1064, commit_reveal=True, queue=(_row(1064),))
    chain = Chain(b0=State(commit_reveal=True), b1064=ours)
    chain.known_from = 1300
    assert not await _is_foreign(chain, sealed, 1300)

    for other in (
        replace(ours, queue=(_row(1064, _OTHER_SEALED),)),
        replace(ours, updated=1190, queue=(_row(1190, _OTHER_SEALED),)),
        replace(ours, updated=1190, queue=()),
    ):
        chain.states[1200] = other
        assert await _is_foreign(chain, sealed, 1300)


async def test_old_commit_that_was_revealed_or_lost_is_ours_if_we_could_have_made_it(
    sealed: SignedEpochs,
) -> None:
    for commit_reveal in (True, False):
        lost = State(updated=1064, commit_reveal=commit_reveal, pairs=_OTHER)
        chain = Chain(b0=State(commit_reveal=commit_reveal), b1064=lost)
        chain.known_from = 1300

        assert not await _is_foreign(chain, sealed, 1300)


async def test_chain_that_cannot_be_read_calls_nothing_foreign(record: SignedEpochs) -> None:
    chain = Chain(b0=State(), b1200=State(updated=1200, pairs=_OTHER))
    chain.known_from = 1203

    with pytest.raises(TransientError, match="already discarded"):
        await _judge(chain, record, 1205)


async def test_nonsense_about_our_update_is_an_error_of_the_chain(record: SignedEpochs) -> None:
    nonsense: Any = "soon"

    with pytest.raises(TransientError, match="answer about our last update is invalid"):
        await _judge(Chain(b0=State(updated=nonsense)), record, 1205)


async def test_validator_ends_with_its_own_code_once_three_blocks_have_said_so(record: SignedEpochs) -> None:
    chain, policy = Chain(b0=State(), b1200=State(updated=1200, pairs=_OTHER)), SigningPolicy(lambda: record)

    for head in (1205, 1205, 1206):
        with pytest.raises(
            SigningRefused, match="block 1200 are not of this validator; another program signs with its"
        ):
            await _judge(chain, record, head, policy)
    with pytest.raises(ConfigurationError, match="signed.json away once the present epoch is over") as raised:
        await _judge(chain, record, 1207, policy)

    assert raised.value.exit_code is ExitCode.SECOND_INSTANCE
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="another program signs") as again:
            SignedEpochs.open(record.path, _OWN, 57)
        assert again.value.exit_code is ExitCode.SECOND_INSTANCE
    record.path.rename(record.path.with_suffix(".old"))
    SignedEpochs.open(record.path, _OWN, 57).close()


async def test_one_block_without_it_begins_the_count_anew(record: SignedEpochs) -> None:
    lie = State(updated=1200, pairs=_OTHER)
    chain, policy = Chain(b0=State(), b1200=lie), SigningPolicy(lambda: record)
    for head in (1205, 1206):
        with pytest.raises(SigningRefused):
            await _judge(chain, record, head, policy)
    chain.states = {0: State()}
    await _judge(chain, record, 1207, policy)
    chain.states = {0: State(), 1200: lie}

    with pytest.raises(SigningRefused):
        await _judge(chain, record, 1208, policy)


async def test_record_keeps_the_span_of_its_signatures(record: SignedEpochs, tmp_path: Path) -> None:
    record.promise(6, digest_of(_OURS), block=1200)
    again = SignedEpochs.open(tmp_path / "signed.json", _OWN, 57)
    again.close()

    assert again.begun_at == 1000
    assert [again.epochs_in(block) for block in (1000, 1001, 1328, 1329)] == [[6], [6], [6], []]
