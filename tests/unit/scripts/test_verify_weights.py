"""The independent verification of weights: what follows is accepted, and what was changed is named."""

from __future__ import annotations

import ast
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from control.registrations import as_told, is_held
from verify_weights import agrees

from gaia.cli.export.inputs import record_of
from gaia.tasks.defined_tasks.base import FoundCopies
from gaia.validator.core.weights.inputs import VectorInputs, to_parts, vector_of
from gaia.validator.core.weights.rules import Entry
from gaia.validator.core.weights.rules.base import Standing
from gaia.validator.core.weights.vector import Registered, Terms
from tests.support.patience import patience
from tests.support.repository import SCRIPTS
from tests.support.stored_rows import a_vector_row

SCRIPT = SCRIPTS / "verify_weights.py"
WINDOWS = 150
LEADS = [24, 48, 72]
Record = dict[str, Any]


def an_entry(draw: random.Random) -> Entry:
    standing = draw.choices(list(Standing), [1, 12, 1, 1])[0]
    leads = {lead: draw.uniform(-0.2, 1.0) for lead in LEADS if draw.random() < 0.9}
    overall = None if draw.random() < 0.1 else draw.choice([0.0, 0.7, 0.8, draw.random()])
    return Entry(standing=standing, overall=overall, leads=leads if standing is Standing.DELIVERED else {})


def some_inputs(draw: random.Random, rule: str) -> VectorInputs:
    """A random window of up to 15 runs of up to 20 miners, with copies, burn and departed hotkeys."""
    hotkeys = [f"5Miner{number}" for number in range(draw.randint(1, 20))]
    runs = {
        f"run-{number:02}": {hotkey: an_entry(draw) for hotkey in hotkeys if draw.random() < 0.9}
        for number in range(draw.randint(1, 15))
    }
    pairs = [
        (one, other, draw.random())
        for at, one in enumerate(hotkeys)
        for other in hotkeys[at + 1 :]
        if draw.random() < 0.2
    ]
    return VectorInputs(
        terms=Terms(
            rule=rule,
            burn_fraction=draw.choice([0.0, 0.25, 0.75, 1.0]),
            burn_enabled=draw.random() < 0.8,
            burn_hotkey=draw.choice(["", "5Owner", "5Miner0"]),
            contrast_gamma=1.3,
        ),
        present=Registered(
            uids={"5Owner": 0, **{hotkey: uid for uid, hotkey in enumerate(hotkeys, start=1)}},
            eligible=frozenset(hotkey for hotkey in hotkeys if draw.random() < 0.8),
            owner_hotkey="5Owner",
        ),
        runs=runs,
        found=FoundCopies(
            pairs=pairs if rule == "gaia-next" else [],
            committed={hotkey: draw.randint(0, 3) for hotkey in hotkeys if draw.random() < 0.8},
            products=[],
        ),
    )


def record_from(inputs: VectorInputs) -> Record | None:
    by_uid = inputs.weights()
    if by_uid is None:
        return None
    vector, digest = vector_of(by_uid)
    names, parts = to_parts(inputs)
    hotkeys = {uid: hotkey for hotkey, uid in inputs.present.uids.items()}
    row = a_vector_row(
        vector=vector,
        vector_sha256=digest,
        weights={hotkeys[uid]: weight for uid, weight in by_uid.items()},
        inputs=names,
    )
    record: Record = msgspec.to_builtins(record_of(row, parts, "5Owner"))
    return record


