"""Inputs of a weight vector, and their conversion to and from stored parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gaia.tasks.defined_tasks.base import FoundCopies
from gaia.validator.core.weights.rules import WEIGHT_RULES, Copies, Entry, Run
from gaia.validator.core.weights.rules.base import Standing
from gaia.validator.core.weights.vector import Registered, Terms, quantise, weights_of
from gaia.validator.utils.errors import GaiaError
from gaia.validator.utils.signer_messages import digest_of

NOTHING_FOUND = FoundCopies(pairs=(), committed={}, products=())


RENEWAL_OF: Final = "renewal_of"
"""Key beside the names of parts: the epoch whose vector is set again by this one."""


class InputsDamaged(GaiaError):
    """An input of a vector is missing or was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorInputs:
    """All inputs that determine one vector."""

    terms: Terms
    present: Registered
    runs: Mapping[str, Mapping[str, Entry]]
    """Run -> hotkey -> its entry, oldest run first."""
    found: FoundCopies = NOTHING_FOUND
    renamed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Run -> hotkey that was asked in it -> the one it was swapped for since, under which its entry stands."""

    @property
    def burner(self) -> str:
        """Hotkey that receives the burn; "" if nothing is burnt."""
        return (self.terms.burn_hotkey or self.present.owner_hotkey) if self.terms.burn_enabled else ""

    def scores(self) -> list[Run]:
        """Return the scores of each run that count under the weight rule."""
        rule = WEIGHT_RULES[self.terms.rule]
        return [rule.run_scores(entries) for entries in self.runs.values()]

    def earning(self) -> list[str] | None:
        """Return the hotkeys among which copies matter; None if the rule ignores copies."""
        rule = WEIGHT_RULES[self.terms.rule]
        return None if rule.earning is None else rule.earning(self.scores(), self.present.eligible)

    def worths(self) -> dict[str, float]:
        """Return hotkey -> the number that its share follows from; see `WeightRule.worths`."""
        return WEIGHT_RULES[self.terms.rule].worths(self.scores(), self.present.eligible)

    def members(self) -> dict[str, Collection[str]]:
        """Return run -> hotkeys that delivered a forecast in it."""
        return {
            run_id: {hotkey for hotkey, entry in entries.items() if entry.standing is Standing.DELIVERED}
            for run_id, entries in self.runs.items()
        }

    def weights(self) -> dict[int, float] | None:
        """Return uid -> weight; see `vector.weights_of`."""
        return weights_of(self.scores(), self.present, self.terms, copies_of(self.found))


def copies_of(found: FoundCopies) -> Copies:
    """Return the found overlaps in the form that weight rules use.

    >>> copies_of(FoundCopies(pairs=[("a", "b", 0.5)], committed={"a": 0}, products=[])).overlap
    {'a': {'b': 0.5}, 'b': {'a': 0.5}}
    """
    overlap: dict[str, dict[str, float]] = {}
    for one, other, part in found.pairs:
        overlap.setdefault(one, {})[other] = part
        overlap.setdefault(other, {})[one] = part
    return Copies(overlap=overlap, committed={hotkey: float(at) for hotkey, at in found.committed.items()})


def vector_of(weights: Mapping[int, float]) -> tuple[list[list[int]], str]:
    """Return the vector to sign, [[uid, u16], ...], and its digest.

    >>> vector_of({1: 0.5, 0: 0.25})[0]
    [[0, 32768], [1, 65535]]
    """
    vector = [list(pair) for pair in zip(*quantise(weights), strict=True)]
    return vector, digest_of(vector)


def to_parts(inputs: VectorInputs) -> tuple[dict[str, Any], dict[str, str]]:
    """Return (names of the parts by digest, digest -> part), so that unchanged parts are stored once."""
    parts: dict[str, str] = {}

    def part(value: Any) -> str:
        content = json.dumps(value, separators=(",", ":"))
        digest = hashlib.sha256(content.encode()).hexdigest()
        parts[digest] = content
        return digest

    present, found = inputs.present, inputs.found
    names = {
        "terms": part(asdict(inputs.terms)),
        "present": part(
            {
                "neurons": [
                    [uid, hotkey, hotkey in present.eligible] for hotkey, uid in present.uids.items()
                ],
                "owner_hotkey": present.owner_hotkey,
                **({"earlier": dict(present.earlier)} if present.earlier else {}),
                **({"registered": dict(present.registered)} if present.registered else {}),
                **({"renamed": dict(inputs.renamed)} if inputs.renamed else {}),
            }
        ),
        "runs": [[run_id, part(_written_run(entries))] for run_id, entries in inputs.runs.items()],
        "found": part(
            {
                "pairs": [list(pair) for pair in found.pairs],
                "committed": dict(found.committed),
                "products": [list(product) for product in found.products],
            }
        ),
    }
    return names, parts


def parts_named(names: Mapping[str, Any]) -> list[str]:
    """Return the digests of all parts."""
    return [names["terms"], names["present"], names["found"], *(digest for _, digest in names["runs"])]


def from_parts(names: Mapping[str, Any], parts: Mapping[str, str]) -> VectorInputs:
    """Return the inputs that `to_parts` converted.

    Raises
    ------
    InputsDamaged
        If a part is missing, does not match its digest, or is of another release.
    """

    def part(digest: str) -> Any:
        content = parts.get(digest)
        if content is None:
            raise InputsDamaged(f"part {digest[:16]} of its inputs is missing")
        if hashlib.sha256(content.encode()).hexdigest() != digest:
            raise InputsDamaged(f"part {digest[:16]} of its inputs was changed")
        return json.loads(content)

    try:
        present, found = part(names["present"]), part(names["found"])
        return VectorInputs(
            terms=Terms(**part(names["terms"])),
            present=Registered(
                uids={hotkey: uid for uid, hotkey, _ in present["neurons"]},
                eligible=frozenset(hotkey for _, hotkey, may_earn in present["neurons"] if may_earn),
                owner_hotkey=present["owner_hotkey"],
                earlier=present.get("earlier", {}),
                registered=present.get("registered", {}),
            ),
            renamed=present.get("renamed", {}),
            runs={run_id: _read_run(part(digest)) for run_id, digest in names["runs"]},
            found=FoundCopies(
                pairs=[(one, other, overlap) for one, other, overlap in found["pairs"]],
                committed=found["committed"],
                products=[(run_id, lead, sha256) for run_id, lead, sha256 in found["products"]],
            ),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise InputsDamaged(
            f"a part of its inputs has another layout ({type(error).__name__}: {error})"
        ) from error


def _written_run(entries: Mapping[str, Entry]) -> dict[str, Sequence[Any]]:
    return {
        hotkey: [entry.standing, entry.overall, [[lead, score] for lead, score in entry.leads.items()]]
        for hotkey, entry in entries.items()
    }


def _read_run(rows: Mapping[str, Sequence[Any]]) -> dict[str, Entry]:
    return {
        hotkey: Entry(standing=Standing(standing), overall=overall, leads=dict(map(tuple, leads)))
        for hotkey, (standing, overall, leads) in rows.items()
    }
