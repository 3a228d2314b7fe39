"""Sealed vectors in the journal, with a signer and a chain that the test plays."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import msgspec
import pytest

from gaia.validator.core.weights.setting import SUBMISSIONS
from gaia.validator.db.connection import Database
from gaia.validator.utils.chain.metagraph import BLOCK_S
from gaia.validator.utils.errors import SigningRefused, TransientError
from gaia.validator.utils.signer_messages import CommitRead, CommitsRead
from tests.support.fakes import a_metagraph
from tests.support.weight_setters import MINERS, NOW, Setting


@pytest.fixture
async def setting(database: Database) -> Setting:
    setting = Setting(database)
    setting.metagraph.metagraph = a_metagraph(MINERS, commit_reveal=True, epoch=10)
    await setting.record_run(NOW - timedelta(days=1), {"5Best": 0.6, "5Second": 0.5, "5Third": 0.2})
    return setting


async def test_vector_is_journalled_sealed_before_it_is_committed(setting: Setting) -> None:
    setting.signer.failures = [TransientError("no answer")]
    with pytest.raises(TransientError):
        await setting.setter.set_if_due(NOW)

    (row,) = await setting.journal()
    assert (row["state"], row["error"]) == ("failed", "no answer")
    assert row["sealed"] == setting.signer.committed[0].ciphertext
    assert (row["commit_epoch"], row["reveal_epoch"], row["reveal_round"]) == (
        10,
        11,
        setting.signer.reveal_round,
    )
    assert setting.signer.signed == []


async def test_same_ciphertext_is_sent_again_after_an_unknown_outcome(setting: Setting) -> None:
    setting.signer.failures = [TransientError("no answer")]
    with pytest.raises(TransientError):
        await setting.setter.set_if_due(NOW)
    await setting.record_run(NOW, {"5Best": 0.0, "5Second": 0.9, "5Third": 0.2})
    await setting.successor().set_if_due(NOW)

    first, second = setting.signer.committed
    assert first == second
    assert setting.signer.sealed == 1
    (row,) = await setting.journal()
    assert (row["state"], row["commit_block"], row["error"]) == ("committed", 1001, None)


async def test_vector_is_not_sealed_for_an_epoch_that_is_not_its_own(setting: Setting) -> None:
    setting.signer.epoch = 11

    with pytest.raises(TransientError, match="the chain is in epoch 11"):
        await setting.setter.set_if_due(NOW)

    assert setting.signer.committed == []
    (row,) = await setting.journal()
    assert row["sealed"] is None


async def test_committed_vector_is_followed_until_it_is_revealed(setting: Setting) -> None:
    await setting.setter.set_if_due(NOW)
    (row,) = await setting.journal()
    digest = hashlib.sha256(row["sealed"]).hexdigest()

    def told(epoch: int, queued: dict[str, int], pairs: list[list[int]]) -> CommitsRead:
        read = CommitRead(epoch=10, queued=queued, revealed_in=None, is_known=False)
        return CommitsRead(request_id=1, block=1100, epoch=epoch, pairs=pairs, commits=[read])

    setting.signer.commits = told(10, {digest: 1001}, [])
    await setting.setter.set_if_due(NOW)
    assert [row["state"] for row in await setting.journal()] == ["committed"]
    setting.signer.commits = told(11, {}, row["vector"])
    await setting.setter.set_if_due(NOW)

    (row,) = await setting.journal()
    assert (row["state"], row["block"], row["read_back"]) == ("revealed", 1100, row["vector"])
    assert len(setting.signer.committed) == 1
    await setting.setter.set_if_due(NOW)
    assert len(setting.signer.asked) == 2


async def test_commit_is_looked_up_when_its_epoch_of_reveal_begins_and_then_in_each_block(
    setting: Setting,
) -> None:
    await setting.setter.set_if_due(NOW)
    assert setting.setter.look_in_s == BLOCK_S
    (row,) = await setting.journal()
    digest = hashlib.sha256(row["sealed"]).hexdigest()
    read = CommitRead(epoch=10, queued={digest: 1001}, revealed_in=None, is_known=False)

    looks = []
    for epoch, block in ((10, 1002), (10, 1079), (11, 1080)):
        setting.signer.commits = CommitsRead(request_id=1, block=block, epoch=epoch, pairs=[], commits=[read])
        graph = a_metagraph(
            MINERS,
            commit_reveal=True,
            epoch=epoch,
            block=block,
            next_epoch_block=1080 if epoch == 10 else 1440,
        )
        graph.neurons[0] = msgspec.structs.replace(graph.neurons[0], last_update=1001)
        setting.metagraph.metagraph = graph
        await setting.setter.set_if_due(NOW)
        looks.append(setting.setter.look_in_s)

    assert looks == [78 * BLOCK_S, BLOCK_S, BLOCK_S]


async def test_commit_that_was_found_in_the_queue_is_waited_for(setting: Setting) -> None:
    setting.signer.failures = [TransientError("no answer")]
    with pytest.raises(TransientError):
        await setting.setter.set_if_due(NOW)
    (row,) = await setting.journal()
    digest = hashlib.sha256(row["sealed"]).hexdigest()
    read = CommitRead(epoch=10, queued={digest: 1001}, revealed_in=None, is_known=False)
    setting.signer.commits = CommitsRead(request_id=1, block=1002, epoch=10, pairs=[], commits=[read])
    setting.metagraph.metagraph = a_metagraph(
        MINERS, commit_reveal=True, epoch=10, block=1002, next_epoch_block=1080
    )

    await setting.setter.set_if_due(NOW)

    assert [row["state"] for row in await setting.journal()] == ["committed"]
    assert setting.setter.look_in_s == 78 * BLOCK_S


async def test_commit_that_the_chain_dropped_is_lost_and_its_epoch_stays_promised(setting: Setting) -> None:
    await setting.setter.set_if_due(NOW)
    read = CommitRead(epoch=10, queued={}, revealed_in=None, is_known=True)
    setting.signer.commits = CommitsRead(request_id=1, block=1100, epoch=11, pairs=[], commits=[read])
    await setting.setter.set_if_due(NOW)

    (row,) = await setting.journal()
    assert row["state"] == "lost"
    assert "without revealing it" in row["error"]
    assert len(setting.signer.committed) == 1
    assert [row.party for row in await setting.incidents()] == ["reveals"]


async def test_chain_that_cannot_be_read_leaves_commits_as_they_are(setting: Setting) -> None:
    await setting.setter.set_if_due(NOW)

    await setting.setter.set_if_due(NOW)

    assert [row["state"] for row in await setting.journal()] == ["committed"]


async def test_commit_that_vanished_is_sent_again_with_the_same_bytes(setting: Setting) -> None:
    await setting.setter.set_if_due(NOW)
    read = CommitRead(epoch=10, queued={}, revealed_in=None, is_known=False)
    setting.signer.commits = CommitsRead(request_id=1, block=1005, epoch=10, pairs=[], commits=[read])
    await setting.setter.set_if_due(NOW)

    first, second = setting.signer.committed
    assert first == second
    assert [row["state"] for row in await setting.journal()] == ["committed"]


async def test_vector_that_was_sealed_is_set_plainly_once_the_owner_ends_commits(setting: Setting) -> None:
    setting.signer.failures = [TransientError("no answer")]
    with pytest.raises(TransientError):
        await setting.setter.set_if_due(NOW)
    setting.metagraph.metagraph = a_metagraph(MINERS, commit_reveal=False, epoch=10)
    await setting.setter.set_if_due(NOW)

    (row,) = await setting.journal()
    assert (row["state"], row["sealed"], row["commit_epoch"]) == ("set", None, None)
    assert setting.signer.signed[0] == [tuple(pair) for pair in row["vector"]]


async def test_vector_whose_round_is_published_by_now_is_sealed_anew(setting: Setting) -> None:
    setting.signer.failures = [TransientError("no answer")]
    setting.signer.reveal_round = 1000
    with pytest.raises(TransientError):
        await setting.setter.set_if_due(NOW)
    setting.signer.reveal_round = 10**12
    await setting.successor().set_if_due(NOW)

    first, second = setting.signer.committed
    assert (setting.signer.sealed, first.reveal_round, second.reveal_round) == (2, 1000, 10**12)
    (row,) = await setting.journal()
    assert (row["state"], row["sealed"], row["reveal_round"]) == ("committed", second.ciphertext, 10**12)


async def test_vector_that_a_signer_without_record_refuses_is_sealed_anew_once(setting: Setting) -> None:
    setting.signer.failures = [TransientError("no answer")]
    with pytest.raises(TransientError):
        await setting.setter.set_if_due(NOW)
    setting.signer.failures = [SigningRefused("the commit was not sealed here")]
    await setting.successor().set_if_due(NOW)

    assert [sealed.ciphertext for sealed in setting.signer.committed[:2]] == [
        setting.signer.committed[0].ciphertext
    ] * 2
    (row,) = await setting.journal()
    assert (row["state"], row["sealed"]) == ("committed", setting.signer.committed[2].ciphertext)
    assert setting.signer.sealed == 2


async def test_refusal_of_our_signer_is_counted_as_such(setting: Setting) -> None:
    before = dict(SUBMISSIONS.items())["refused"]
    setting.signer.failures = [SigningRefused("another vector")]

    with pytest.raises(SigningRefused):
        await setting.setter.set_if_due(NOW)

    assert dict(SUBMISSIONS.items())["refused"] == before + 1
