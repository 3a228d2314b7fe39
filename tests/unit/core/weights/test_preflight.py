"""What is known to be refused before it is signed; the local chain's pallet refuses exactly that."""

from __future__ import annotations

import ast
import inspect
import random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gaia.localnet.chain.apis import RuntimeApis
from gaia.localnet.chain.calls import DispatchError
from gaia.localnet.chain.pallet import SubnetRules, SubtensorPallet
from gaia.localnet.chain.runtime import ChainRuntime
from gaia.localnet.chain.storage import ChainStorage
from gaia.validator.core.chain import commits, reader, weight_answers
from gaia.validator.core.chain.answers import metagraph_of
from gaia.validator.core.chain.epochs import EpochSchedule
from gaia.validator.core.weights import preflight
from gaia.validator.core.weights.preflight import (
    VERSION_KEY,
    obstacle_to,
    obstacle_to_form,
    obstacle_to_us,
    version_key_of,
)
from gaia.validator.utils.chain.metagraph import RAO_PER_TOKEN, Metagraph
from gaia.validator.utils.chain.refusals import refusal_named
from gaia.validator.utils.errors import WeightsImpossible
from tests.support.fakes import a_metagraph
from tests.support.subnet import NETUID, OWNER, RULES, VALIDATOR, neurons

MINERS = ["5A", "5B", "5C"]
HALVES = [[1, 65535], [2, 65535]]
_RUNTIME = ChainRuntime.load()


def _name(obstacle: WeightsImpossible | None) -> str:
    return "" if obstacle is None else obstacle.name


@pytest.mark.parametrize(("least", "is_fine"), [(0, True), (2, True), (3, False)])
def test_vector_must_name_as_many_uids_as_the_subnet_wants(least: int, is_fine: bool) -> None:
    told = obstacle_to(HALVES, a_metagraph(MINERS, min_allowed_weights=least))

    assert _name(told) == ("" if is_fine else "WeightVecLengthIsLow")
    assert is_fine or "the vector names 2 uids, and the subnet wants 3 or more" in str(told)


def test_subnet_wants_no_more_uids_than_it_has() -> None:
    whole = [[uid, 65535] for uid in range(4)]

    assert obstacle_to(whole, a_metagraph(MINERS, min_allowed_weights=64)) is None


@pytest.mark.parametrize(("limit", "is_fine"), [(65535, True), (32768, True), (32767, False), (6554, False)])
def test_no_uid_may_get_more_of_the_whole_than_the_subnet_allows(limit: int, is_fine: bool) -> None:
    told = obstacle_to(HALVES, a_metagraph(MINERS, max_weights_limit=limit))

    assert _name(told) == ("" if is_fine else "MaxWeightExceeded")
    assert is_fine or f"one uid gets 50.00% of the weight, and the subnet allows {limit / 65535:.2%}" in str(
        told
    )


def test_vector_that_names_its_sender_alone_passes_both_rules() -> None:
    metagraph = a_metagraph(MINERS, min_allowed_weights=3, max_weights_limit=100)

    assert obstacle_to([[0, 65535]], metagraph) is None
    assert obstacle_to([[1, 65535]], metagraph) is not None


@pytest.mark.parametrize(("wanted", "sent"), [(0, VERSION_KEY), (4000, 4000), (5000, 5000)])
def test_version_key_is_the_one_that_the_subnet_demands_if_it_is_larger(wanted: int, sent: int) -> None:
    assert version_key_of(a_metagraph(MINERS, weights_version=wanted)) == sent


def test_obstacle_says_what_is_wrong_and_what_to_do() -> None:
    poor = a_metagraph(MINERS, stake_threshold=3000.0, owner_hotkey="5Owner")

    assert str(obstacle_to_us(poor)) == (
        "the chain would refuse the weights: NotEnoughStakeToSetWeights: the hotkey has 2000.0 of the 3000.0"
        " tokens that it needs; stake more on this hotkey: `btcli stake add`"
    )