def judge(*files: Path) -> tuple[int, dict[str, Any], str]:
    """Run the program; return its exit code, its object and its complaint."""
    done = subprocess.run(
        [sys.executable, SCRIPT, *files],
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def file_of(record: Any, folder: Path, name: str = "vector.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(record))
    return path


@pytest.mark.parametrize("rule", ["gaia-2.9", "gaia-next"])
def test_vectors_of_random_windows_follow_from_their_inputs(rule: str, tmp_path: Path) -> None:
    draw = random.Random(f"windows of {rule}")
    records = [record for _ in range(WINDOWS) if (record := record_from(some_inputs(draw, rule)))]
    files = [file_of(record, tmp_path, f"{number}.json") for number, record in enumerate(records)]

    code, found, complaint = judge(*files)

    assert (code, found.get("violations")) == (0, []), complaint
    assert found["figures"] == {"vectors": len(records), "unreadable": 0, "on_chain": 0}
    assert len(records) > WINDOWS / 2


def a_record() -> Record:
    record = record_from(some_inputs(random.Random("one window"), "gaia-2.9"))
    assert record is not None
    assert len(record["vector"]) > 3
    return record


def another_score(record: Record) -> None:
    _, digest = record["inputs"]["runs"][0]
    record["parts"][digest] = record["parts"][digest].replace("0.7", "0.9")


def a_lost_part(record: Record) -> None:
    del record["parts"][record["inputs"]["terms"]]


def a_gift(record: Record) -> None:
    uid, value = record["vector"][1]
    record["vector"][1] = [uid, value + 2]


def a_gift_with_its_digest(record: Record) -> None:
    a_gift(record)
    record["vector_sha256"] = vector_digest(record["vector"])


def a_shifted_weight(record: Record) -> None:
    hotkey = next(iter(record["weights"]))
    record["weights"][hotkey] += 1e-6


def vector_digest(vector: list[list[int]]) -> str:
    return vector_of({uid: float(value) for uid, value in vector})[1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (another_score, "of the inputs is missing or was changed"),
        (a_lost_part, "of the inputs is missing or was changed"),
        (a_gift, "the vector does not match its digest"),
        (a_gift_with_its_digest, "the vector is not the weights as the chain stores them"),
        (a_shifted_weight, "follows, and"),
    ],
)
def test_what_was_changed_is_named(change: Callable[[Record], None], sentence: str, tmp_path: Path) -> None:
    record = a_record()
    change(record)

    code, found, _ = judge(file_of(record, tmp_path))

    assert code == 1
    assert any(sentence in wrong for wrong in found["violations"])
    assert all(wrong.startswith("epoch 7: ") for wrong in found["violations"])


def test_unreadable_file_hides_no_violation(tmp_path: Path) -> None:
    record = a_record()
    a_gift(record)

    code, found, complaint = judge(file_of({}, tmp_path, "a.json"), file_of(record, tmp_path, "b.json"))

    assert (code, found["figures"]["unreadable"], len(found["violations"])) == (1, 1, 2)
    assert "a.json is no file" in complaint


@pytest.mark.parametrize("content", [{}, [], {"format": 1, "inputs": {}}])
def test_file_of_another_kind_is_refused_by_its_name(content: object, tmp_path: Path) -> None:
    code, found, complaint = judge(file_of(content, tmp_path))

    assert (code, found["figures"]["unreadable"]) == (2, 1)
    assert "vector.json is no file of `gaia export weights`" in complaint


def test_folder_stands_for_its_files(tmp_path: Path) -> None:
    code, _, complaint = judge(tmp_path)
    assert (code, "holds no file of" in complaint) == (2, True)
    for name in ("weights-57-7.json", "weights-57-8.json"):
        file_of(a_record(), tmp_path, name)

    code, found, _ = judge(tmp_path)

    assert (code, found["figures"]["vectors"]) == (0, 2)


def test_rules_that_it_does_not_know_are_no_violation(tmp_path: Path) -> None:
    record = a_record()
    terms = json.loads(record["parts"].pop(record["inputs"]["terms"])) | {"rule": "gaia-9"}
    names, parts = named(terms)
    record["inputs"]["terms"] = names
    record["parts"] |= parts

    code, _, complaint = judge(file_of(record, tmp_path))

    assert code == 2
    assert "the rules gaia-9 are unknown; known are gaia-2.9, gaia-next" in complaint


def named(terms: dict[str, Any]) -> tuple[str, dict[str, str]]:
    import hashlib

    content = json.dumps(terms)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return digest, {digest: content}


def test_right_to_earn_is_compared_with_the_block_in_which_it_was_read() -> None:
    blocks = {90: [[1, "5Gone", True], [2, "5New", False]], 80: [[3, "5Third", False]]}
    now = [
        [1, "5Gone", False],
        [2, "5New", True],
        [3, "5Third", True],
        [4, "5Later", True],
        [5, "5Same", True],
    ]

    told = as_told(now, {"5Gone": 90, "5New": 90, "5Third": 80, "5Later": 80}, blocks.__getitem__)

    expected = [[1, "5Gone", True], [2, "5New", False], [3, "5Third", False], [4, "5Later", False]]
    assert told == [*expected, [5, "5Same", True]]
    assert as_told(now, {}, blocks.__getitem__) == now


_VECTOR = [[1, 65535], [2, 32768], [3, 9]]
_BLOCKS = {"5One": 11, "5Two": 12, "5Three": 13}


@pytest.mark.parametrize(
    ("now", "held", "is_right"),
    [
        ("One 11, Two 12, Three 13", {1: 65535, 2: 32768, 3: 9}, True),
        ("One 11, Two 12, Three 13", {1: 65535, 2: 32767, 3: 9}, False),
        ("One 11, Two 12, Three 13", {1: 65535, 3: 9}, False),
        ("One 11, New 90, Three 13", {1: 65535, 3: 9}, True),
        ("One 11, New 90, Three 13", {1: 65535, 2: 0, 3: 9}, True),
        ("One 11, New 90, Three 13", {1: 65535, 2: 32768, 3: 9}, False),
        ("One 11, Two 90, Three 13", {1: 65535, 3: 9}, True),
        ("One 11, Two 90, Three 13", {1: 65535, 2: 32768, 3: 9}, False),
        ("One 11, New 90, Three 13, Two 91", {1: 65535, 3: 9}, True),
        ("One 11, Swapped 12, Three 13", {1: 65535, 2: 32768, 3: 9}, True),
        ("One 11, Swapped 12, Three 13", {1: 65535, 3: 9}, False),
        ("New 90, Two 12, Three 13", {2: 65535, 3: 17}, True),
        ("New 90, Two 12, Three 13", {2: 32768, 3: 9}, True),
        ("Two 12, Three 13", {1: 65535, 2: 17}, True),
        ("Two 12, Three 13", {1: 32768, 2: 65535}, False),
        ("Two 12, Three 13", {1: 65535, 2: 32768, 3: 9}, False),
    ],
)
def test_weights_on_chain_follow_from_who_is_registered(
    now: str, held: dict[int, int], is_right: bool
) -> None:
    rows = [("5Owner", "1"), *(tuple(f"5{each}".split()) for each in now.split(", "))]
    neurons = [[uid, hotkey, True] for uid, (hotkey, _) in enumerate(rows)]
    then = {"neurons": [[0, "5Owner", False], [1, "5One", True], [2, "5Two", True], [3, "5Three", True]]}
    registered = [int(block) for _, block in rows]

    assert (
        is_held(held, _VECTOR, {**then, "registered": {**_BLOCKS, "5Owner": 1}}, neurons, registered)
        is is_right
    )


def test_file_of_an_earlier_release_names_the_uids_themselves() -> None:
    present = {"neurons": [[1, "5One", True], [2, "5Two", True], [3, "5Three", True]]}

    assert is_held({1: 65535, 2: 32768, 3: 9}, _VECTOR, present, [], [])
    assert is_held({1: 65535, 2: 0, 3: 9}, _VECTOR, present, [], [])
    assert not is_held({1: 65535, 3: 9}, _VECTOR, present, [], [])


def test_it_shares_no_code_with_the_validator() -> None:
    sources = [SCRIPT, *sorted((SCRIPTS / "control").glob("*.py"))]
    nodes = [node for path in sources for node in ast.walk(ast.parse(path.read_text()))]
    imported = {
        *(name.name for node in nodes if isinstance(node, ast.Import) for name in node.names),
        *(str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)),
    }

    assert len(sources) == 5
    assert "numpy" in imported
    assert not {name for name in imported if name.split(".")[0] in ("gaia", "tests", "bittensor")}


class OneSubnet:
    """A node whose subnet is the same in each block."""

    def __init__(self, neurons: list[list[Any]]) -> None:
        self._neurons = neurons

    def subnet(self, netuid: int, block: int) -> tuple[list[list[Any]], str]:
        return self._neurons, "5Owner"


@pytest.mark.parametrize(
    ("earlier", "renewal", "expected"),
    [
        (100, {}, []),
        (1001, {}, ["who may earn was read 1001 blocks before the vector, which is no renewal"]),
        (1001, {"renewal_of": 3}, []),
    ],
)
def test_old_right_to_earn_belongs_to_a_renewal(
    earlier: int, renewal: dict[str, int], expected: list[str]
) -> None:
    record = a_record() | {"state": "failed", "computed_in": 5000}
    names = record["inputs"]
    present = json.loads(record["parts"].pop(names["present"]))
    digest, parts = named(present | {"earlier": {"5Miner0": 5000 - earlier}})
    record |= {"inputs": {**names, **renewal, "present": digest}, "parts": record["parts"] | parts}
    node: Any = OneSubnet(present["neurons"])

    assert list(agrees(record, node, "5Owner")) == expected
