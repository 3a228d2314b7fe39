"""One vector an epoch, journalled before it is signed, whatever the chain answers."""

from datetime import UTC, datetime, timedelta

import pytest

from gaia.tasks.defined_tasks.base import FoundCopies
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.core.incidents import Incident
from gaia.validator.core.weight_inputs import parts_named, read, vector_of
from gaia.validator.core.weight_setting import WeightSetter
from gaia.validator.db import history, journal
from gaia.validator.db.connection import Database
from gaia.validator.db.journal import Epoch
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import NotYetAvailable, OwnFailure, TransientError
from gaia.validator.utils.ipc_types import WeightsRead, WeightsSet
from tests.support.fakes import VALIDATOR, FakeMetagraph, a_metagraph

NOW = datetime(2026, 4, 10, tzinfo=UTC)
MINERS = ["5Best", "5Second", "5Third"]


class FakeSigner:
    """A signer and its chain; a test decides what the chain holds of us."""

    def __init__(self):
        self.signed = []
        self.failures = []
        self.promised = []
        self.held = WeightsRead(request_id=1, block=1000, last_update=0, pairs=[])

    async def read_weights(self):
        if isinstance(self.held, Exception):
            raise self.held
        return self.held

    async def set_weights(self, uids, weights, version_key, promised_block):
        self.signed.append(list(zip(uids, weights, strict=True)))
        self.promised.append(promised_block)
        if self.failures:
            raise self.failures.pop()
        return WeightsSet(
            request_id=1,
            block=1001,
            block_hash="0xab",
            extrinsic="1001-1",
            read_back=[[uid, value] for uid, value in zip(uids, weights, strict=True)],
        )


class FakeCopies:
    """Finds what a test says, or is not done yet."""

    def __init__(self):
        self.asked = []
        self.found = FoundCopies(pairs=(), committed={}, products=())
        self.failures = []

    async def find(self, members, earning):
        self.asked.append((members, earning))
        if self.failures:
            raise self.failures.pop()
        return self.found


class Setting:
    """A setter on a database with one scored run."""

    def __init__(self, database, **changes):
        self.database = database
        self.signer = FakeSigner()
        self.metagraph = FakeMetagraph(a_metagraph(MINERS))
        self.copies = FakeCopies()
        self.settings = Settings(burn_fraction=0.5, **changes)
        self.setter = WeightSetter(self.settings, database, self.signer, self.metagraph, self.copies)

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


NEXT_LEADS = {"5Best": {"24": 0.5}, "5Second": {"24": 0.4}, "5Third": {"24": 0.2}}


@pytest.fixture
async def next_setting(database):
    """Three miners with skill under gaia-next."""
    setting = Setting(database, rule_set="gaia-next")
    for day in (3, 2, 1):
        scores = {"5Best": 0.5, "5Second": 0.4, "5Third": 0.2}
        await setting.record_run(NOW - timedelta(days=day), scores, rule_set="gaia-next", leads=NEXT_LEADS)
    return setting


async def test_a_copy_that_was_bound_later_is_not_paid_again(next_setting):
    next_setting.copies.found = FoundCopies(
        pairs=[("5Best", "5Second", 1.0)], committed={"5Best": 0, "5Second": 1, "5Third": 0}, products=[]
    )

    await next_setting.setter.set_if_due(NOW)

    assert [uid for uid, _ in next_setting.signer.signed[0]] == [0, 1, 3]
    ((members, earning),) = next_setting.copies.asked
    assert earning == MINERS
    assert [sorted(hotkeys) for hotkeys in members.values()] == [MINERS] * 3


async def test_who_has_no_skill_is_not_held_against_anybody(database):
    setting = Setting(database, rule_set="gaia-next")
    leads = {"5Best": {"24": 0.5}, "5Second": {"24": -0.2}}
    scores = {"5Best": 0.5, "5Second": -0.2}
    await setting.record_run(NOW - timedelta(days=1), scores, rule_set="gaia-next", leads=leads)

    await setting.setter.set_if_due(NOW)

    assert [earning for _, earning in setting.copies.asked] == [["5Best"]]


async def test_nothing_is_promised_while_it_is_being_found_out_who_shares_work(next_setting):
    next_setting.copies.failures = [NotYetAvailable("the products of 24 are still to be made", NOW)]

    assert await next_setting.setter.set_if_due(NOW) is None
    assert await next_setting.journal() == []
    assert await next_setting.setter.set_if_due(NOW) is not None


async def test_rules_of_the_live_network_never_ask_for_copies(setting):
    await setting.setter.set_if_due(NOW)

    assert setting.copies.asked == []


async def test_a_vector_that_is_promised_is_not_computed_again(next_setting):
    next_setting.signer.failures = [TransientError("no answer")]
    with pytest.raises(TransientError):
        await next_setting.setter.set_if_due(NOW)

    await next_setting.setter.set_if_due(NOW)

    assert len(next_setting.copies.asked) == 1


async def test_what_a_vector_was_computed_from_is_kept_and_gives_it_again(next_setting):
    next_setting.copies.found = FoundCopies(
        pairs=[("5Best", "5Second", 0.25)], committed={"5Best": 0, "5Second": 1}, products=[("r", 24, "ab")]
    )
    await next_setting.setter.set_if_due(NOW)

    (entry,) = await next_setting.journal()
    async with next_setting.database.transaction() as connection:
        parts = await history.weight_inputs(connection, parts_named(entry["inputs"]))
    inputs = read(entry["inputs"], parts)

    assert vector_of(inputs.weights()) == (entry["vector"], entry["vector_sha256"])
    assert inputs.found == next_setting.copies.found
    assert list(inputs.runs) == entry["run_ids"]


