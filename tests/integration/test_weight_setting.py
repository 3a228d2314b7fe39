"""One vector an epoch, journalled before it is signed, whatever the chain answers."""

from datetime import UTC, datetime, timedelta

import pytest

from gaia.validator.core.weight_setting import WeightSetter
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.ipc_types import WeightsSet
from tests.support.fakes import VALIDATOR, FakeMetagraph, a_metagraph

NOW = datetime(2026, 4, 10, tzinfo=UTC)
MINERS = ["5Best", "5Second", "5Third"]


class FakeSigner:
    def __init__(self):
        self.signed = []
        self.failures = []

    async def set_weights(self, uids, weights, version_key):
        self.signed.append(list(zip(uids, weights, strict=True)))
        if self.failures:
            raise self.failures.pop()
        return WeightsSet(
            request_id=1,
            block=1001,
            block_hash="0xab",
            extrinsic="1001-1",
            read_back=[[uid, value] for uid, value in zip(uids, weights, strict=True)],
        )


class Setting:
    """A setter on a database with one scored run."""

    def __init__(self, database, **changes):
        self.database = database
        self.signer = FakeSigner()
        self.metagraph = FakeMetagraph(a_metagraph(MINERS))
        self.setter = WeightSetter(
            Settings(burn_fraction=0.5, **changes), database, self.signer, self.metagraph
        )

    async def record_run(
        self, init_time, scores, excused=(), completed=True, rule_set="gaia-2.9", leads=None
    ):
        run_id = f"{init_time:%Y-%m-%d}"
        async with self.database.transaction() as connection:
            await connection.execute(
                "INSERT INTO runs (run_id, init_time, rule_set, opened_at, state, completed_at)"
                " VALUES ($1, $2::timestamptz, $4, $2, $3::text, CASE $3 WHEN 'completed' THEN $2 END)",
                run_id,
                init_time,
                "completed" if completed else "open",
                rule_set,
            )
            for uid, (hotkey, overall) in enumerate(scores.items(), start=1):
                await connection.execute(
                    "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, opened_at, next_at, changed_at,"
                    " state, reason, manifest) VALUES ($1, $2, $3::int, $3::int, $4, $4, $4, $5, 'none', '')",
                    run_id,
                    hotkey,
                    uid,
                    init_time,
                    "excused" if hotkey in excused else "scored",
                )
                await connection.execute(
                    "INSERT INTO score_table (run_id, hotkey, rule_set, leads, overall, counted, updated_at)"
                    " VALUES ($1, $2, $6, $7, $3, $4, $5)",
                    run_id,
                    hotkey,
                    overall,
                    hotkey not in excused,
                    init_time,
                    rule_set,
                    (leads or {}).get(hotkey, {}),
                )

    async def journal(self):
        async with self.database.transaction() as connection:
            return [dict(row) for row in await connection.fetch("SELECT * FROM weight_journal")]

    def at_block(self, block, last_update=0):
        fresh = a_metagraph(MINERS, block=block)
        own = fresh.neurons[0]
        fields = {name: getattr(own, name) for name in own.__struct_fields__}
        fresh.neurons[0] = type(own)(**fields | {"last_update": last_update})
        self.metagraph.metagraph = fresh


@pytest.fixture
async def setting(database):
    setting = Setting(database)
    await setting.record_run(NOW - timedelta(days=1), {"5Best": 0.6, "5Second": 0.5, "5Third": 0.2})
    return setting


async def test_better_scores_earn_more_and_the_burn_gets_its_part(setting):
    outcome = await setting.setter.set_if_due(NOW)

    vector = dict(setting.signer.signed[0])
    assert vector[1] > vector[2] > vector[3] > 0
    assert vector[0] / sum(vector.values()) == pytest.approx(0.5, abs=1e-4)
    (entry,) = await setting.journal()
    assert (entry["state"], entry["block"], entry["read_back"]) == ("set", 1001, outcome.read_back)
    assert sum(entry["weights"].values()) == pytest.approx(1.0, abs=1e-12)
    assert set(entry["weights"]) == {VALIDATOR, *MINERS}


