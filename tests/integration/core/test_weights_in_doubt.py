"""Vectors of which nobody knows whether they landed, and parties that fail: settled, told, and kept."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.core.incidents import Incident
from gaia.validator.core.weights.setting import REFUSALS
from gaia.validator.db import journal
from gaia.validator.db.connection import Database
from gaia.validator.db.journal import Epoch
from gaia.validator.utils.chain.metagraph import BLOCK_S
from gaia.validator.utils.chain.refusals import Cause
from gaia.validator.utils.errors import OwnFailure, TransientError
from gaia.validator.utils.signer_messages import WeightsRead
from tests.support.fakes import a_metagraph
from tests.support.unguarded import UNGUARDED_HERE
from tests.support.weight_setters import MINERS, NOW, Setting


@pytest.fixture
async def setting(database: Database) -> Setting:
    setting = Setting(database)
    await setting.record_run(NOW - timedelta(days=1), {"5Best": 0.6, "5Second": 0.5, "5Third": 0.2})
    return setting


def pairs(vector: Iterable[tuple[int, int]]) -> list[list[int]]:
    return [[uid, value] for uid, value in vector]


async def in_doubt(setting: Setting) -> list[list[int]]:
    """A vector of block 1000 that was signed, and nobody knows what became of it."""
    setting.signer.failures = [OwnFailure("the connection to the chain signer ended before it answered")]
    with pytest.raises(OwnFailure):
        await setting.setter.set_if_due(NOW)
    return pairs(setting.signer.signed[0])


async def test_vector_in_doubt_that_stands_on_chain_is_set_at_the_next_look(setting: Setting) -> None:
    vector = await in_doubt(setting)
    setting.signer.held = WeightsRead(
        request_id=1, block=1020, last_update=1003, update_hash="0xcd", pairs=vector
    )
    setting.at_block(1020, last_update=1003)

    assert await setting.setter.set_if_due(NOW) is None

    (entry,) = await setting.journal()
    assert (entry["state"], entry["block"], entry["read_back"], entry["error"]) == ("set", 1003, vector, None)
    assert (entry["block_hash"], entry["extrinsic"]) == ("0xcd", "")
    assert len(setting.signer.signed) == 1


async def test_vector_in_doubt_is_settled_even_when_its_epoch_is_long_over(setting: Setting) -> None:
    vector = await in_doubt(setting)
    setting.signer.held = WeightsRead(
        request_id=1, block=1150, last_update=1003, update_hash="0xcd", pairs=vector
    )
    setting.at_block(1150, last_update=1003)

    assert await setting.setter.set_if_due(NOW) is None

    assert [(entry["epoch"], entry["state"]) for entry in await setting.journal()] == [(10, "set")]


async def test_intent_that_no_process_lived_to_settle_is_settled_by_its_successor(setting: Setting) -> None:
    vector = await in_doubt(setting)
    async with setting.database.transaction() as connection:
        await connection.execute(UNGUARDED_HERE)
        await connection.execute(
            "UPDATE weight_journal SET state = 'intended', settled_at = NULL, error = NULL"
        )
    successor = setting.successor()
    setting.signer.held = WeightsRead(
        request_id=1, block=1005, last_update=1003, update_hash="0xcd", pairs=vector
    )

    await successor.set_if_due(NOW)

    (entry,) = await setting.journal()
    assert (entry["state"], entry["block"]) == ("set", 1003)


async def test_intent_written_before_blocks_were_kept_is_settled_by_its_epoch(setting: Setting) -> None:
    vector = await in_doubt(setting)
    async with setting.database.transaction() as connection:
        await connection.execute(UNGUARDED_HERE)
        await connection.execute("UPDATE weight_journal SET promised_block = NULL, tried_block = NULL")
    setting.signer.held = WeightsRead(
        request_id=1, block=1005, last_update=1003, update_hash="0xcd", pairs=vector
    )

    assert await setting.setter.set_if_due(NOW) is None

    assert [entry["state"] for entry in await setting.journal()] == ["set"]


async def test_nothing_is_signed_in_an_epoch_in_which_others_were_set_since_the_promise(
    setting: Setting,
) -> None:
    await in_doubt(setting)
    setting.signer.held = WeightsRead(
        request_id=1, block=1020, last_update=1003, update_hash="0xcd", pairs=[[3, 65535]]
    )

    assert await setting.setter.set_if_due(NOW) is None

    (entry,) = await setting.journal()
    assert entry["state"] == "lost"
    assert "1003" in entry["error"]
    assert len(setting.signer.signed) == 1


async def test_signer_is_told_as_of_which_block_the_vector_was_promised(setting: Setting) -> None:
    await in_doubt(setting)
    setting.at_block(1050)

    await setting.setter.set_if_due(NOW)

    assert setting.signer.promised == [1000, 1000]
    (entry,) = await setting.journal()
    assert (entry["promised_block"], entry["tried_block"]) == (1000, 1050)


async def test_weights_are_tried_though_what_is_in_doubt_cannot_be_read(setting: Setting) -> None:
    await in_doubt(setting)
    setting.signer.held = TransientError("the chain failed while reading Uids")

    assert await setting.setter.set_if_due(NOW) is not None


async def test_outcomes_recorded_twice_are_recorded_once(setting: Setting) -> None:
    outcome = await setting.setter.set_if_due(NOW)
    assert outcome is not None
    epoch = Epoch(57, 0, 10)
    async with setting.database.transaction() as connection:
        await journal.record_failed(connection, epoch, "too late", NOW)
        await journal.record_lost(connection, epoch, "too late", NOW)
        await journal.record_try(connection, epoch, 1)
        await journal.record_set(connection, epoch, outcome, NOW + timedelta(days=1))

    (entry,) = await setting.journal()
    assert (entry["state"], entry["error"], entry["settled_at"], entry["tried_block"]) == (
        "set",
        None,
        NOW,
        1000,
    )


async def incidents(database: Database) -> list[dict[str, Any]]:
    async with database.transaction() as connection:
        return [dict(row) for row in await connection.fetch("SELECT * FROM incidents ORDER BY incident_id")]


async def test_weights_that_cannot_be_set_are_one_incident_until_they_can(setting: Setting) -> None:
    for hours, words in enumerate(("refused: once", "refused: twice")):
        setting.signer.failures = [TransientError(words)]
        with pytest.raises(TransientError):
            await setting.setter.set_if_due(NOW + timedelta(hours=hours))

    (failing,) = await incidents(setting.database)
    await setting.setter.set_if_due(NOW + timedelta(hours=2))

    assert (failing["party"], failing["evidence"], failing["ended_at"]) == ("weights", "refused: twice", None)
    assert (failing["began_at"], failing["last_at"]) == (NOW, NOW + timedelta(hours=1))
    (over,) = await incidents(setting.database)
    assert over["ended_at"] == NOW + timedelta(hours=2)


async def test_incident_of_weights_ends_once_weights_of_ours_are_known_to_stand(setting: Setting) -> None:
    await in_doubt(setting)
    async with setting.database.transaction() as connection:
        await connection.execute(UNGUARDED_HERE)
        await connection.execute("DELETE FROM weight_journal")
    setting.at_block(1010, last_update=1005)

    await setting.setter.set_if_due(NOW)

    assert [row["ended_at"] for row in await incidents(setting.database)] == [NOW]


async def test_incident_left_open_by_an_earlier_process_ends_with_the_first_success(
    database: Database,
) -> None:
    await Incident(database, "chain").failing("no answer", NOW)

    await Incident(database, "chain").recovered(NOW + timedelta(hours=1))

    assert [row["ended_at"] for row in await incidents(database)] == [NOW + timedelta(hours=1)]


async def test_second_failure_opens_a_second_incident_and_strange_bytes_are_kept_readable(
    database: Database,
) -> None:
    chain = Incident(database, "chain")
    await chain.failing("no answer", NOW)
    await chain.recovered(NOW)
    await chain.failing("\0\ud800 garbage", NOW)

    first, second = await incidents(database)
    assert first["ended_at"] == NOW
    assert (second["ended_at"], second["evidence"]) == (None, "\ufffd? garbage")


async def test_incident_that_cannot_be_written_breaks_nothing_and_is_written_later(empty_dsn: str) -> None:
    database = await Database.connect(empty_dsn, timeout_s=10, pool_size=1)
    chain = Incident(database, "chain")

    await chain.failing("no answer", NOW)
    await chain.recovered(NOW)
    await run_comprehensive_database_setup(database)
    await chain.failing("no answer", NOW)

    assert len(await incidents(database)) == 1
    await database.close()


async def test_weights_that_the_chain_no_longer_has_are_set_again(setting: Setting) -> None:
    """As after a reorganisation, or a node that told of a block that never was final."""
    await setting.setter.set_if_due(NOW)
    setting.at_block(1003, last_update=0)
    assert await setting.setter.set_if_due(NOW) is None  # the node may be behind
    assert [entry["state"] for entry in await setting.journal()] == ["set"]

    setting.at_block(1020, last_update=0)
    outcome = await setting.setter.set_if_due(NOW)

    assert outcome is not None
    first, again = setting.signer.signed
    assert first == again
    (entry,) = await setting.journal()
    assert (entry["state"], entry["block"], entry["error"]) == ("set", 1001, None)


async def test_weights_that_vanished_and_cannot_be_set_again_are_in_doubt(setting: Setting) -> None:
    await setting.setter.set_if_due(NOW)
    setting.at_block(1020, last_update=0)
    setting.signer.failures = [TransientError("no answer")]

    with pytest.raises(TransientError):
        await setting.setter.set_if_due(NOW)

    (entry,) = await setting.journal()
    assert (entry["state"], entry["block"], entry["read_back"]) == ("failed", None, None)


async def _look(setting: Setting, block: int, epoch: int, last_update: int = 900) -> str:
    """Look at a chain that has no weights of ours since `last_update`; return the state of the vector."""
    setting.at_block(block, last_update=last_update)
    assert setting.metagraph.metagraph is not None
    setting.metagraph.metagraph = msgspec.structs.replace(
        setting.metagraph.metagraph, epoch=epoch, next_epoch_block=block + 1
    )
    setting.signer.held = WeightsRead(
        request_id=1, block=block, last_update=last_update, update_hash="0xcd", pairs=[]
    )
    await setting.setter.set_if_due(NOW)
    (entry,) = await setting.journal()
    return str(entry["state"])


async def test_weights_that_vanish_after_their_epoch_are_in_doubt_and_then_lost(setting: Setting) -> None:
    """The journal says what the chain says now, and nothing is signed for an epoch that is over."""
    await setting.setter.set_if_due(NOW)

    states = [await _look(setting, block, 11) for block in (1100, 1101, 1102, 1240)]

    assert states == ["set", "failed", "failed", "lost"]  # the first reading alone proves nothing
    assert len(setting.signer.signed) == 1


async def test_old_weights_stay_set_whoever_denies_them(setting: Setting) -> None:
    """As where the operator names another hotkey, which has set none."""
    await setting.setter.set_if_due(NOW)

    assert [await _look(setting, block, 11, 0) for block in (1130, 1131, 1132)] == ["set"] * 3


async def test_looks_at_a_chain_that_does_not_answer_become_rare(setting: Setting) -> None:
    await in_doubt(setting)
    setting.signer.held = TransientError("no answer")
    looks = []
    for block in range(1010, 1018):
        setting.at_block(block, last_update=1001)
        await setting.setter.set_if_due(NOW)
        looks.append(setting.setter.look_in_s)

    assert looks[:2] == [2 * BLOCK_S, 4 * BLOCK_S]
    assert looks[-2:] == [32 * BLOCK_S] * 2


async def test_nothing_is_looked_up_while_we_are_not_registered(setting: Setting) -> None:
    await in_doubt(setting)
    setting.metagraph.metagraph = a_metagraph(MINERS, block=1010, own_uid=None)
    setting.signer.held = TransientError("our hotkey is not registered")

    await setting.setter.set_if_due(NOW)

    assert setting.setter.look_in_s is None


async def test_next_look_is_when_the_chain_can_tell_more(setting: Setting) -> None:
    assert setting.setter.look_in_s is None
    await setting.setter.set_if_due(NOW)
    assert setting.setter.look_in_s == 4 * BLOCK_S  # a block may still be dropped

    setting.at_block(1005, last_update=1001)
    await setting.setter.set_if_due(NOW)
    assert setting.setter.look_in_s is None


async def test_vector_in_doubt_is_looked_up_in_each_block(setting: Setting) -> None:
    await in_doubt(setting)
    setting.at_block(1010, last_update=900)

    await setting.setter.set_if_due(NOW)

    assert setting.setter.look_in_s == BLOCK_S


async def test_weights_are_not_set_again_while_nodes_disagree_about_them(setting: Setting) -> None:
    await setting.setter.set_if_due(NOW)
    setting.at_block(1020, last_update=0)
    assert setting.metagraph.metagraph is not None
    setting.metagraph.metagraph = msgspec.structs.replace(setting.metagraph.metagraph, is_confirmed=False)

    assert await setting.setter.set_if_due(NOW) is None

    assert len(setting.signer.signed) == 1
    (entry,) = await setting.journal()
    assert (entry["state"], entry["block"]) == ("set", 1001)


async def test_vector_that_the_subnet_forbids_is_told_and_not_signed(setting: Setting) -> None:
    before = dict(REFUSALS.items())
    setting.metagraph.metagraph = a_metagraph(MINERS, max_weights_limit=6554)

    assert await setting.setter.set_if_due(NOW) is None

    assert setting.signer.signed == []
    assert await setting.journal() == []
    assert dict(REFUSALS.items()) == {**before, Cause.THEIRS: before[Cause.THEIRS] + 1}
    (incident,) = await setting.incidents()
    assert "% of the weight, and the subnet allows 10.00%; the rule is the" in incident.evidence
    setting.metagraph.metagraph = a_metagraph(MINERS)
    assert await setting.setter.set_if_due(NOW) is not None


async def test_rule_that_the_owner_makes_after_the_promise_holds_it_until_it_ends(setting: Setting) -> None:
    await in_doubt(setting)
    setting.metagraph.metagraph = a_metagraph(MINERS, max_weights_limit=6554)

    assert await setting.setter.set_if_due(NOW) is None

    assert len(setting.signer.signed) == 1
    setting.at_block(1050)
    assert await setting.setter.set_if_due(NOW) is not None


async def test_vector_stands_although_the_chain_cleared_the_weight_of_a_replaced_uid(
    setting: Setting,
) -> None:
    vector = await in_doubt(setting)
    cleared = [pair for pair in vector if pair != vector[-1]]
    setting.signer.held = WeightsRead(
        request_id=1, block=1020, last_update=1003, update_hash="0xcd", pairs=cleared
    )
    setting.at_block(1020, last_update=1003)

    await setting.setter.set_if_due(NOW)

    (entry,) = await setting.journal()
    assert (entry["state"], entry["block"]) == ("set", 1003)


@pytest.mark.parametrize(("blocks_left", "is_set"), [(7, True), (6, False), (1, False)])
async def test_last_blocks_of_an_epoch_are_left_to_the_next_one(
    setting: Setting, blocks_left: int, is_set: bool
) -> None:
    setting.metagraph.metagraph = a_metagraph(
        MINERS, block=1000, epoch=10, next_epoch_block=1000 + blocks_left
    )

    outcome = await setting.setter.set_if_due(NOW)

    assert (outcome is not None, len(setting.signer.signed)) == (is_set, int(is_set))
    assert await setting.incidents() == []
