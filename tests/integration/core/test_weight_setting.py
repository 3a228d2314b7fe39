"""One vector an epoch, journalled before it is signed, whatever the chain answers."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
import structlog

from gaia.tasks.defined_tasks.base import FoundCopies
from gaia.validator.app.logging_config import configure_logging
from gaia.validator.core.weights.inputs import from_parts, parts_named, vector_of
from gaia.validator.db import history
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import NotYetAvailable, TransientError
from tests.support.fakes import VALIDATOR, a_metagraph
from tests.support.weight_setters import MINERS, NOW, Setting


@pytest.fixture
async def setting(database: Database) -> Setting:
    setting = Setting(database)
    await setting.record_run(NOW - timedelta(days=1), {"5Best": 0.6, "5Second": 0.5, "5Third": 0.2})
    return setting


async def test_weights_that_are_withheld_are_said_once_and_counted_and_set_weights_each_time(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO", "json")
    setting = Setting(database)
    for _ in range(3):
        await setting.setter.set_if_due(NOW)
    await setting.record_run(NOW - timedelta(days=1), {"5Best": 0.6})
    await setting.setter.set_if_due(NOW)

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [(line["event"], line.get("reason"), line.get("miners")) for line in lines]
    assert told == [("weights_withheld", "no score in the window", None), ("weights_set", None, 2)]
    structlog.reset_defaults()


async def test_better_scores_earn_more_and_the_burn_gets_its_part(setting: Setting) -> None:
    outcome = await setting.setter.set_if_due(NOW)

    assert outcome is not None
    vector = dict(setting.signer.signed[0])
    assert vector[1] > vector[2] > vector[3] > 0
    assert vector[0] / sum(vector.values()) == pytest.approx(0.5, abs=1e-4)
    (entry,) = await setting.journal()
    assert (entry["state"], entry["block"], entry["read_back"]) == ("set", 1001, outcome.read_back)
    assert sum(entry["weights"].values()) == pytest.approx(1.0, abs=1e-12)
    assert set(entry["weights"]) == {VALIDATOR, *MINERS}


async def test_epoch_whose_weights_are_set_is_not_signed_again(setting: Setting) -> None:
    await setting.setter.set_if_due(NOW)

    assert await setting.setter.set_if_due(NOW) is None
    assert len(setting.signer.signed) == 1


async def test_vector_is_judged_once_before_it_is_promised(setting: Setting) -> None:
    seen: list[list[str]] = []

    async def judge(vector: Sequence[Sequence[int]], now: datetime) -> None:
        setting.consensus.judged.append([list(pair) for pair in vector])
        seen.append([row["state"] for row in await setting.journal()])

    setting.consensus.judge = judge  # type: ignore[method-assign]
    setting.signer.failures = [TransientError("no answer")]
    with pytest.raises(TransientError):
        await setting.setter.set_if_due(NOW)
    await setting.setter.set_if_due(NOW)

    (entry,) = await setting.journal()
    assert setting.consensus.judged == [entry["vector"]]
    assert seen == [[]]


async def test_failed_submission_is_repeated_with_the_very_same_vector(setting: Setting) -> None:
    setting.signer.failures = [TransientError("no answer")]
    with pytest.raises(TransientError):
        await setting.setter.set_if_due(NOW)
    await setting.record_run(NOW, {"5Best": 0.0, "5Second": 0.9, "5Third": 0.2})

    await setting.setter.set_if_due(NOW)

    assert setting.signer.signed[0] == setting.signer.signed[1]
    assert setting.signer.paid == [[VALIDATOR, *MINERS]] * 2
    (entry,) = await setting.journal()
    assert (entry["state"], entry["error"]) == ("set", None)


async def test_next_epoch_takes_the_new_scores(setting: Setting) -> None:
    await setting.setter.set_if_due(NOW)
    await setting.record_run(NOW, {"5Best": 0.0, "5Second": 0.9, "5Third": 0.2})
    setting.at_block(2000, last_update=1001)

    await setting.setter.set_if_due(NOW)

    assert dict(setting.signer.signed[1])[2] > dict(setting.signer.signed[1])[1]


async def test_weights_wait_for_the_interval(setting: Setting) -> None:
    setting.at_block(1240, last_update=1001)

    assert await setting.setter.set_if_due(NOW) is None
    assert setting.signer.signed == []


async def test_runs_older_than_the_window_are_forgotten(setting: Setting) -> None:
    await setting.record_run(NOW - timedelta(days=17), {"5Third": 1.0})

    await setting.setter.set_if_due(NOW)

    (entry,) = await setting.journal()
    assert len(entry["run_ids"]) == 1


async def test_nothing_is_signed_without_scores(database: Database) -> None:
    setting = Setting(database)

    assert await setting.setter.set_if_due(NOW) is None
    assert await setting.journal() == []


async def test_run_that_has_scored_no_lead_yet_says_nothing(database: Database) -> None:
    setting = Setting(database)
    await setting.record_run(NOW - timedelta(days=1), {"5Third": 0.0}, completed=False)

    assert await setting.setter.set_if_due(NOW) is None
    assert setting.signer.signed == []


async def test_dry_run_signs_nothing(database: Database) -> None:
    setting = Setting(database, dry_run=True)
    await setting.record_run(NOW - timedelta(days=1), {"5Best": 0.6})

    assert await setting.setter.set_if_due(NOW) is None
    assert setting.signer.signed == []


async def test_validator_without_permit_signs_nothing(setting: Setting) -> None:
    metagraph = setting.metagraph.metagraph
    setting.metagraph.metagraph = a_metagraph(MINERS, neurons=metagraph.neurons[1:], own_uid=None)

    assert await setting.setter.set_if_due(NOW) is None
    assert setting.signer.signed == []


async def test_excused_run_neither_helps_nor_harms(database: Database) -> None:
    setting = Setting(database)
    await setting.record_run(NOW - timedelta(days=1), {"5Best": 0.6, "5Second": 0.5})
    await setting.setter.set_if_due(NOW)
    await setting.record_run(NOW, {"5Best": 0.0, "5Second": 0.5}, excused=["5Best"])
    setting.at_block(2000)

    await setting.setter.set_if_due(NOW)

    assert setting.signer.signed[0] == setting.signer.signed[1]


async def test_gaia_next_counts_the_leads_that_everybody_has_long_before_a_run_is_complete(
    database: Database,
) -> None:
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
async def next_setting(database: Database) -> Setting:
    """Three miners with skill under gaia-next."""
    setting = Setting(database, rule_set="gaia-next")
    for day in (3, 2, 1):
        scores = {"5Best": 0.5, "5Second": 0.4, "5Third": 0.2}
        await setting.record_run(NOW - timedelta(days=day), scores, rule_set="gaia-next", leads=NEXT_LEADS)
    return setting


async def test_a_copy_that_was_bound_later_is_not_paid_again(next_setting: Setting) -> None:
    next_setting.copies.found = FoundCopies(
        pairs=[("5Best", "5Second", 1.0)], committed={"5Best": 0, "5Second": 1, "5Third": 0}, products=[]
    )

    await next_setting.setter.set_if_due(NOW)

    assert [uid for uid, _ in next_setting.signer.signed[0]] == [0, 1, 3]
    ((members, earning),) = next_setting.copies.asked
    assert earning == MINERS
    assert [sorted(hotkeys) for hotkeys in members.values()] == [MINERS] * 3


async def test_who_has_no_skill_is_not_held_against_anybody(database: Database) -> None:
    setting = Setting(database, rule_set="gaia-next")
    leads = {"5Best": {"24": 0.5}, "5Second": {"24": -0.2}}
    scores = {"5Best": 0.5, "5Second": -0.2}
    await setting.record_run(NOW - timedelta(days=1), scores, rule_set="gaia-next", leads=leads)

    await setting.setter.set_if_due(NOW)

    assert [earning for _, earning in setting.copies.asked] == [["5Best"]]


async def test_nothing_is_promised_while_it_is_being_found_out_who_shares_work(next_setting: Setting) -> None:
    next_setting.copies.failures = [NotYetAvailable("the Gram matrix of 24 is not computed yet", NOW)]

    assert await next_setting.setter.set_if_due(NOW) is None
    assert await next_setting.journal() == []
    assert await next_setting.setter.set_if_due(NOW) is not None


async def test_rules_of_the_live_network_never_ask_for_copies(setting: Setting) -> None:
    await setting.setter.set_if_due(NOW)

    assert setting.copies.asked == []


async def test_a_vector_that_is_promised_is_not_computed_again(next_setting: Setting) -> None:
    next_setting.signer.failures = [TransientError("no answer")]
    with pytest.raises(TransientError):
        await next_setting.setter.set_if_due(NOW)

    await next_setting.setter.set_if_due(NOW)

    assert len(next_setting.copies.asked) == 1


async def test_what_a_vector_was_computed_from_is_kept_and_gives_it_again(next_setting: Setting) -> None:
    next_setting.copies.found = FoundCopies(
        pairs=[("5Best", "5Second", 0.25)], committed={"5Best": 0, "5Second": 1}, products=[("r", 24, "ab")]
    )
    await next_setting.setter.set_if_due(NOW)

    (entry,) = await next_setting.journal()
    async with next_setting.database.transaction() as connection:
        parts = await history.weight_inputs(connection, parts_named(entry["inputs"]))
    inputs = from_parts(entry["inputs"], parts)

    weights = inputs.weights()
    assert weights is not None
    assert vector_of(weights) == (entry["vector"], entry["vector_sha256"])
    assert inputs.found == next_setting.copies.found
    assert list(inputs.runs) == entry["run_ids"]


async def test_parts_that_did_not_change_are_kept_once(next_setting: Setting) -> None:
    await next_setting.setter.set_if_due(NOW)
    await next_setting.record_run(NOW, {"5Best": 0.5}, rule_set="gaia-next", leads=NEXT_LEADS)
    next_setting.at_block(2000, last_update=1001)

    await next_setting.setter.set_if_due(NOW)

    first, second = await next_setting.journal()
    new = set(parts_named(second["inputs"])) - set(parts_named(first["inputs"]))
    assert new == {second["inputs"]["runs"][-1][1]}