async def test_epoch_whose_weights_are_set_is_not_signed_again(setting):
    await setting.setter.set_if_due(NOW)

    assert await setting.setter.set_if_due(NOW) is None
    assert len(setting.signer.signed) == 1


async def test_failed_submission_is_repeated_with_the_very_same_vector(setting):
    setting.signer.failures = [TransientError("no answer")]
    with pytest.raises(TransientError):
        await setting.setter.set_if_due(NOW)
    await setting.record_run(NOW, {"5Best": 0.0, "5Second": 0.9, "5Third": 0.2})

    await setting.setter.set_if_due(NOW)

    assert setting.signer.signed[0] == setting.signer.signed[1]
    (entry,) = await setting.journal()
    assert (entry["state"], entry["error"]) == ("set", None)


async def test_next_epoch_takes_the_new_scores(setting):
    await setting.setter.set_if_due(NOW)
    await setting.record_run(NOW, {"5Best": 0.0, "5Second": 0.9, "5Third": 0.2})
    setting.at_block(2000, last_update=1001)

    await setting.setter.set_if_due(NOW)

    assert dict(setting.signer.signed[1])[2] > dict(setting.signer.signed[1])[1]


async def test_weights_wait_for_the_interval(setting):
    setting.at_block(1240, last_update=1001)

    assert await setting.setter.set_if_due(NOW) is None
    assert setting.signer.signed == []


async def test_runs_older_than_the_window_are_forgotten(setting):
    await setting.record_run(NOW - timedelta(days=17), {"5Third": 1.0})

    await setting.setter.set_if_due(NOW)

    (entry,) = await setting.journal()
    assert len(entry["run_ids"]) == 1


async def test_nothing_is_signed_without_scores(database):
    setting = Setting(database)

    assert await setting.setter.set_if_due(NOW) is None
    assert await setting.journal() == []


async def test_run_that_has_scored_no_lead_yet_says_nothing(database):
    setting = Setting(database)
    await setting.record_run(NOW - timedelta(days=1), {"5Third": 0.0}, completed=False)

    assert await setting.setter.set_if_due(NOW) is None
    assert setting.signer.signed == []


async def test_dry_run_signs_nothing(database):
    setting = Setting(database, dry_run=True)
    await setting.record_run(NOW - timedelta(days=1), {"5Best": 0.6})

    assert await setting.setter.set_if_due(NOW) is None
    assert setting.signer.signed == []


async def test_validator_without_permit_signs_nothing(setting):
    metagraph = setting.metagraph.metagraph
    setting.metagraph.metagraph = a_metagraph(MINERS, neurons=metagraph.neurons[1:], own_uid=None)

    assert await setting.setter.set_if_due(NOW) is None
    assert setting.signer.signed == []


async def test_excused_run_neither_helps_nor_harms(database):
    setting = Setting(database)
    await setting.record_run(NOW - timedelta(days=1), {"5Best": 0.6, "5Second": 0.5})
    await setting.setter.set_if_due(NOW)
    await setting.record_run(NOW, {"5Best": 0.0, "5Second": 0.5}, excused=["5Best"])
    setting.at_block(2000)

    await setting.setter.set_if_due(NOW)

    assert setting.signer.signed[0] == setting.signer.signed[1]


async def test_gaia_next_counts_the_leads_that_everybody_has_long_before_a_run_is_complete(database):
    setting = Setting(database, rule_set="gaia-next")
    await setting.record_run(
        NOW,
        {"5Best": -0.9, "5Second": -0.9, "5Third": -0.9},
        rule_set="gaia-next",
        leads={
            "5Best": {"24": 0.6, "48": -1.0},
            "5Second": {"24": 0.3},
            "5Third": {"24": -0.2, "48": 0.5},
        },
    )

    await setting.setter.set_if_due(NOW)

    vector = dict(setting.signer.signed[0])
    assert vector.keys() == {0, 1, 2}
    # Sure skill after one run: 0.05 less than was seen.
    assert vector[1] / vector[2] == pytest.approx(0.55 / 0.25, rel=1e-3)
    (entry,) = await setting.journal()
    assert entry["rule_set"] == "gaia-next"
