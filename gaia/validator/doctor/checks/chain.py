"""Checks of the chain: the node, the network behind it, and our place in the subnet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaia.validator.core.chain.nodes.heads import LARGEST_LEAD
from gaia.validator.core.chain.timelock import COMMIT_VERSION
from gaia.validator.doctor.findings import Check, Finding, Group, failure, ok, skipped, warning
from gaia.validator.doctor.sight import Trouble, seen
from gaia.validator.doctor.steps import Step, do, run
from gaia.validator.utils.chain.runtimes import TESTED_SPECS

if TYPE_CHECKING:
    from gaia.validator.doctor.facts import Facts
    from gaia.validator.utils.chain.metagraph import Metagraph

FINNEY = "0x2f0555cc76fc2840a25a6ea3b9637146806f1f44b090c175ffde2a7e5ab36c03"
"""Hash of the first block of Bittensor's main network.

As in polkadot-js/common, packages/networks/src/defaults/genesis.ts.
"""
_OLDEST_HEAD_S = 90.0
_SLOW_S = 2.0
_MIN_STAKE = 1000.0
_YOUNG_TEMPOS = 4
_SPEAKS_WS = "speaks ws, not wss"


def _endpoint(facts: Facts) -> Finding:
    settings = seen(facts.settings)
    node = facts.node
    if not isinstance(node, Trouble):
        return ok(f"{settings.chain_endpoint} answers, block {node.block}")
    if _SPEAKS_WS in node.words:
        address = settings.chain_endpoint.replace("wss://", "ws://", 1)
        return failure(node.words, facts.given.put("chain_endpoint", address))
    steps = facts.given.unset("chain_endpoint")
    return failure(node.words, *(steps or (do("look whether this machine reaches the internet"),)))


def _network(facts: Facts) -> Finding:
    node = seen(facts.node)
    if node.genesis == FINNEY:
        return ok("the node is on Bittensor's main network")
    return warning(
        f'the node is on the network "{node.chain}", not on Bittensor\'s main network',
        *facts.given.unset("chain_endpoint"),
    )


def _further_nodes(facts: Facts) -> Finding:
    first, further = seen(facts.node), seen(facts.further_nodes)
    if not further:
        return ok("one node is read; two more in GAIA_CHAIN_MORE_ENDPOINTS would contradict a false answer")
    nodes = {name: node for name, node in further.items() if not isinstance(node, Trouble)}
    strangers = [name for name, node in nodes.items() if node.genesis != first.genesis]
    if strangers:
        return failure(
            f"{', '.join(strangers)} is on another network than GAIA_CHAIN_ENDPOINT",
            do(f"remove {', '.join(strangers)} from GAIA_CHAIN_MORE_ENDPOINTS"),
        )
    silent = [node.words for node in further.values() if isinstance(node, Trouble)]
    if silent:
        return warning("; ".join(silent), do("name other nodes in GAIA_CHAIN_MORE_ENDPOINTS"))
    apart = [name for name, node in nodes.items() if abs(node.block - first.block) > LARGEST_LEAD]
    if apart:
        return warning(
            f"{', '.join(apart)} is more than {LARGEST_LEAD} blocks from the first node",
            do("name nodes that follow the chain in GAIA_CHAIN_MORE_ENDPOINTS"),
        )
    if len(nodes) == 1:
        return warning(
            "of two nodes that disagree, nobody can tell which is right",
            do("name a third node in GAIA_CHAIN_MORE_ENDPOINTS"),
        )
    return ok(f"{len(nodes) + 1} nodes of the same network answer")


def _head_age(facts: Facts) -> Finding:
    node = seen(facts.node)
    if node.time is None:
        return skipped("the node does not tell the time of its newest block")
    age_s = (node.asked_at - node.time).total_seconds()
    if age_s > _OLDEST_HEAD_S:
        return failure(
            f"the node's newest block is {age_s:.0f} s old",
            *(facts.given.unset("chain_endpoint") or (do("name another node in GAIA_CHAIN_ENDPOINT"),)),
        )
    return ok(f"the node's newest block is {max(age_s, 0.0):.0f} s old")


def _synchronised(facts: Facts) -> Finding:
    node = seen(facts.node)
    if node.is_syncing:
        return failure("the node still catches up with the chain", *facts.given.unset("chain_endpoint"))
    if node.should_have_peers and not node.peers:
        return failure("the node knows no other node", *facts.given.unset("chain_endpoint"))
    return ok(f"the node follows the chain, with {node.peers} peers")


def _latency(facts: Facts) -> Finding:
    node = seen(facts.node)
    if node.seconds > _SLOW_S:
        return warning(
            f"the node took {node.seconds:.1f} s for an answer",
            do("name a node that is nearer in GAIA_CHAIN_ENDPOINT"),
        )
    return ok(f"the node answers within {node.seconds:.2f} s")


def _subnet(facts: Facts) -> Finding:
    settings = seen(facts.settings)
    seen(facts.node)
    if not isinstance(facts.subnet, Trouble):
        return ok(f"subnet {settings.netuid} has {len(facts.subnet.neurons)} neurons")
    if "does not exist" in facts.subnet.words:
        return failure(facts.subnet.words, *facts.given.unset("netuid"))
    return failure(
        f"the metagraph cannot be read: {facts.subnet.words}", *facts.given.unset("chain_endpoint")
    )


def _registered(facts: Facts) -> Finding:
    graph, wallet, settings = seen(facts.subnet), seen(facts.wallet), seen(facts.settings)
    if not graph.own_hotkey:
        return skipped("there is no hotkey")
    if graph.own_uid is not None:
        return ok(f"hotkey {graph.own_hotkey} is registered with uid {graph.own_uid}")
    words = f"hotkey {graph.own_hotkey} is not registered on subnet {graph.netuid}"
    # A hotkey of this wallet without a permit may be a miner's, which must not sign for a validator.
    validators = {neuron.hotkey for neuron in graph.neurons if neuron.validator_permit}
    other = next((name for name, address in wallet.hotkeys.items() if address in validators), None)
    if other is not None:
        return failure(f"{words}, but {other} is", facts.given.put("wallet_hotkey", other))
    return failure(
        words,
        run(
            *("btcli", "subnets", "register", "--netuid", graph.netuid, "--wallet", settings.wallet_name),
            *("--wallet-hotkey", settings.wallet_hotkey, "--wallet-path", wallet.root),
        ),
    )


def _permit(facts: Facts) -> Finding:
    graph, settings = seen(facts.subnet), seen(facts.settings)
    own = graph.own
    if own is None:
        return skipped("the hotkey is not registered")
    if not graph.may_vote(own):
        # A dry run sets no weights, so it lacks nothing without a permit.
        found = warning if settings.dry_run else failure
        return found(f"uid {own.uid} has no validator permit, so it cannot set weights", _more_stake(graph))
    if not own.validator_permit:
        return ok(f"uid {own.uid} is the subnet owner's, which needs no validator permit")
    return ok(f"uid {own.uid} has a validator permit")


def _stake(facts: Facts) -> Finding:
    graph = seen(facts.subnet)
    if graph.own is None:
        return skipped("the hotkey is not registered")
    amount, least = graph.own.stake, graph.stake_threshold
    if amount < least and not graph.is_owned:
        found = warning if seen(facts.settings).dry_run else failure
        return found(
            f"the chain takes weights from a stake of {least:.0f} on, and this hotkey has {amount:.0f}",
            _more_stake(graph),
        )
    if amount < _MIN_STAKE:
        return warning(
            f"a stake of {amount:.0f} is below {_MIN_STAKE:.0f}, so that miners may refuse us",
            _more_stake(graph),
        )
    return ok(f"the stake is {amount:.0f}, and the chain asks for {least:.0f}")


def _runtime(facts: Facts) -> Finding:
    spec, (oldest, newest) = seen(facts.node).spec_version, TESTED_SPECS
    if spec is None:
        return skipped("the node does not tell the version of its runtime")
    if spec < oldest:
        return warning(
            f"the runtime has version {spec}, and this release is tested from {oldest} on",
            do("use a node that follows the chain"),
        )
    if spec > newest:
        return warning(
            f"the runtime has version {spec}, and this release is tested up to {newest}",
            do(
                "install a later release; until then see in `gaia weights verify` that weights reach the chain"
            ),
        )
    return ok(f"the runtime has version {spec}, with which this release is tested")


def _more_stake(graph: Metagraph) -> Step:
    command = f"btcli stake add --netuid {graph.netuid} --hotkey {graph.own_hotkey} --amount TAO"
    return do(f"{command}, with the amount that you choose; a permit follows at the end of a tempo")


def _rate_limit(facts: Facts) -> Finding:
    graph, settings = seen(facts.subnet), seen(facts.settings)
    if settings.weights_interval_blocks < graph.weights_rate_limit:
        return warning(
            f"the chain accepts weights every {graph.weights_rate_limit} blocks,"
            f" not every {settings.weights_interval_blocks}",
            facts.given.put("weights_interval_blocks", graph.weights_rate_limit),
        )
    return ok(f"weights are set every {settings.weights_interval_blocks} blocks")


def _activity(facts: Facts) -> Finding:
    cutoff, settings = seen(facts.node).activity_cutoff, seen(facts.settings)
    if cutoff is None:
        return skipped("the chain tells no activity cutoff of this subnet")
    if 2 * settings.weights_interval_blocks > cutoff:
        return failure(
            f"a validator without weights for {cutoff} blocks no longer counts,"
            f" and one failure in {settings.weights_interval_blocks} blocks is enough",
            *(
                facts.given.unset("weights_interval_blocks")
                if type(settings)().weights_interval_blocks * 2 <= cutoff
                else (facts.given.put("weights_interval_blocks", max(1, cutoff // 3)),)
            ),
        )
    return ok(f"a validator counts for {cutoff} blocks after its last weights")


def _commit_reveal(facts: Facts) -> Finding:
    if not seen(facts.subnet).commit_reveal:
        return ok("the subnet takes plain weights")
    version = seen(facts.node).commit_version
    if version not in (None, COMMIT_VERSION):
        return warning(
            f"the subnet takes commits of version {version}, and this release makes version {COMMIT_VERSION}",
            do("install a release that knows this version, and run with GAIA_DRY_RUN=true until then"),
        )
    return ok(f"the subnet takes commits of version {COMMIT_VERSION}, which this release makes")


def _dividends(facts: Facts) -> Finding:
    graph = seen(facts.subnet)
    own, dividends = graph.own, graph.own_dividends
    if own is None or not graph.may_vote(own):
        return skipped("the hotkey sets no weights")
    # The registration dates the neuron too.
    if dividends is None or own.last_update <= own.registered_at:
        return skipped("this hotkey has set no weights yet")
    if dividends > 0.0:
        return ok(f"the last epoch gave this hotkey {dividends:.2%} of the validators' rewards")
    if graph.block - own.registered_at < _YOUNG_TEMPOS * graph.tempo:
        return skipped("the hotkey is registered lately, and its weights have not counted yet")
    return warning(
        "the weights of this hotkey earned nothing in the last epoch",
        do("if these are its first weights, wait for two epochs; else read `gaia consensus`"),
    )


_C = Group.CHAIN
CHECKS = (
    Check("chain", _C, "the node answers", "`GAIA_CHAIN_ENDPOINT`", _endpoint),
    Check("network", _C, "the node is on Bittensor's main network", "`GAIA_CHAIN_ENDPOINT`", _network),
    Check("head-age", _C, "age of the newest block", "another node", _head_age),
    Check("node-synchronised", _C, "the node follows the chain", "another node", _synchronised),
    Check(
        "further-nodes",
        _C,
        "the nodes answer, and are of one network",
        "`GAIA_CHAIN_MORE_ENDPOINTS`",
        _further_nodes,
    ),
    Check("latency", _C, "time of the node's answers", "a nearer node", _latency),
    Check("subnet", _C, "the subnet exists and can be read", "`GAIA_NETUID`", _subnet),
    Check("registered", _C, "the hotkey is registered", "`GAIA_WALLET_HOTKEY`, `btcli`", _registered),
    Check("permit", _C, "the hotkey has a validator permit", "`btcli stake add`", _permit),
    Check("stake", _C, "the stake is enough for weights", "`btcli stake add`", _stake),
    Check("runtime", _C, "this release is tested with the chain's runtime", "a later release", _runtime),
    Check(
        "rate-limit", _C, "our interval, against the chain's", "`GAIA_WEIGHTS_INTERVAL_BLOCKS`", _rate_limit
    ),
    Check("activity", _C, "our interval, against the cutoff", "`GAIA_WEIGHTS_INTERVAL_BLOCKS`", _activity),
    Check(
        "commit-reveal",
        _C,
        "the subnet takes weights in a form that we make",
        "a later release",
        _commit_reveal,
    ),
    Check("dividends", _C, "our weights earn dividends", "`gaia consensus`", _dividends),
)