class _Subnet:
    """A pallet whose block number the test decides, and what our reading of it says."""

    def __init__(self) -> None:
        self.number = 50
        self.storage = ChainStorage(_RUNTIME)
        self.pallet = SubtensorPallet(self.storage, NETUID, lambda: self.number)
        self.pallet.found(SubnetRules(**RULES | {"min_allowed_weights": 1}), neurons())

    def metagraph(self) -> Metagraph:
        block = SimpleNamespace(state=self.storage.snapshot(), number=self.number)
        answer = RuntimeApis(_RUNTIME, block).call(  # type: ignore[arg-type]
            "SubnetInfoRuntimeApi_get_metagraph", NETUID.to_bytes(2, "little")
        )
        output = _RUNTIME.api_map["SubnetInfoRuntimeApi"]["get_metagraph"]["output"]
        schedule = EpochSchedule(
            block=self.number,
            index=0,
            last_epoch_block=0,
            pending_epoch_at=0,
            tempo=360,
            blocks_since_last_step=0,
        )
        graph = metagraph_of(_RUNTIME.decode(output, answer), schedule, NETUID, VALIDATOR)
        return msgspec.structs.replace(
            graph,
            stake_threshold=self.storage.read("StakeThreshold") / RAO_PER_TOKEN,
            mechanisms=self.storage.read("MechanismCountCurrent", NETUID),
        )

    def foreseen(self, vector: list[list[int]], version_key: int, *, is_sealed: bool) -> str:
        """Return what our preflight says of a vector in the next block."""
        metagraph = self.metagraph()
        return _name(
            obstacle_to_us(metagraph)
            or obstacle_to_form(metagraph, version_key, is_sealed=is_sealed)
            or obstacle_to(vector, metagraph)
        )

    def refused(self, vector: list[list[int]], version_key: int, *, is_sealed: bool) -> str:
        """Return what the chain says of it in the next block, committed and revealed at once if it is sealed."""
        before, self.number = self.storage.snapshot(), self.number + 1
        plain = {
            "netuid": NETUID,
            "mecid": 0,
            "dests": [uid for uid, _ in vector],
            "weights": [weight for _, weight in vector],
            "version_key": version_key,
        }
        sealed = {
            "netuid": NETUID,
            "mecid": 0,
            "commit": "0x00",
            "reveal_round": 1,
            "commit_reveal_version": 4,
        }
        try:
            if is_sealed:
                self.pallet.dispatch(VALIDATOR, "commit_timelocked_mechanism_weights", sealed)
                self.storage.write("CommitRevealWeightsEnabled", NETUID, value=False)
                self.storage.write("LastUpdate", NETUID, value=[0] * self.storage.read("SubnetworkN", NETUID))
            self.pallet.dispatch(VALIDATOR, "set_mechanism_weights", plain)
        except DispatchError as refusal:
            return refusal.name
        finally:
            self.number -= 1
            self.storage.restore(before)
        return ""


_FAULTS: dict[str, Any] = {
    "NotEnoughStakeToSetWeights": lambda write: write("StakeThreshold", value=3000 * RAO_PER_TOKEN),
    "NeuronNoValidatorPermit": lambda write: write("ValidatorPermit", NETUID, value=[False] * 5),
    "IncorrectWeightVersionKey": lambda write: write("WeightsVersionKey", NETUID, value=4001),
    "WeightVecLengthIsLow": lambda write: write("MinAllowedWeights", NETUID, value=3),
    "MaxWeightExceeded": lambda write: write("MaxWeightsLimit", NETUID, value=9000),
}


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize("name", _FAULTS)
def test_each_rule_is_foreseen_under_the_name_that_the_chain_has_for_it(name: str, is_sealed: bool) -> None:
    subnet = _Subnet()
    subnet.storage.write("CommitRevealWeightsEnabled", NETUID, value=is_sealed)
    assert subnet.foreseen(HALVES, 4000, is_sealed=is_sealed) == ""
    assert subnet.refused(HALVES, 4000, is_sealed=is_sealed) == ""

    _FAULTS[name](subnet.storage.write)

    assert subnet.foreseen(HALVES, 4000, is_sealed=is_sealed) == name
    assert subnet.refused(HALVES, 4000, is_sealed=is_sealed) == name


@pytest.mark.parametrize(
    ("is_sealed", "name"), [(False, "SettingWeightsTooFast"), (True, "CommittingWeightsTooFast")]
)
def test_weights_are_too_fast_until_the_next_block_is_late_enough(is_sealed: bool, name: str) -> None:
    subnet = _Subnet()
    subnet.storage.write("CommitRevealWeightsEnabled", NETUID, value=is_sealed)
    subnet.storage.write("WeightsSetRateLimit", NETUID, value=10)
    found = []
    for last in (43, 42, 41, 40):
        subnet.storage.write("LastUpdate", NETUID, value=[last, 0, 0, 0, 0])
        verdicts = (
            subnet.foreseen(HALVES, 4000, is_sealed=is_sealed),
            subnet.refused(HALVES, 4000, is_sealed=is_sealed),
        )
        assert verdicts[0] == verdicts[1]
        found.append(verdicts[0])

    assert found == [name, name, "", ""]


