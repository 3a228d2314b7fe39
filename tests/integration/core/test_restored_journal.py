"""Weights of the present epoch that the journal does not know, as after the restore of an older database."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from gaia.validator.db.connection import Database
from tests.support.fakes import a_metagraph
from tests.support.weight_setters import MINERS, NOW, Setting


@pytest.fixture
async def setting(database: Database) -> Setting:
    setting = Setting(database, weights_interval_blocks=10)
    await setting.record_run(NOW - timedelta(days=1), {"5Best": 0.6, "5Second": 0.5})
    return setting


def _in_epoch(
    setting: Setting,
    block: int,
    last_update: int,
    epoch: int,
    first_block: int,
    *,
    commit_reveal: bool = False,
) -> None:
    """Move the chain to a block of an epoch that began in `first_block`."""
    setting.at_block(block, last_update=last_update)
    assert setting.metagraph.metagraph is not None
    setting.metagraph.metagraph = msgspec.structs.replace(
        setting.metagraph.metagraph,
        epoch=epoch,
        epoch_first_block=first_block,
        commit_reveal=commit_reveal,
    )
    setting.signer.epoch = epoch


async def test_epoch_whose_weights_the_journal_has_lost_gets_no_second_vector(setting: Setting) -> None:
    """As after the restore of a database that is older than the epoch."""
    _in_epoch(setting, 1030, 1005, epoch=11, first_block=1000)

    assert await setting.setter.set_if_due(NOW) is None

    assert setting.signer.signed == []
    assert await setting.journal() == []
    _in_epoch(setting, 1110, 1005, epoch=12, first_block=1100)
    assert await setting.setter.set_if_due(NOW) is not None


async def test_epoch_in_which_we_were_registered_gets_its_vector(setting: Setting) -> None:
    _in_epoch(setting, 1030, 1005, epoch=11, first_block=1000)
    graph = setting.metagraph.metagraph
    assert graph is not None
    own = msgspec.structs.replace(graph.neurons[0], registered_at=1005)
    setting.metagraph.metagraph = msgspec.structs.replace(graph, neurons=[own, *graph.neurons[1:]])

    assert await setting.setter.set_if_due(NOW) is not None


async def test_reveal_that_the_journal_expects_is_no_unknown_weight(setting: Setting) -> None:
    """Where commits have just ended, the reveal of the last one dates our neuron in the next epoch."""
    graph = a_metagraph(MINERS, commit_reveal=True)
    setting.metagraph.metagraph = graph
    await setting.setter.set_if_due(NOW)
    assert setting.signer.committed
    (row,) = await setting.journal()
    _in_epoch(setting, 1130, 1100, epoch=row["reveal_epoch"], first_block=1100)

    assert await setting.setter.set_if_due(NOW) is not None


async def test_lost_commit_is_not_explained_by_the_reveal_of_the_one_before(setting: Setting) -> None:
    """As after the restore of a database of the epoch before."""
    setting.metagraph.metagraph = a_metagraph(MINERS, commit_reveal=True)
    await setting.setter.set_if_due(NOW)
    (row,) = await setting.journal()
    _in_epoch(setting, 1130, 1105, epoch=row["reveal_epoch"], first_block=1100, commit_reveal=True)

    assert await setting.setter.set_if_due(NOW) is None

    assert len(setting.signer.committed) == 1
    assert len(await setting.journal()) == 1


async def test_weights_of_the_epoch_that_the_journal_knows_are_set_again_by_no_other_rule(
    setting: Setting,
) -> None:
    _in_epoch(setting, 1000, 0, epoch=10, first_block=990)
    assert await setting.setter.set_if_due(NOW) is not None
    _in_epoch(setting, 1110, 1105, epoch=11, first_block=1100)

    assert await setting.setter.set_if_due(NOW) is None
    async with setting.database.transaction() as connection:
        await connection.execute("UPDATE weight_journal SET block = 1105")
    _in_epoch(setting, 1120, 1105, epoch=11, first_block=1100)

    assert await setting.setter.set_if_due(NOW) is not None
