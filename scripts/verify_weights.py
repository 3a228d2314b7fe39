#!/usr/bin/env python3
"""Says whether weights follow from the inputs that a validator exported, and whether the chain agrees with both.

It shares no code with the validator. It prints one object; exit code 0: all follows, 1: something does not,
2: a file or the node cannot be read.

    .venv/bin/gaia export weights exported
    .venv/bin/python scripts/verify_weights.py exported
    .venv/bin/python scripts/verify_weights.py exported --endpoint wss://archive.chain.opentensor.ai:443
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from control.node import Node, Unreadable
from control.registrations import as_told, is_held

Shares = dict[str, float]
Run = Mapping[str, Any]

TOLERANCE = 1e-9
"""Largest difference of a weight before quantisation; sums in another order differ by less."""


OLD = 1000
"""Blocks within which a validator reads the chain twice."""


def counted_2_9(run: Run) -> dict[str, float | None]:
    """Return hotkey -> overall score; None: excused."""
    return {
        hotkey: None if standing == "excused" else overall
        for hotkey, (standing, overall, _) in run.items()
        if standing == "excused" or overall is not None
    }


def shares_2_9(
    runs: Sequence[Run], eligible: set[str], terms: Mapping[str, Any], _: Mapping[str, Any]
) -> Shares:
    """Return the shares of gaia-2.9: means with a bonus, a steep logistic at the 80th percentile."""
    scored = [counted_2_9(run) for run in runs]
    totals: dict[str, list[float]] = {}
    excuses: dict[str, int] = {}
    for run in scored:
        present = {hotkey: score for hotkey, score in run.items() if score is not None}
        best = max(present.values(), default=0.0)
        first = [hotkey for hotkey, score in present.items() if score == best]
        bonus = 0.05 / len(first) if best >= 0.7 and len(first) <= 2 else 0.0
        for hotkey, score in present.items():
            totals.setdefault(hotkey, []).append(float(np.clip(score + bonus * (hotkey in first), 0.0, 1.1)))
        for hotkey in run.keys() - present.keys():
            excuses[hotkey] = excuses.get(hotkey, 0) + 1
    means = {
        hotkey: math.fsum(each) / (len(scored) - excuses.get(hotkey, 0)) for hotkey, each in totals.items()
    }
    paid = sorted(hotkey for hotkey in means if hotkey in eligible and means[hotkey] > 0)
    if not paid:
        return {}
    x = np.array([means[hotkey] for hotkey in paid])
    x = x / x.max()
    distinct = np.unique(x)
    middle = np.percentile(distinct if len(distinct) >= 3 else x, 80)
    weights = 0.98 / (1 + 8 * np.exp(-70 * (x - middle))) ** (1 / 0.3) + 0.01 * x
    if weights.std() / weights.mean() < 0.03:
        weights = weights * x ** terms["contrast_gamma"]
    return dict(zip(paid, (weights / weights.sum()).tolist(), strict=True))


def counted_next(run: Run) -> dict[str, float | None]:
    """Return hotkey -> mean over the leads that each delivered forecast has a score for; a missing one is -1."""
    delivered = [set(dict(leads)) for standing, _, leads in run.values() if standing == "delivered"]
    final = sorted(set.intersection(*delivered)) if delivered else []
    if not final:
        return {}
    scores: dict[str, float | None] = {}
    for hotkey, (standing, _, leads) in run.items():
        own = dict(leads)
        scores[hotkey] = {"excused": None, "rejected": -1.0}.get(
            standing, float(np.mean([own.get(lead, -1.0) for lead in final]))
        )
    return scores


def skill_next(runs: Sequence[Mapping[str, float | None]], hotkey: str) -> float:
    """Return the lower bound of the mean skill; 0 before the first run, -1 for each that is missed later."""
    first = next(number for number, run in enumerate(runs) if hotkey in run)
    own = [run.get(hotkey, -1.0) for run in runs[first:]]
    counted = [0.0] * first + [score for score in own if score is not None]
    if len(counted) == first:
        return 0.0
    scores = np.array(counted)
    spread = np.sqrt(((scores - scores.mean()) ** 2).sum() + 0.05**2)
    return max(0.0, float(scores.mean() - spread / len(scores)))


def shares_next(
    runs: Sequence[Run], eligible: set[str], _: Mapping[str, Any], found: Mapping[str, Any]
) -> Shares:
    """Return the shares of gaia-next: lower bounds of skill, each piece of work paid once to its first."""
    scored = [run for run in map(counted_next, runs) if run]
    names = {hotkey for run in scored for hotkey in run} & eligible
    overlap = {frozenset(pair[:2]): pair[2] for pair in found["pairs"]}

    def shared(one: str, other: str) -> float:
        return float(overlap.get(frozenset((one, other)), 0.0))

    order = {hotkey: found["committed"].get(hotkey, np.inf) for hotkey in names}
    paid: Shares = {}
    for moment in sorted(set(order.values())):
        group = sorted(hotkey for hotkey in names if order[hotkey] == moment)
        left = {
            hotkey: max(
                0.0, skill_next(scored, hotkey) - sum(shared(hotkey, one) * paid[one] for one in paid)
            )
            for hotkey in group
        }
        claims = {
            one: sum(shared(one, other) * left[other] for other in group if other != one) for one in group
        }
        paid |= {one: left[one] ** 2 / (left[one] + claims[one]) if left[one] else 0.0 for one in group}
    total = sum(paid.values())
    return {hotkey: each / total for hotkey, each in paid.items() if each > 0}


RULES: Mapping[str, Callable[..., Shares]] = {"gaia-2.9": shares_2_9, "gaia-next": shares_next}


def expected(inputs: Mapping[str, Any]) -> Shares:
    """Return hotkey -> weight that follows from the inputs."""
    terms, present = inputs["terms"], inputs["present"]
    if terms["rule"] not in RULES:
        raise Unreadable(f"the rules {terms['rule']} are unknown; known are {', '.join(RULES)}")
    eligible = {hotkey for _, hotkey, may_earn in present["neurons"] if may_earn}
    shares = RULES[terms["rule"]](inputs["runs"], eligible, terms, inputs["found"])
    if terms["burn_enabled"]:
        burner, part = terms["burn_hotkey"] or present["owner_hotkey"], terms["burn_fraction"]
        shares = {hotkey: share * (1 - part) for hotkey, share in shares.items()}
        shares[burner] = shares.get(burner, 0.0) + part if shares else 1.0
    return {hotkey: share for hotkey, share in shares.items() if share > 0}


def damaged(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield each part of the inputs that is missing or was changed."""
    names, parts = record["inputs"], record["parts"]
    for digest in [
        names["terms"],
        names["present"],
        names["found"],
        *(digest for _, digest in names["runs"]),
    ]:
        if hashlib.sha256(parts.get(digest, "").encode()).hexdigest() != digest:
            yield f"part {digest[:16]} of the inputs is missing or was changed"


