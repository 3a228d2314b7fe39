"""Runbooks about weights and the chain."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gaia.cli.runbooks import shared
from gaia.cli.runbooks.branch import Branch, Runbook
from gaia.cli.tables import one_line
from gaia.validator.core.weights.gates import Gate
from gaia.validator.db.states import STANDING, VectorState
from gaia.validator.utils.chain.refusals import Cause, refusal_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from gaia.cli.runbooks.facts import Facts

_FOREIGN: Final = "another program signs with its hotkey"
"""Words of the signer's refusal while the chain has weights of ours that it did not sign."""
_REFUSED_AS: Final = re.compile(r"the chain (?:would refuse|refused) the weights: (\w+): ")
"""Words of an incident before the name of a refusal, and the name."""
_GOOD_TRUST: Final = 0.95
_FRESH: Final = timedelta(hours=3)
"""Age at which weights are stale, as the alert has it."""


def _dry_run(facts: Facts) -> str:
    return "GAIA_DRY_RUN is on" if facts.settings.dry_run else ""


def _failing(facts: Facts) -> str:
    incidents = [row for row in facts.rows.incidents if row.party == "weights"] if facts.rows else []
    return (
        f"since {incidents[0].began_at:%Y-%m-%d %H:%MZ}: {one_line(incidents[0].evidence)}"
        if incidents
        else ""
    )


def _refused_for(cause: Cause) -> Callable[[Facts], str]:
    """Return a look for an open incident whose refusal has this cause."""

    def look(facts: Facts) -> str:
        failing = _failing(facts)
        told = _REFUSED_AS.search(failing)
        return failing if told is not None and refusal_named(told[1]).cause is cause else ""

    return look


def _held_by(*gates: Gate) -> Callable[[Facts], str]:
    """Return a look for an open incident of one of these gates."""

    def look(facts: Facts) -> str:
        rows = facts.rows.incidents if facts.rows else ()
        found = [row for row in rows if row.party == "gates" and row.evidence.partition(":")[0] in gates]
        return f"since {found[0].began_at:%Y-%m-%d %H:%MZ}: {one_line(found[0].evidence)}" if found else ""

    return look


def _refused(facts: Facts) -> str:
    newest = facts.rows.newest_vector if facts.rows else None
    is_failed = newest is not None and newest.state in (VectorState.FAILED, VectorState.LOST)
    return (
        f"epoch {newest.epoch} {newest.state}: {one_line(newest.error or '')}" if newest and is_failed else ""
    )


def _no_scores(facts: Facts) -> str:
    is_bare = facts.rows is not None and not any(run.has_scores for run in facts.rows.runs)
    return "no forecast of any run is scored" if is_bare else ""


def _held(facts: Facts) -> str:
    newest = facts.rows.newest_vector if facts.rows else None
    if (
        newest is not None
        and newest.state in STANDING | {VectorState.COMMITTED}
        and facts.now - newest.intended_at < _FRESH
    ):
        return ""  # what was withheld before is over
    held = facts.total("gaia_weights_submissions_total", outcome="held")
    return f"{held:.0f} times since the start" if held else ""


def _refused_by_signer(facts: Facts) -> str:
    refused = facts.total("gaia_weights_submissions_total", outcome="refused")
    newest = facts.rows.newest_vector if facts.rows else None
    reason = one_line(newest.error or "") if newest is not None else ""
    return f"{refused:.0f} since the start{': ' if reason else ''}{reason}" if refused else ""


def _second_instance(facts: Facts) -> str:
    failing = _failing(facts)
    return failing if _FOREIGN in failing else ""


def _not_revealed(facts: Facts) -> str:
    lost = facts.total("gaia_weights_commits_total", outcome="lost")
    return f"{lost:.0f} since the start" if lost else ""


def _doubts(facts: Facts) -> str:
    doubts = facts.rows.doubts if facts.rows else ()
    if not doubts:
        return ""
    oldest = doubts[0]
    return f"{len(doubts)}, the oldest of epoch {oldest.epoch}, from {oldest.intended_at:%Y-%m-%d %H:%MZ}"


def _not_registered(facts: Facts) -> str:
    graph = facts.metagraph
    is_away = graph is not None and graph.own_uid is None
    return f"subnet {graph.netuid} has no hotkey {graph.own_hotkey}" if graph and is_away else ""


def _no_permit(facts: Facts) -> str:
    graph = facts.metagraph
    own = graph.own if graph is not None else None
    lacks_permit = graph is not None and own is not None and not graph.may_vote(own)
    return f"uid {own.uid} has {own.stake:.0f} stake" if own is not None and lacks_permit else ""


def _unlike_the_others(facts: Facts) -> str:
    rows = [row for row in facts.rows.incidents if row.party == "consensus"] if facts.rows else []
    return f"since {rows[0].began_at:%Y-%m-%d %H:%MZ}: {one_line(rows[0].evidence)}" if rows else ""


