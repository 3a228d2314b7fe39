"""What `gaia weights verify` says of each state of a journalled vector, whatever the chain holds."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gaia.cli.lists.verify import ChainRead, Verdict, Verification, verification
from gaia.validator.db.rows import VectorRow
from gaia.validator.db.states import VectorState
from gaia.validator.utils.identities import Hotkey
from tests.support.stored_rows import a_vector_row

OURS = [[1, 30000], [2, 65535]]
OTHER = [[1, 65535]]
HOTKEY = Hotkey("5Own")


@dataclass(frozen=True)
class Now:
    """Our weights on chain in block 1000."""

    last_update: int = 900
    pairs: list[list[int]] = field(default_factory=lambda: OURS)
    block: int = 1000


def a_row(epoch: int = 9, **changes: object) -> VectorRow:
    return a_vector_row(epoch=epoch, vector=OURS, **{"promised_block": 890, "block": 900, **changes})


def a_read(now: Now | None = None, **changes: object) -> ChainRead:
    return ChainRead(
        **{"held": now or Now(), "pairs": {900: OURS}, "commits": {}, "registered": 5, "ends": "", **changes}  # type: ignore[arg-type]
    )


def judged(*rows: VectorRow, read: ChainRead) -> Verification:
    return verification(HOTKEY, rows, read)


def test_vector_that_the_chain_held_in_its_block_agrees() -> None:
    found = judged(a_row(), read=a_read())

    assert [row.verdict for row in found.rows] == [Verdict.AGREES]
    assert found.is_well


def test_other_weights_in_its_block_differ() -> None:
    found = judged(a_row(), read=a_read(pairs={900: OTHER}))

    assert (found.rows[0].verdict, found.is_well) == (Verdict.DIFFERS, False)
    assert found.rows[0].reason == "the chain held other weights in block 900"


def test_vector_agrees_without_those_who_had_left_when_it_was_set() -> None:
    row = a_vector_row(epoch=9, vector=[*OURS, [3, 9]], promised_block=890, block=900, read_back=OURS)

    found = judged(row, read=a_read())

    assert (found.rows[0].verdict, found.is_well) == (Verdict.AGREES, True)
    assert found.rows[0].reason == "without those who had left"


@pytest.mark.parametrize("moved", [[[4, 30000], [7, 65535]], [[1, 65535], [2, 30000]]])
def test_weights_under_other_uids_are_left_to_the_independent_check(moved: list[list[int]]) -> None:
    found = judged(a_row(read_back=moved), read=a_read(pairs={900: moved}))

    assert (found.rows[0].verdict, found.is_well) == (Verdict.UNKNOWN, True)
    assert "verify_weights.py can tell" in found.rows[0].reason


def test_vector_in_doubt_that_stands_under_other_uids_explains_our_update() -> None:
    row = a_row(state=VectorState.FAILED, block=None)

    found = judged(row, read=a_read(Now(pairs=[[4, 30000], [7, 65535]])))

    assert (found.is_explained, found.is_well) == (True, True)


@pytest.mark.parametrize("moved", [[[4, 30001], [7, 65535]], [[4, 65535], [5, 65535]], [[4, 65535], [5, 1]]])
def test_weights_that_the_vector_lacks_differ_whatever_was_read_back(moved: list[list[int]]) -> None:
    found = judged(a_row(read_back=moved), read=a_read(pairs={900: moved}))

    assert found.rows[0].verdict is Verdict.DIFFERS


@pytest.mark.parametrize(
    ("pairs", "verdict"), [(OURS, Verdict.AGREES), (OURS[1:], Verdict.AGREES), (OTHER, Verdict.UNKNOWN)]
)
def test_newest_vector_is_known_from_what_stands_if_its_block_is_forgotten(
    pairs: list[list[int]], verdict: Verdict
) -> None:
    found = judged(a_row(), read=a_read(Now(pairs=pairs), pairs={}, ends="block 900 cannot be read"))

    assert found.rows[0].verdict is verdict


def test_older_vector_in_a_forgotten_block_is_unknown_and_no_difference() -> None:
    older = a_row(epoch=8, promised_block=490, block=500)

    found = judged(a_row(), older, read=a_read(ends="block 500 cannot be read: gone"))

    assert [row.verdict for row in found.rows] == [Verdict.AGREES, Verdict.UNKNOWN]
    assert found.rows[1].reason == "block 500 cannot be read: gone"
    assert found.is_well


def test_vector_without_a_block_is_unknown() -> None:
    assert judged(a_row(block=None), read=a_read(Now(last_update=0))).rows[0].verdict is Verdict.UNKNOWN


def test_vector_that_the_chain_holds_against_the_journal_differs() -> None:
    found = judged(a_row(state=VectorState.LOST, block=None), read=a_read())

    assert found.rows[0].reason == "the chain holds it since block 900"
    assert (found.rows[0].verdict, found.is_explained, found.is_well) == (Verdict.DIFFERS, True, False)


@pytest.mark.parametrize("state", [VectorState.FAILED, VectorState.INTENDED])
def test_vector_that_the_engine_has_not_noted_yet_is_no_difference(state: VectorState) -> None:
    found = judged(a_row(state=state, block=None), read=a_read())

    assert found.rows[0].reason == "the chain holds it since block 900; the engine has not noted it yet"
    assert (found.rows[0].verdict, found.is_explained, found.is_well) == (Verdict.UNKNOWN, True, True)


def test_commit_that_the_engine_has_not_noted_yet_explains_our_update() -> None:
    row = a_row(state=VectorState.INTENDED, block=None)

    found = judged(row, read=a_read(Now(last_update=905, pairs=OTHER), commits={9: [905]}))

    assert (found.rows[0].verdict, found.is_explained) == (Verdict.UNKNOWN, True)
    assert found.rows[0].reason == "a commit of block 905 waits; the engine has not noted it yet"


def test_uid_that_was_registered_anew_in_the_block_makes_no_difference() -> None:
    cleared = [[1, 0], [2, 65535]]

    assert judged(a_row(), read=a_read(pairs={900: cleared})).rows[0].verdict is Verdict.AGREES
    assert judged(a_row(), read=a_read(pairs={900: OURS[1:]})).rows[0].verdict is Verdict.DIFFERS


@pytest.mark.parametrize(("last_update", "is_explained"), [(895, True), (900, True), (901, False)])
def test_reveal_without_a_known_commit_explains_the_update_before_it(
    last_update: int, is_explained: bool
) -> None:
    row = a_row(state=VectorState.REVEALED)

    assert judged(row, read=a_read(Now(last_update=last_update))).is_explained is is_explained


def test_registration_that_dates_our_neuron_is_no_riddle() -> None:
    assert judged(a_row(), read=a_read(Now(last_update=950, pairs=[]), registered=950)).is_explained


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (VectorState.LOST, "not on chain in block 1000"),
        (VectorState.FAILED, "not on chain in block 1000; it is tried again"),
    ],
)
def test_vector_that_is_not_on_chain_agrees_if_the_journal_says_so(state: VectorState, reason: str) -> None:
    found = judged(a_row(state=state, block=None), read=a_read(Now(last_update=880, pairs=OURS)))

    assert (found.rows[0].verdict, found.rows[0].reason) == (Verdict.AGREES, reason)
    assert found.is_explained, "weights from before the journal's first row are no riddle"


def test_equal_vector_of_an_earlier_epoch_is_not_taken_for_a_lost_one() -> None:
    found = judged(a_row(state=VectorState.LOST, block=None), a_row(epoch=8), read=a_read())

    assert [row.verdict for row in found.rows] == [Verdict.AGREES, Verdict.AGREES]


@pytest.mark.parametrize(
    ("commits", "pairs", "verdict"),
    [([950], OTHER, Verdict.AGREES), ([], OURS, Verdict.AGREES), ([], OTHER, Verdict.UNKNOWN)],
)
def test_commit_is_looked_up_in_the_chains_queue_and_among_the_revealed(
    commits: list[int], pairs: list[list[int]], verdict: Verdict
) -> None:
    row = a_row(state=VectorState.COMMITTED, block=None, commit_block=950)

    found = judged(row, read=a_read(Now(last_update=950, pairs=pairs), commits={9: commits}))

    assert (found.rows[0].verdict, found.rows[0].block) == (verdict, 950)
    assert (found.is_explained, found.is_well) == (True, True)


def test_foreign_update_is_told_beside_a_commit_that_left_the_queue() -> None:
    row = a_row(state=VectorState.COMMITTED, block=None, commit_block=950)

    assert not judged(row, read=a_read(Now(last_update=970, pairs=OTHER))).is_explained


def test_weights_that_no_row_explains_are_told() -> None:
    found = judged(a_row(), read=a_read(Now(last_update=950, pairs=OTHER)))

    assert [row.verdict for row in found.rows] == [Verdict.AGREES]
    assert (found.is_explained, found.is_well) == (False, False)