def follows(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield what does not follow from a record's inputs: weights, values and digest."""
    vector, stored = record["vector"], record["weights"]
    if hashlib.sha256(json.dumps(vector).encode()).hexdigest() != record["vector_sha256"]:
        yield "the vector does not match its digest"
    inputs = opened(record)
    weights = expected(inputs)
    for hotkey in sorted(weights.keys() | stored.keys()):
        ours, theirs = weights.get(hotkey, 0.0), stored.get(hotkey, 0.0)
        if abs(ours - theirs) > TOLERANCE:
            yield f"the weight {ours:.9f} of {hotkey} follows, and {theirs:.9f} was journalled"
    uids = {hotkey: uid for uid, hotkey, _ in inputs["present"]["neurons"]}
    top = max(stored.values(), default=1.0)
    values = {uids.get(hotkey, -1): round(weight / top * 65535) for hotkey, weight in stored.items()}
    if {uid: value for uid, value in values.items() if value} != dict(map(tuple, vector)):
        yield "the vector is not the weights as the chain stores them"


def opened(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of the inputs by name, the runs oldest first."""
    names, parts = record["inputs"], record["parts"]
    single = {name: json.loads(parts[names[name]]) for name in ("terms", "present", "found")}
    return {**single, "runs": [json.loads(parts[digest]) for _, digest in names["runs"]]}


def agrees(record: Mapping[str, Any], node: Node, hotkey: str) -> Iterator[str]:
    """Yield where the chain differs: who was registered and could earn, and which weights then stood."""
    netuid, computed, block = record["netuid"], record["computed_in"], record["block"]
    present = opened(record)["present"]
    if computed is None:
        raise Unreadable(f"epoch {record['epoch']} is of an earlier release, which did not store its block")
    neurons, owner = node.subnet(netuid, computed)
    earlier = present.get("earlier", {})
    if (
        "renewal_of" not in record["inputs"]
        and (old := computed - min(earlier.values(), default=computed)) > OLD
    ):
        yield f"who may earn was read {old} blocks before the vector, which is no renewal"
    told = as_told(neurons, earlier, lambda block: node.subnet(netuid, block)[0])
    differ = [neuron for neuron in told if neuron not in present["neurons"]]
    if differ or len(neurons) != len(present["neurons"]):
        yield f"in block {computed} the chain had {len(neurons)} neurons, of which these differ: {differ}"
    if owner != present["owner_hotkey"]:
        yield f"in block {computed} the subnet's owner was {owner}"
    if record["state"] in ("set", "revealed"):
        present_then = node.subnet(netuid, block)[0]
        uids = {name: uid for uid, name, _ in present_then}
        if hotkey not in uids:
            known = (
                f"hotkey {hotkey} is not registered in block {block}" if hotkey else "the file has no hotkey"
            )
            raise Unreadable(f"{known}; name the validator's with --hotkey")
        held = {uid: value for uid, value in node.weights(netuid, uids[hotkey], block)}  # noqa: C416 - of lists
        registered = node.registrations(netuid, block, len(present_then))
        if not is_held(held, record["vector"], present, present_then, registered):
            yield f"the chain held other weights of {hotkey} in block {block}"


def files_of(given: Path) -> list[Path]:
    """Return the files in a folder, or the one file that is given."""
    if not given.is_dir():
        return [given]
    if not (files := sorted(given.glob("weights-*.json"))):
        raise Unreadable(f"{given} holds no file of `gaia export weights`")
    return files


def judged(path: Path, node: Node | None, hotkey: str | None) -> list[str]:
    """Return what is wrong with the vector of one file."""
    try:
        record = json.loads(path.read_text())
        wrong = list(damaged(record)) or list(follows(record))
        if node is not None and not wrong:
            wrong = list(agrees(record, node, hotkey or record["hotkey"]))
        return [f"epoch {record['epoch']}: {sentence}" for sentence in wrong]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Unreadable(
            f"{path} is no file of `gaia export weights`: {type(error).__name__}: {error}"
        ) from error


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, help="files or folders of `gaia export weights`")
    parser.add_argument(
        "--endpoint", metavar="URL", help="node to ask; only an archive node knows old blocks"
    )
    parser.add_argument(
        "--hotkey", metavar="SS58", help="the validator's hotkey; default: the one in the file"
    )
    options = parser.parse_args()
    violations: list[str] = []
    judged_files = unreadable = 0
    try:
        node = Node(options.endpoint) if options.endpoint else None
        files = [path for given in options.files for path in files_of(given)]
    except Unreadable as error:
        print(error, file=sys.stderr)
        return 2
    for path in files:
        try:
            violations += judged(path, node, options.hotkey)
            judged_files += 1
        except Unreadable as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            unreadable += 1
    figures = {"vectors": judged_files, "unreadable": unreadable, "on_chain": judged_files if node else 0}
    print(json.dumps({"figures": figures, "ratios": {}, "violations": violations}, indent=1))
    return 1 if violations else 2 if unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