@pytest.mark.parametrize(
    ("is_sealed", "name"), [(False, "CommitRevealEnabled"), (True, "CommitRevealDisabled")]
)
def test_other_form_than_the_subnet_wants_is_foreseen(is_sealed: bool, name: str) -> None:
    subnet = _Subnet()
    subnet.storage.write("CommitRevealWeightsEnabled", NETUID, value=not is_sealed)

    assert subnet.foreseen(HALVES, 4000, is_sealed=is_sealed) == name
    assert subnet.refused(HALVES, 4000, is_sealed=is_sealed) == name


def test_preflight_lets_pass_what_the_chain_takes_and_nothing_else() -> None:
    chance, outcomes = random.Random(11), {True: 0, False: 0}
    for number in range(500):
        subnet = _Subnet()
        write, is_sealed = subnet.storage.write, chance.random() < 0.5
        write("CommitRevealWeightsEnabled", NETUID, value=is_sealed ^ (chance.random() < 0.05))
        write("MinAllowedWeights", NETUID, value=chance.choice([0, 1, 1, 2, 3, 64]))
        write("MaxWeightsLimit", NETUID, value=chance.choice([65535] * 5 + [40000, 20000]))
        write("WeightsVersionKey", NETUID, value=chance.choice([0] * 4 + [4000] * 4 + [4001]))
        write("WeightsSetRateLimit", NETUID, value=chance.choice([0, 0, 0, 5, 20]))
        write("LastUpdate", NETUID, value=[chance.choice([0, 20, 49]), 0, 0, 0, 0])
        write("ValidatorPermit", NETUID, value=[chance.random() < 0.9, False, False, False, False])
        write("StakeThreshold", value=chance.choice([0, 0, 1000, 2000, 2001]) * RAO_PER_TOKEN)
        write("SubnetOwnerHotkey", NETUID, value=chance.choice([OWNER, OWNER, VALIDATOR]))
        uids = sorted(chance.sample(range(5 + (chance.random() < 0.1)), chance.randint(1, 5)))
        weights = [chance.randint(1, 65535) for _ in uids]
        weights[chance.randrange(len(weights))] = 65535
        vector = [list(pair) for pair in zip(uids, weights, strict=True)]
        if uids == [0]:
            continue  # a vector for ourselves alone needs no permit, and we set none but as the owner

        foreseen = subnet.foreseen(vector, 4000, is_sealed=is_sealed)
        refused = subnet.refused(vector, 4000, is_sealed=is_sealed)

        assert bool(foreseen) == bool(refused), (number, foreseen, refused)
        outcomes[not foreseen] += 1

    assert min(outcomes.values()) > 40, outcomes


@pytest.mark.parametrize("is_sealed", [False, True])
def test_hotkey_without_a_uid_is_foreseen(is_sealed: bool) -> None:
    subnet = _Subnet()
    subnet.storage.write("CommitRevealWeightsEnabled", NETUID, value=is_sealed)

    subnet.storage.remove("Uids", NETUID, VALIDATOR)
    subnet.storage.write("Keys", NETUID, 0, value=OWNER)

    assert subnet.foreseen(HALVES, 4000, is_sealed=is_sealed) == "HotKeyNotRegisteredInSubNet"
    assert subnet.refused(HALVES, 4000, is_sealed=is_sealed) == "HotKeyNotRegisteredInSubNet"


def test_every_name_that_a_preflight_says_is_one_that_is_explained_as_foreseen() -> None:
    calls = [
        node
        for module in (preflight, commits, reader, weight_answers)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "impossible"
    ]
    said = {part.value for call in calls for part in ast.walk(call.args[0]) if isinstance(part, ast.Constant)}

    assert {"MaxWeightExceeded", "CommitRevealEnabled", "InvalidRevealRound", "SubnetNotExists"} <= said
    assert {name for name in said if not refusal_named(str(name)).is_foreseen} == set()
