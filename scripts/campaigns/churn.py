"""Replaces, swaps and trims miners between score and inclusion, and checks who is paid and whose history counts."""

from __future__ import annotations

import argparse
import logging
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from gaia.localnet.chain.pallet import ChainNeuron, SubnetRules, SubtensorPallet
from gaia.localnet.chain.runtime import ChainRuntime
from gaia.localnet.chain.storage import ChainStorage
from gaia.localnet.chain.subnet.neurons import neurons_of
from gaia.localnet.wallets import VALIDATOR_URI, keypair
from gaia.validator.core.weights.doubts import as_stored
from gaia.validator.core.weights.inputs import VectorInputs, vector_of
from gaia.validator.core.weights.renaming import renamed_in
from gaia.validator.core.weights.resolving import LEAST_LEFT, resolve
from gaia.validator.core.weights.vector import Terms, registered
from gaia.validator.core.weights.window import entries_of
from gaia.validator.db.journal import WindowScore
from gaia.validator.db.states import ForecastState
from gaia.validator.utils.chain.metagraph import Metagraph, Neuron
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.identities import Hotkey, RunId
from gaia.validator.utils.signer_messages import JournalledVector

_NETUID: Final = 57
_SLOTS: Final = 12
_RUNS: Final = 5
"""Runs of the window."""
_WHEN: Final = datetime(2026, 4, 1, tzinfo=UTC)
_OWNER: Final = str(keypair("//Owner").ss58_address)
_OWN: Final = str(keypair(VALIDATOR_URI).ss58_address)
_TERMS: Final = Terms(
    rule="gaia-2.9", burn_fraction=0.25, burn_enabled=True, burn_hotkey="", contrast_gamma=1.0
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=1000, help="changes of the subnet (1000)")
    parser.add_argument("--seed", type=int, default=4, help="decides them and the scores (4)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Let events happen one after another; return {figures, ratios, violations}."""
    # Each vector with other uids is a warning.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    began = time.monotonic()
    subnet = Subnet(random.Random(arguments.seed))
    found = Found()
    while found.events.total() < arguments.events:
        _epoch(subnet, found)
    return {
        "figures": {
            "epochs": found.epochs,
            "events": dict(sorted(found.events.items())),
            "held": found.held,
            "shares_of_newcomers": found.to_newcomers,
            "shares_of_swapped_hotkeys": found.to_swapped,
            "scores_of_swapped_hotkeys": found.followed,
            "swapped_and_moved": found.unrecognised,
            "seconds": round(time.monotonic() - began, 1),
        },
        "ratios": {"three_by_events": round(3 / max(1, found.events.total()), 4)},
        "violations": found.violations,
    }


@dataclass
class Found:
    """What the epochs have shown."""

    epochs: int = 0
    events: Counter[str] = field(default_factory=Counter)
    held: int = 0
    """Epochs in which nothing was signed, because half of the weight had lost its owners."""
    to_newcomers: int = 0
    to_swapped: int = 0
    followed: int = 0
    """Scores that stand under a later hotkey."""
    unrecognised: int = 0
    """Shares and scores of miners that were both swapped and moved by a trim."""
    violations: list[str] = field(default_factory=list)


class Subnet:
    """A subnet of the local chain, and beside it the truth: which hotkey is which miner."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.number = 1
        self._serial = 0
        self.storage = ChainStorage(ChainRuntime.load())
        self.pallet = SubtensorPallet(self.storage, _NETUID, lambda: self.number)
        rules = SubnetRules(
            netuid=_NETUID,
            tempo=360,
            weights_rate_limit=0,
            min_allowed_weights=1,
            weights_version=0,
            commit_reveal=False,
            owner_hotkey=_OWNER,
            owner_coldkey=_OWNER,
        )
        own = ChainNeuron(hotkey=_OWN, coldkey=_OWNER, ip="", port=0, stake=2000.0, validator_permit=True)
        owner = ChainNeuron(hotkey=_OWNER, coldkey=_OWNER, ip="", port=0, stake=0.0, validator_permit=False)
        self.pallet.found(rules, [own, owner])
        self.storage.write("ImmunityPeriod", _NETUID, value=0)
        self.miners: dict[str, int] = {}
        """Hotkey -> number of the miner."""
        self.left: list[str] = []
        self.swapped: set[int] = set()
        """Miners that swapped their hotkey since the vector was computed."""
        self.places: dict[int, int] = {}
        """Miner -> its uid when the vector was computed."""
        while len(self.miners) < _SLOTS:
            self._register(self._fresh())

    def metagraph(self) -> Metagraph:
        rows = neurons_of(self.storage, _NETUID)
        return Metagraph(
            netuid=_NETUID,
            block=self.number,
            neurons=[
                Neuron(
                    uid=row["uid"],
                    hotkey=Hotkey(row["hotkey"]),
                    coldkey=row["coldkey"],
                    ip="127.0.0.2",
                    port=8091,
                    stake=0.0,
                    validator_permit=row["validator_permit"],
                    last_update=row["last_update"],
                    registered_at=row["block_at_registration"],
                )
                for row in rows
            ],
            own_hotkey=_OWN,
            own_uid=next(row["uid"] for row in rows if row["hotkey"] == _OWN),
            tempo=360,
            epoch=self.number // 361,
            next_epoch_block=None,
            weights_rate_limit=0,
            min_allowed_weights=1,
            weights_version=0,
            commit_reveal=False,
            owner_hotkey=_OWNER,
        )

    def change(self) -> str:
        """Let one event happen; return its kind."""
        self.number += 1
        kind = self.chance.choice(["replaced", "replaced", "returned", "swapped", "swapped", "trimmed"])
        if kind == "swapped":
            self._swap()
        elif kind == "trimmed" and len(self.miners) > _SLOTS // 2:
            self._trim()
        elif kind == "returned" and self.left:
            self._register(self.left.pop(self.chance.randrange(len(self.left))))
        else:
            kind = "replaced"
            self._register(self._fresh())
        return kind

    def set_weights(self, vector: JournalledVector) -> dict[str, int]:
        """Set weights as our extrinsic would; return hotkey -> u16 as the chain holds them."""
        arguments = {
            "netuid": _NETUID,
            "mecid": 0,
            "dests": vector.uids,
            "weights": vector.weights,
            "version_key": 0,
        }
        self.pallet.dispatch(_OWN, "set_mechanism_weights", arguments)
        own_uid = self.storage.read("Uids", _NETUID, _OWN)
        pairs = self.storage.read("Weights", _NETUID, own_uid)
        return {self.storage.read("Keys", _NETUID, uid): weight for uid, weight in pairs if weight}

    def _fresh(self) -> str:
        self._serial += 1
        return str(keypair(f"//Churn/{self._serial}").ss58_address)

    def _register(self, hotkey: str) -> None:
        """Register a miner under its own coldkey, in the slot of another one if the subnet is full."""
        self.number += 1
        full = len(self.miners) >= _SLOTS
        self.storage.write("MaxAllowedUids", _NETUID, value=len(self.miners) + (2 if full else 3))
        # The least emission is pruned; whose that is, the chance decides.
        count = int(self.storage.read("SubnetworkN", _NETUID))
        emission = [self.chance.randrange(1, 1000) for _ in range(count)]
        emission[self.storage.read("Uids", _NETUID, _OWN)] = 10**6
        self.storage.write("Emission", _NETUID, value=emission)
        self.pallet.dispatch(hotkey, "burned_register", {"netuid": _NETUID, "hotkey": hotkey})
        self._forget_missing()
        self._serial += 1
        self.miners[hotkey] = self._serial

    def _swap(self) -> None:
        old, new = self.chance.choice(sorted(self.miners)), self._fresh()
        coldkey = self.storage.read("Owner", old)
        call = {"hotkey": old, "new_hotkey": new, "netuid": _NETUID}
        self.pallet.dispatch(coldkey, "swap_hotkey", call)
        self.miners[new] = self.miners.pop(old)
        self.swapped.add(self.miners[new])

    def _trim(self) -> None:
        count = int(self.storage.read("SubnetworkN", _NETUID))
        emission = [self.chance.randrange(1, 1000) for _ in range(count)]
        emission[self.storage.read("Uids", _NETUID, _OWN)] = 10**6
        self.storage.write("Emission", _NETUID, value=emission)
        call = {"netuid": _NETUID, "max_n": count - 1}
        self.pallet.dispatch(_OWNER, "sudo_trim_to_max_allowed_uids", call)
        self._forget_missing()

    def _forget_missing(self) -> None:
        for hotkey in list(self.miners):
            if self.storage.read("Uids", _NETUID, hotkey) is None:
                del self.miners[hotkey]
                self.left.append(hotkey)


def _epoch(subnet: Subnet, found: Found) -> None:
    """Score five runs with events between them, compute a vector, let events happen, and include it."""
    history: list[tuple[int, WindowScore]] = []
    for run_number in range(_RUNS):
        history += _scored(subnet, f"run {run_number}")
        found.events[subnet.change()] += 1
    graph = subnet.metagraph()
    scores = [score for _, score in history]
    renamed = renamed_in(scores, graph)
    runs = entries_of(scores, graph, renamed)
    _compare_history(subnet, history, runs, found)
    inputs = VectorInputs(terms=_TERMS, present=registered(graph), runs=runs, renamed=renamed)
    weights = inputs.weights() or {}
    pairs, digest = vector_of(weights)
    owners = {neuron.uid: neuron for neuron in graph.neurons}
    vector = JournalledVector(
        epoch=graph.epoch,
        uids=[uid for uid, _ in pairs],
        weights=[weight for _, weight in pairs],
        version_key=0,
        sha256=digest,
        hotkeys=[owners[uid].hotkey for uid, _ in pairs],
        registered=[owners[uid].registered_at for uid, _ in pairs],
        burner=inputs.burner,
    )
    promised = {_miner(subnet, owners[uid].hotkey): weight for uid, weight in pairs}
    subnet.swapped.clear()
    subnet.places = {_miner(subnet, neuron.hotkey): neuron.uid for neuron in graph.neurons}
    for _ in range(subnet.chance.randrange(1, 4)):
        found.events[subnet.change()] += 1
    _include(subnet, vector, promised, found)
    found.epochs += 1


def _include(subnet: Subnet, vector: JournalledVector, promised: dict[int, int], found: Found) -> None:
    """Set the vector with the uids of now, and compare what the chain holds with what was promised to whom."""
    graph = subnet.metagraph()
    wanted = {
        miner: promised[miner]
        for neuron in graph.neurons
        if (miner := _miner(subnet, neuron.hotkey)) in promised
        # Who was both swapped and moved by a trim is not recognised, and not paid.
        and (neuron.hotkey in vector.hotkeys or neuron.uid == subnet.places[miner])
    }
    found.unrecognised += len({*subnet.miners.values()} & promised.keys() - wanted.keys())
    try:
        held = subnet.set_weights(resolve(vector, graph))
    except TransientError as error:
        found.held += 1
        if sum(wanted.values()) >= LEAST_LEFT * sum(promised.values()):
            found.violations.append(f"epoch {found.epochs}: held without need: {error}")
        return
    paid = {_miner(subnet, hotkey): weight for hotkey, weight in held.items()}
    found.to_newcomers += len(paid.keys() - promised.keys())
    found.to_swapped += len(paid.keys() & subnet.swapped)
    if paid != as_stored(wanted.items()):
        found.violations.append(f"epoch {found.epochs}: paid {paid}, promised {wanted}")


def _miner(subnet: Subnet, hotkey: str) -> int:
    """Return the number of a miner; 0 for the owner, who gets the burn, and -1 for ourselves."""
    return 0 if hotkey == _OWNER else subnet.miners.get(hotkey, -1)


def _scored(subnet: Subnet, run_id: str) -> list[tuple[int, WindowScore]]:
    """Return (miner, score) of a run in which all were asked."""
    return [
        (
            subnet.miners[neuron.hotkey],
            WindowScore(
                run_id=RunId(run_id),
                completed=True,
                hotkey=neuron.hotkey,
                uid=neuron.uid,
                registered_at=neuron.registered_at,
                state=ForecastState.SCORED,
                overall=(overall := subnet.chance.random()),
                leads={24: overall},
                updated_at=_WHEN,
            ),
        )
        for neuron in subnet.metagraph().neurons
        if neuron.hotkey in subnet.miners
    ]


def _compare_history(
    subnet: Subnet, history: list[tuple[int, WindowScore]], runs: dict[str, Any], found: Found
) -> None:
    """Compare whose scores count with the truth."""
    now = {subnet.miners.get(neuron.hotkey): neuron for neuron in subnet.metagraph().neurons}
    truth = {}
    for miner, score in history:
        if miner not in now:
            continue
        neuron = now[miner]
        if score.hotkey == neuron.hotkey or score.uid == neuron.uid:
            truth[score.run_id, str(neuron.hotkey)] = score.overall
            found.followed += score.hotkey != neuron.hotkey
        else:
            found.unrecognised += 1
    ours = {
        (RunId(run_id), hotkey): entry.overall
        for run_id, one in runs.items()
        for hotkey, entry in one.items()
    }
    for key in sorted(ours.keys() | truth.keys()):
        if ours.get(key) != truth.get(key):
            found.violations.append(
                f"epoch {found.epochs}: {key} has the score {ours.get(key)} instead of {truth.get(key)}"
            )
