"""Each registered hotkey that a vector leaves out has a reason of its own."""

from __future__ import annotations

from gaia.cli.lists.earned import unpaid
from gaia.tasks.defined_tasks.base import FoundCopies
from gaia.validator.core.weights.inputs import VectorInputs, vector_of
from gaia.validator.core.weights.rules import Entry
from gaia.validator.core.weights.rules.base import Standing
from gaia.validator.core.weights.vector import Registered, Terms
from gaia.validator.utils.chain.metagraph import Neuron
from gaia.validator.utils.identities import Hotkey
from tests.support.fakes import a_metagraph

HOTKEYS = ["5Owner", "5Best", "5Copy", "5Zero", "5Excused", "5New", "5Away", "5Peer"]


def a_neuron(uid: int, hotkey: str) -> Neuron:
    return Neuron(
        uid=uid,
        hotkey=Hotkey(hotkey),
        coldkey="5Cold",
        ip="" if hotkey in ("5Owner", "5Away") else "192.0.2.1",
        port=1,
        stake=0.0,
        validator_permit=hotkey == "5Peer",
        last_update=990,
        registered_at=1,
    )


def an_entry(score: float, standing: Standing = Standing.DELIVERED) -> Entry:
    return Entry(
        standing=standing, overall=score, leads={24: score} if standing is Standing.DELIVERED else {}
    )


def test_reasons_name_why_nothing_is_paid() -> None:
    graph = a_metagraph([], neurons=[a_neuron(uid, hotkey) for uid, hotkey in enumerate(HOTKEYS)])
    run = {
        "5Best": an_entry(0.8),
        "5Copy": an_entry(0.8),
        "5Zero": an_entry(-0.5),
        "5Excused": an_entry(0.0, Standing.EXCUSED),
    }
    inputs = VectorInputs(
        terms=Terms(
            rule="gaia-next", burn_fraction=0.5, burn_enabled=True, burn_hotkey="", contrast_gamma=1.0
        ),
        present=Registered(
            uids={hotkey: uid for uid, hotkey in enumerate(HOTKEYS)},
            eligible=frozenset(HOTKEYS) - {"5Owner", "5Away", "5Peer"},
            owner_hotkey="5Owner",
        ),
        runs={"2026-04-01T00Z": run},
        found=FoundCopies(pairs=[("5Best", "5Copy", 1.0)], committed={"5Best": 0, "5Copy": 1}, products=[]),
    )
    weights = inputs.weights()
    assert weights is not None

    reasons = {each.hotkey: each.reason for each in unpaid(inputs, vector_of(weights)[0], graph)}

    assert reasons == {
        "5Copy": "its work was committed by others before it, or its share rounds to 0",
        "5Zero": "its score is 0",
        "5Excused": "no score in the window",
        "5New": "no score in the window",
        "5Away": "serves no address",
        "5Peer": "a validator",
    }
    assert inputs.worths()["5Best"] == inputs.worths()["5Copy"] > 0