def _low_trust(facts: Facts) -> str:
    trust = facts.by("gaia_weights_trust", "epoch")
    last, following = trust.get("last", math.nan), trust.get("next", math.nan)
    return (
        f"vtrust {last:.3f} in the last epoch, {following:.3f} in the next" if following < _GOOD_TRUST else ""
    )


NOT_REGISTERED = Branch(
    sentence="Our hotkey is not registered on the subnet.",
    remedy="Register it again: `btcli subnets register`. If the hotkey shown is not yours, correct `GAIA_WALLET_HOTKEY`.",
    look=_not_registered,
)
NO_PERMIT = Branch(
    sentence="Our uid has no validator permit, so it cannot set weights.",
    remedy="Stake more on this hotkey: `btcli stake add`. The permit follows at the end of a tempo.",
    look=_no_permit,
)
DRY_RUN = Branch(
    sentence="This is a dry run, which signs nothing.",
    remedy="Set `GAIA_DRY_RUN=false`, and restart, if this validator is to set weights.",
    look=_dry_run,
)
FAILING = Branch(
    sentence="Setting weights fails.",
    remedy="The evidence is the chain's answer. A hotkey without a permit or stake needs the operator; others end by themselves.",
    look=_failing,
)
FOR_OURS = Branch(
    sentence="The chain refuses our weights, and the cause is ours: stake, permit, registration or clock.",
    remedy="Do what the evidence says. docs/reference/chain-refusals.md has the meaning of each name.",
    look=_refused_for(Cause.OURS),
)
FOR_THEIRS = Branch(
    sentence="The chain refuses our weights because of a rule that the subnet's owner or a new runtime made.",
    remedy="Compare with other validators, and install the newest release. If all are refused, tell the subnet's owner.",
    look=_refused_for(Cause.THEIRS),
)
FOR_NETWORK = Branch(
    sentence="The nodes of the chain do not take our weights.",
    remedy="Name another node in `GAIA_CHAIN_ENDPOINT`, or further ones in `GAIA_CHAIN_MORE_ENDPOINTS`, and restart.",
    look=_refused_for(Cause.NETWORK),
)
FOR_RACE = Branch(
    sentence="Something changes again and again between our reading of the chain and the next block.",
    remedy="It ends by itself. If not, look for a second program that uses this hotkey.",
    look=_refused_for(Cause.RACE),
)
REFUSED = Branch(
    sentence="The newest vector did not reach the chain.",
    remedy="The next epoch has its own. If that fails too, use another node as `GAIA_CHAIN_ENDPOINT`.",
    look=_refused,
)
NO_SCORES = Branch(
    sentence="No forecast is scored yet, so there are no weights to set.",
    remedy="Wait for the first run: its day 1 is scored about a day after it opened.",
    look=_no_scores,
)
HELD = Branch(
    sentence="Weights were due, but could not be computed.",
    remedy="Read `gaia logs --event weights_withheld`: it says what is missing.",
    look=_held,
)
HELD_BY_DATA = Branch(
    sentence="Scores are missing or old.",
    remedy="`gaia status` says what keeps forecasts from being scored. The weights follow by themselves once they are.",
    look=_held_by(Gate.SCORES, Gate.OVERLAPS, Gate.FRESHNESS, Gate.COVERAGE),
)
HELD_BY_CHANGE = Branch(
    sentence="The new vector is very unlike the last one.",
    remedy="Compare `gaia weights preview` with `gaia weights history`. It is set after `GAIA_WEIGHTS_HOLD_HOURS`.",
    look=_held_by(Gate.DRIFT, Gate.SPREAD),
)
HELD_BY_READING = Branch(
    sentence="One reading of the chain says what no other has confirmed.",
    remedy="The next reading decides. If this stays, the node tells something else each time: use another `GAIA_CHAIN_ENDPOINT`.",
    look=_held_by(Gate.REGISTRY),
)
NO_RECEIVER = Branch(
    sentence="The burn hotkey is not registered, or nobody has earned anything while nothing is burnt.",
    remedy="Correct `GAIA_BURN_HOTKEY`, or remove it: the burn then goes to the subnet's owner.",
    look=_held_by(Gate.BURN),
)
REFUSED_BY_SIGNER = Branch(
    sentence="The signer refuses vectors.",
    remedy="Look for a second validator with this hotkey. After a restored or new database the next epoch is set again.",
    look=_refused_by_signer,
)
SECOND_INSTANCE = Branch(
    sentence="Another program sets weights with our hotkey.",
    remedy="Stop it. This validator ends by itself, with exit code 20, and its last sentence names the file to move away.",
    look=_second_instance,
)
NOT_REVEALED = Branch(
    sentence="The chain did not reveal sealed vectors.",
    remedy="Compare with other validators: if theirs are lost too, the beacon fails. Else check stake, permit and clock.",
    look=_not_revealed,
)
DOUBTS = Branch(
    sentence="Vectors are in doubt.",
    remedy="Each is looked up on chain at the next reading of the metagraph. If that does not help, restart the validator.",
    look=_doubts,
)

