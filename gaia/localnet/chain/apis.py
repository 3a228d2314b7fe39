"""Answers the runtime APIs that clients call, at one block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gaia.localnet.chain.storage import ChainStorage
from gaia.localnet.chain.subnet.epochs import Epochs
from gaia.localnet.chain.subnet.neurons import neurons_of

if TYPE_CHECKING:
    from gaia.localnet.chain.blocks import Block
    from gaia.localnet.chain.runtime import ChainRuntime

_FEE = {"weight": {"ref_time": 10**8, "proof_size": 3593}, "class": "Normal", "partial_fee": 124414}
_SYMBOL = "\N{GREEK SMALL LETTER ALPHA}".encode()
_PER_NEURON = (
    "pruning_score",
    "emission",
    "dividends",
    "incentives",
    "consensus",
    "trust",
    "rank",
    "tao_stake",
    "collateral_locked",
    "collateral_min",
    "collateral_earned",
)
_OF_EPOCHS: Mapping[str, str] = {
    "emission": "Emission",
    "dividends": "Dividends",
    "incentives": "Incentive",
    "consensus": "Consensus",
}
"""What an epoch of Yuma consensus gives each neuron, by the name in the metagraph."""


class RuntimeApis:
    """Runtime API calls on the state of one block.

    Values that the stand-in does not model (prices, ranks) are the neutral value of their type; so is what an
    epoch gives, unless the chain computes consensus.
    """

    def __init__(self, runtime: ChainRuntime, block: Block) -> None:
        self._runtime = runtime
        self._block = block
        self._storage = ChainStorage(runtime, block.state)
        self._answers: Mapping[str, Callable[..., Any]] = {
            "get_metagraph": self._metagraph,
            "get_mechagraph": self._metagraph,
            "get_selective_metagraph": self._metagraph,
            "get_selective_mechagraph": self._metagraph,
            "get_neurons_lite": self._neurons_lite,
            "get_subnet_hyperparams": self._hyperparameters,
            "get_subnet_hyperparams_v2": self._hyperparameters,
            "get_next_epoch_start_block": self._next_epoch,
            "account_nonce": self._nonce,
        }

    def call(self, name: str, data: bytes) -> bytes:
        """Return the answer to one `state_call`.

        Raises
        ------
        LookupError
            If the runtime has no such API.
        """
        if name == "Metadata_metadata_at_version":
            return bytes.fromhex(self._runtime.metadata_v15[2:])
        api, method = name.split("_", 1)
        described = self._runtime.api_map[api][method]
        output = described["output"]
        if api == "TransactionPaymentApi" and method == "query_info":
            return self._runtime.encode(output, _FEE)
        answer = self._answers.get(method)
        value = (
            answer(method, self._first_argument(described, data)) if answer else self._runtime.zero_of(output)
        )
        return self._runtime.encode(output, value)

    def _first_argument(self, described: Mapping[str, Any], data: bytes) -> Any:
        """Return the first argument of a call: a netuid or an account."""
        (_, type_string), *others = described["inputs"]
        if others:
            return int.from_bytes(data[:2], "little")
        return self._runtime.decode(type_string, data)

    def _rules(self, netuid: int) -> dict[str, object]:
        read = self._storage.read
        return {
            "tempo": read("Tempo", netuid),
            "weights_rate_limit": read("WeightsSetRateLimit", netuid),
            "min_allowed_weights": read("MinAllowedWeights", netuid),
            "max_weights_limit": read("MaxWeightsLimit", netuid),
            "commit_reveal_weights_enabled": read("CommitRevealWeightsEnabled", netuid),
            "commit_reveal_period": read("RevealPeriodEpochs", netuid),
            "weights_version": read("WeightsVersionKey", netuid),
            "activity_cutoff": read("ActivityCutoff", netuid),
            "immunity_period": read("ImmunityPeriod", netuid),
            "serving_rate_limit": read("ServingRateLimit", netuid),
        }

    def _metagraph(self, method: str, netuid: int) -> dict[str, object] | None:
        read = self._storage.read
        if not read("NetworksAdded", netuid):
            return None
        output = self._runtime.api_map["SubnetInfoRuntimeApi"][method]["output"]
        rows = neurons_of(self._storage, netuid)
        graph: dict[str, object] = self._runtime.zero_of_option(output)
        graph |= self._rules(netuid)
        graph |= {name: [0] * len(rows) for name in _PER_NEURON}
        graph |= {
            name: values
            for name, item in _OF_EPOCHS.items()
            if len(values := read(item, netuid)) == len(rows)
        }
        graph |= {
            "netuid": netuid,
            "block": self._block.number,
            "num_uids": len(rows),
            "max_uids": read("MaxAllowedUids", netuid),
            "owner_hotkey": read("SubnetOwnerHotkey", netuid),
            "owner_coldkey": read("SubnetOwner", netuid),
            "symbol": list(_SYMBOL),
            "identities": [None] * len(rows),
            "hotkeys": [row["hotkey"] for row in rows],
            "coldkeys": [row["coldkey"] for row in rows],
            "axons": [row["axon"] for row in rows],
            "active": [row["active"] for row in rows],
            "validator_permit": [row["validator_permit"] for row in rows],
            "last_update": [row["last_update"] for row in rows],
            "block_at_registration": [row["block_at_registration"] for row in rows],
            "alpha_stake": [row["stake"] for row in rows],
            "total_stake": [row["stake"] for row in rows],
        }
        return graph

    def _neurons_lite(self, method: str, netuid: int) -> list[dict[str, object]]:
        output = self._runtime.api_map["NeuronInfoRuntimeApi"][method]["output"]
        neutral = self._runtime.zero_of_element(output)
        taken = ("uid", "hotkey", "coldkey", "active", "last_update", "validator_permit")
        return [
            neutral
            | {name: row[name] for name in taken}
            | {"netuid": netuid, "axon_info": row["axon"], "stake": [[row["coldkey"], row["stake"]]]}
            for row in neurons_of(self._storage, netuid)
        ]

    def _hyperparameters(self, method: str, netuid: int) -> dict[str, object]:
        output = self._runtime.api_map["SubnetInfoRuntimeApi"][method]["output"]
        parameters: dict[str, object] = self._runtime.zero_of_option(output)
        return parameters | {name: value for name, value in self._rules(netuid).items() if name in parameters}

    def _next_epoch(self, method: str, netuid: int) -> int:
        return Epochs(self._storage, netuid).next_start()

    def _nonce(self, method: str, address: str) -> int:
        return int(self._storage.read("Account", address, pallet="System")["nonce"])