async def test_parts_that_did_not_change_are_kept_once(next_setting):
    await next_setting.setter.set_if_due(NOW)
    await next_setting.record_run(NOW, {"5Best": 0.5}, rule_set="gaia-next", leads=NEXT_LEADS)
    next_setting.at_block(2000, last_update=1001)

    await next_setting.setter.set_if_due(NOW)

    first, second = await next_setting.journal()
    new = set(parts_named(second["inputs"])) - set(parts_named(first["inputs"]))
    assert new == {second["inputs"]["runs"][-1][1]}


def pairs(vector):
    return [[uid, value] for uid, value in vector]


async def in_doubt(setting):
    """A vector of block 1000 that was signed, and nobody knows what became of it."""
    setting.signer.failures = [OwnFailure("the connection to the chain signer ended before it answered")]
    with pytest.raises(OwnFailure):
        await setting.setter.set_if_due(NOW)
    return pairs(setting.signer.signed[0])


async def test_vector_in_doubt_that_stands_on_chain_is_set_at_the_next_look(setting):
    vector = await in_doubt(setting)
    setting.signer.held = WeightsRead(request_id=1, block=1020, last_update=1003, pairs=vector)
    setting.at_block(1020, last_update=1003)

    assert await setting.setter.set_if_due(NOW) is None

    (entry,) = await setting.journal()
    assert (entry["state"], entry["block"], entry["read_back"], entry["error"]) == ("set", 1003, vector, None)
    assert len(setting.signer.signed) == 1


async def test_vector_in_doubt_is_settled_even_when_its_epoch_is_long_over(setting):
    vector = await in_doubt(setting)
    setting.signer.held = WeightsRead(request_id=1, block=1150, last_update=1003, pairs=vector)
    setting.at_block(1150, last_update=1003)

    assert await setting.setter.set_if_due(NOW) is None

    assert [(entry["epoch"], entry["state"]) for entry in await setting.journal()] == [(10, "set")]


async def test_intent_that_no_process_lived_to_settle_is_settled_by_its_successor(setting):
    vector = await in_doubt(setting)
    async with setting.database.transaction() as connection:
        await connection.execute(
            "UPDATE weight_journal SET state = 'intended', settled_at = NULL, error = NULL"
        )
    successor = WeightSetter(
        setting.settings, setting.database, setting.signer, setting.metagraph, setting.copies
    )
    setting.signer.held = WeightsRead(request_id=1, block=1005, last_update=1003, pairs=vector)

    await successor.set_if_due(NOW)

    (entry,) = await setting.journal()
    assert (entry["state"], entry["block"]) == ("set", 1003)


async def test_intent_written_before_blocks_were_kept_is_settled_by_its_epoch(setting):
    vector = await in_doubt(setting)
    async with setting.database.transaction() as connection:
        await connection.execute("UPDATE weight_journal SET promised_block = NULL, tried_block = NULL")
    setting.signer.held = WeightsRead(request_id=1, block=1005, last_update=1003, pairs=vector)

    assert await setting.setter.set_if_due(NOW) is None

    assert [entry["state"] for entry in await setting.journal()] == ["set"]


async def test_nothing_is_signed_in_an_epoch_in_which_others_were_set_since_the_promise(setting):
    await in_doubt(setting)
    setting.signer.held = WeightsRead(request_id=1, block=1020, last_update=1003, pairs=[[3, 65535]])

    assert await setting.setter.set_if_due(NOW) is None

    (entry,) = await setting.journal()
    assert entry["state"] == "lost"
    assert "1003" in entry["error"]
    assert len(setting.signer.signed) == 1


async def test_signer_is_told_as_of_which_block_the_vector_was_promised(setting):
    await in_doubt(setting)
    setting.at_block(1050)

    await setting.setter.set_if_due(NOW)

    assert setting.signer.promised == [1000, 1000]
    (entry,) = await setting.journal()
    assert (entry["promised_block"], entry["tried_block"]) == (1000, 1050)


async def test_weights_are_tried_though_what_is_in_doubt_cannot_be_read(setting):
    await in_doubt(setting)
    setting.signer.held = TransientError("the chain failed while reading Uids")

    assert await setting.setter.set_if_due(NOW) is not None


async def test_outcomes_recorded_twice_are_recorded_once(setting):
    outcome = await setting.setter.set_if_due(NOW)
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


async def incidents(database):
    async with database.transaction() as connection:
        return [dict(row) for row in await connection.fetch("SELECT * FROM incidents ORDER BY incident_id")]


async def test_weights_that_cannot_be_set_are_one_incident_until_they_can(setting):
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


async def test_incident_left_open_by_an_earlier_process_ends_with_the_first_success(database):
    await Incident(database, "chain").failing("no answer", NOW)

    await Incident(database, "chain").recovered(NOW + timedelta(hours=1))

    assert [row["ended_at"] for row in await incidents(database)] == [NOW + timedelta(hours=1)]


async def test_second_failure_opens_a_second_incident_and_strange_bytes_are_kept_readable(database):
    chain = Incident(database, "chain")
    await chain.failing("no answer", NOW)
    await chain.recovered(NOW)
    await chain.failing("\0\ud800 garbage", NOW)

    first, second = await incidents(database)
    assert first["ended_at"] == NOW
    assert (second["ended_at"], second["evidence"]) == (None, "?? garbage")


async def test_incident_that_cannot_be_written_breaks_nothing_and_is_written_later(empty_dsn):
    database = await Database.connect(empty_dsn, timeout_s=10, pool_size=1)
    chain = Incident(database, "chain")

    await chain.failing("no answer", NOW)
    await chain.recovered(NOW)
    await run_comprehensive_database_setup(database)
    await chain.failing("no answer", NOW)

    assert len(await incidents(database)) == 1
    await database.close()