UNLIKE_THE_OTHERS = Branch(
    sentence="Our vector gives weight to other miners than most of the stake does.",
    remedy="`gaia consensus` names the miners and why. If you changed rules or burn, compare them with the other validators'.",
    look=_unlike_the_others,
)
LOW_TRUST = Branch(
    sentence="A part of our weight counts for nothing.",
    remedy="`gaia consensus --days 14` shows since when. If `unlike us` is large for one validator alone, the fault is not ours.",
    look=_low_trust,
)

RUNBOOKS: Final = (
    Runbook(
        alert="WeightsStale",
        meaning="This validator has set no weights for three hours; usually it does so about every 50 minutes.",
        impact="After about 5000 blocks, 16 hours, the chain ignores the old weights, and the validator earns nothing.",
        branches=(
            *shared.RUNNING,
            shared.CHAIN_CLOSED,
            shared.CHAIN_AWAY,
            shared.SIGNER_DOWN,
            shared.ENGINE_DOWN,
            shared.DATABASE_AWAY,
            DRY_RUN,
            NOT_REGISTERED,
            NO_PERMIT,
            FOR_OURS,
            FOR_THEIRS,
            FOR_NETWORK,
            FOR_RACE,
            FAILING,
            REFUSED,
            NO_SCORES,
            HELD_BY_DATA,
            HELD_BY_CHANGE,
            HELD_BY_READING,
            NO_RECEIVER,
            HELD,
        ),
    ),
    Runbook(
        alert="WeightsHeld",
        meaning="For an hour a gate has held the new weights, because scores are missing or the vector looks wrong.",
        impact="The last vector stays, and is set again if it can be. Newer scores count for nothing meanwhile.",
        branches=(
            *shared.RUNNING,
            shared.DATABASE_AWAY,
            HELD_BY_DATA,
            HELD_BY_CHANGE,
            HELD_BY_READING,
            NO_RECEIVER,
        ),
    ),
    Runbook(
        alert="VectorInDoubt",
        meaning="For 30 minutes it has been unknown whether a weight vector reached the chain.",
        impact="None by itself: a newer vector replaces it. The journal does not say yet what was paid.",
        branches=(
            *shared.RUNNING,
            shared.CHAIN_CLOSED,
            shared.CHAIN_AWAY,
            shared.SIGNER_DOWN,
            DOUBTS,
        ),
    ),
    Runbook(
        alert="WeightsRefused",
        meaning="For 20 minutes the chain has refused the weights, or would refuse them, so that nothing is signed.",
        impact="The weights before them stay. After about 5000 blocks, 16 hours, they no longer count.",
        branches=(
            *shared.RUNNING,
            shared.CHAIN_CLOSED,
            shared.CHAIN_AWAY,
            NOT_REGISTERED,
            NO_PERMIT,
            FOR_OURS,
            FOR_THEIRS,
            FOR_NETWORK,
            FOR_RACE,
        ),
    ),
    Runbook(
        alert="SignerRefuses",
        meaning="The signer refused to sign a vector, because its policy allows one vector an epoch and no others.",
        impact="This epoch keeps the weights that the chain has. If another program uses the hotkey, both lose trust.",
        branches=(
            *shared.RUNNING,
            shared.SIGNER_DOWN,
            SECOND_INSTANCE,
            REFUSED_BY_SIGNER,
        ),
    ),
    Runbook(
        alert="CommitLost",
        meaning="A sealed vector was on chain, and the chain dropped it instead of revealing it.",
        impact="The vector before it stays. After about 5000 blocks, 16 hours, old weights no longer count.",
        branches=(
            *shared.RUNNING,
            shared.CHAIN_CLOSED,
            shared.CHAIN_AWAY,
            NOT_REGISTERED,
            NO_PERMIT,
            NOT_REVEALED,
        ),
    ),
    Runbook(
        alert="TrustFalls",
        meaning="With our newest vector, the chain will trust this validator less than it did in the last day.",
        impact="Dividends fall with it. Miners that we pay alone get nothing of what we give them.",
        branches=(
            *shared.RUNNING,
            shared.CHAIN_CLOSED,
            shared.CHAIN_AWAY,
            NO_PERMIT,
            UNLIKE_THE_OTHERS,
            LOW_TRUST,
        ),
    ),
    Runbook(
        alert="SubstrateConnectionLost",
        meaning="The last readings of the chain failed, for two minutes.",
        impact="No weights are set, and new miners are unknown. Polling and scoring go on.",
        branches=(
            *shared.RUNNING,
            shared.CHAIN_CLOSED,
            shared.SIGNER_DOWN,
            shared.SIGNER_BUSY,
            shared.CHAIN_AWAY,
        ),
    ),
)
