"""What-if gives the weights that a validator with those settings records, and leaves everything as it is."""

from __future__ import annotations

import asyncio
import json
import shutil
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from gaia.cli.__main__ import main
from gaia.localnet import stored_runs
from gaia.localnet.population import Behaviour, population
from gaia.localnet.weather.replay import WeatherReplay
from gaia.validator.app.meeting.engine_note import EngineNotes
from gaia.validator.app.meeting.rendezvous import make_private, run_directory
from gaia.validator.core.clock import RealClock
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import ExitCode
from tests.support.patience import patience
from tests.support.unguarded import UNGUARDED

INIT = datetime(2026, 3, 25, tzinfo=UTC)
MINERS = [
    *[spec for spec in population(12) if spec.behaviour is Behaviour.HONEST][:3],
    next(spec for spec in population(12) if spec.behaviour is Behaviour.COPY),
]
BURN = ("--set", "GAIA_BURN_FRACTION=0.25")
NOT_FETCHED = "the persistence that gaia-next compares with was not fetched"
Gaia = Callable[..., tuple[int, str, str]]


class Stored(NamedTuple):
    """Two runs of a validator, and the note of its engine."""

    dsn: str
    data_dir: Path


class _Made:
    """Makes validators' databases and folders, each in settings of its own."""

    def __init__(self, postgres_dsn: str, scratch: pytest.TempPathFactory) -> None:
        self._postgres_dsn = postgres_dsn
        self._scratch = scratch

    def __call__(self, **changes: Any) -> Stored:
        name = f"what_if_{uuid.uuid4().hex[:12]}"
        made = Stored(self._postgres_dsn.replace("/postgres?", f"/{name}?"), self._scratch.mktemp("data"))
        asyncio.run(self._make(name, made, changes))
        return made

    async def _make(self, name: str, made: Stored, changes: dict[str, Any]) -> None:
        await execute(self._postgres_dsn, f"CREATE DATABASE {name}")
        database = await Database.connect(made.dsn, timeout_s=patience(10), pool_size=4)
        await run_comprehensive_database_setup(database)
        settings = stored_runs.small_settings(made.data_dir, INIT, 2, **changes)
        miners = self._scratch.mktemp("miners")
        await stored_runs.make_runs(settings.weather, database, MINERS, INIT, miners)
        await database.close()
        world = stored_runs._Miners(settings.contract, MINERS, WeatherReplay(), miners)
        make_private(run_directory(made.data_dir))
        EngineNotes(made.data_dir, RealClock()).write(world.latest())


async def execute(dsn: str, *statements: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return [await connection.fetch(statement) for statement in statements][-1]
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def made(postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> _Made:
    return _Made(postgres_dsn, tmp_path_factory)


@pytest.fixture(scope="module")
def stored(made: _Made) -> Stored:
    """A validator whose shadow rules are gaia-next."""
    return made(shadow_rule_set="gaia-next")


@pytest.fixture
def gaia_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[[Stored], Gaia]:
    """Run a command on a stored validator as its operator would; return (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)

    def of(stored: Stored) -> Gaia:
        monkeypatch.setenv("GAIA_DATABASE_URL", stored.dsn)
        monkeypatch.setenv("GAIA_DATA_DIR", str(stored.data_dir))

        def run(*words: object) -> tuple[int, str, str]:
            capsys.readouterr()  # what was logged while the runs were made
            code = main([str(word) for word in words])
            said = capsys.readouterr()
            return code, said.out, said.err

        return run

    return of


@pytest.fixture
def gaia(gaia_of: Callable[[Stored], Gaia], stored: Stored) -> Gaia:
    return gaia_of(stored)


def asked(gaia: Gaia, *words: object) -> dict[str, Any]:
    code, said, complaint = gaia("what-if", *words, "--json")
    assert (code, complaint) == (0, "")
    answer: dict[str, Any] = json.loads(said)
    return answer


def previewed(gaia: Gaia) -> dict[str, Any]:
    code, said, complaint = gaia("weights", "preview", "--json")
    assert (code, complaint) == (0, "")
    answer: dict[str, Any] = json.loads(said)
    return answer


@pytest.mark.parametrize(
    "words",
    [
        ("--rule-set", "gaia-2.9"),
        ("--set", "GAIA_BURN_FRACTION=0.75"),
        ("--set", "GAIA_WEIGHTS_WINDOW_DAYS=15"),
        ("--set", "GAIA_FINAL_FIELDS=2t,msl", "--set", "GAIA_FINAL_LEAD_HOURS=24,48"),
    ],
)
def test_unchanged_settings_change_no_weight(gaia: Gaia, words: tuple[str, ...]) -> None:
    answer = asked(gaia, *words)

    assert (answer["changed"], answer["moved"]) == (0, 0.0)
    assert (len(answer["replayed"]), answer["not_replayed"]) == (2, {})
    assert {row["now"] - row["then"] for row in answer["miners"]} == {0.0}
    assert len(answer["miners"]) == len(MINERS) + 1
    preview = previewed(gaia)["vector_sha256"]
    assert answer["vector_sha256_now"] == answer["vector_sha256_then"] == preview


def test_other_rules_give_the_weights_that_a_shadow_run_recorded(
    gaia: Gaia, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = asked(gaia, "--rule-set", "gaia-next")
    now = previewed(gaia)["vector_sha256"]
    monkeypatch.setenv("GAIA_RULE_SET", "gaia-next")
    recorded = previewed(gaia)

    assert (answer["vector_sha256_now"], answer["vector_sha256_then"]) == (now, recorded["vector_sha256"])
    assert answer["replayed"] == recorded["run_ids"]
    assert answer["changed"] > 0
    assert "overlaps are unknown in 2 of 2 runs" in answer["notes"][0]
    assert all(row["why"].startswith("rule set: ") for row in answer["miners"] if row["change"])


def test_rules_that_look_for_copies_are_replayed_with_the_overlaps_that_the_setter_finds(
    gaia_of: Callable[[Stored], Gaia], made: _Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaia = gaia_of(made(rule_set="gaia-next", shadow_rule_set="gaia-2.9"))
    monkeypatch.setenv("GAIA_RULE_SET", "gaia-next")
    now = previewed(gaia)["vector_sha256"]
    same, other = asked(gaia, "--rule-set", "gaia-next"), asked(gaia, "--rule-set", "gaia-2.9")
    fewer = asked(gaia, "--set", "GAIA_FINAL_FIELDS=2t")
    monkeypatch.setenv("GAIA_RULE_SET", "gaia-2.9")
    recorded = previewed(gaia)["vector_sha256"]
    back = asked(gaia, "--rule-set", "gaia-next")

    assert (same["vector_sha256_now"], same["vector_sha256_then"], same["changed"]) == (now, now, 0)
    assert same["notes"] == []
    assert (other["vector_sha256_now"], other["vector_sha256_then"]) == (now, recorded)
    assert fewer["notes"] == ["overlaps are those of the stored fields and leads"]
    assert (back["vector_sha256_now"], back["vector_sha256_then"]) == (recorded, now)
    assert any("shared work" in row["why"] for row in back["miners"])


def test_rules_that_never_scored_measure_kept_forecasts_again(
    gaia_of: Callable[[Stored], Gaia], stored: Stored, made: _Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = previewed(gaia_of(stored))
    other = made(rule_set="gaia-next")
    gaia = gaia_of(other)
    monkeypatch.setenv("GAIA_RULE_SET", "gaia-next")

    answer = asked(gaia, "--rule-set", "gaia-2.9", "--workers", 1)
    shutil.rmtree(other.data_dir / "spool" / "2026-03-26T00Z")
    fewer = asked(gaia, "--rule-set", "gaia-2.9")
    shutil.rmtree(other.data_dir / "fields")
    code, _, complaint = gaia("what-if", "--rule-set", "gaia-2.9")

    assert answer["vector_sha256_then"] == recorded["vector_sha256"]
    assert (answer["replayed"], answer["left_out"]) == (recorded["run_ids"], {})
    assert fewer["replayed"] == ["2026-03-25T00Z"]
    assert fewer["left_out"] == {"2026-03-26T00Z": "not scored under gaia-2.9, and its chunks were not kept"}
    assert code == 1
    assert "was not kept" in complaint


def test_other_fields_and_leads_give_what_a_validator_that_has_them_records(
    gaia_of: Callable[[Stored], Gaia], stored: Stored, made: _Made
) -> None:
    theirs = gaia_of(made(final_fields=["2t"], final_lead_hours=[48]))
    recorded = previewed(theirs)["vector_sha256"]
    words = ("--set", "GAIA_FINAL_FIELDS=2t", "--set", "GAIA_FINAL_LEAD_HOURS=48")

    answer = asked(gaia_of(stored), *words)

    assert answer["vector_sha256_then"] == recorded != answer["vector_sha256_now"]
    assert answer["changes"]["GAIA_FINAL_LEAD_HOURS"][1] == "48"


def test_burn_and_window_change_weights_as_the_setter_would(
    gaia: Gaia, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = asked(gaia, *BURN, "--set", "GAIA_WEIGHTS_WINDOW_DAYS=0.5")
    monkeypatch.setenv("GAIA_BURN_FRACTION", "0.25")
    monkeypatch.setenv("GAIA_WEIGHTS_WINDOW_DAYS", "0.5")
    recorded = previewed(gaia)

    assert answer["vector_sha256_then"] == recorded["vector_sha256"]
    assert (answer["replayed"], len(recorded["run_ids"])) == (recorded["run_ids"], 1)
    burner = next(row for row in answer["miners"] if row["uid"] == 0)
    assert (burner["now"], burner["then"], burner["why"]) == (0.75, 0.25, "burn")
    assert answer["moved"] == pytest.approx(0.5)
    for row in answer["miners"]:
        assert row["parts"].keys() == {"window", "burn"}
        assert sum(row["parts"].values()) == pytest.approx(row["change"])


def test_rows_come_in_the_order_of_their_change_and_no_file_is_written(gaia: Gaia, stored: Stored) -> None:
    before = {path: path.stat().st_mtime_ns for path in stored.data_dir.rglob("*")}
    changes = [abs(row["change"]) for row in asked(gaia, *BURN)["miners"]]

    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 0
    assert {path: path.stat().st_mtime_ns for path in stored.data_dir.rglob("*")} == before


@pytest.mark.parametrize("width", ["80", "120", None])
def test_answer_for_people_fits_the_terminal_and_cuts_no_id(
    gaia: Gaia, monkeypatch: pytest.MonkeyPatch, width: str | None
) -> None:
    if width is not None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("COLUMNS", width)
    code, said, _ = gaia("what-if", "--rule-set", "gaia-next", *BURN)
    answer = asked(gaia, "--rule-set", "gaia-next", *BURN)

    assert code == 0
    assert "…" not in said
    assert width is None or max(map(len, said.splitlines())) <= int(width)
    for row in answer["miners"]:
        assert row["hotkey"] in said.split()
        assert row["why"] in " ".join(said.split())
    assert {answer["vector_sha256_now"], answer["vector_sha256_then"]} <= set(said.split())
    assert said.splitlines()[-1].startswith("5 of 5 weights change; ")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "no change is named"),
        (("--set", "GAIA_BURN_FRACTION"), "is not of the form NAME=VALUE"),
        (("--set", "GAIA_SHADOW_SHARE=1"), "GAIA_SHADOW_SHARE: does not change weights; name one of"),
        (("--set", "GAIA_GRID_DEGREES=1.0"), "stored runs cannot show its effect"),
        (("--set", "GAIA_BURN_FRACTOIN=1"), "did you mean GAIA_BURN_FRACTION?"),
        (
            ("--set", "GAIA_BURN_FRACTION=2"),
            'GAIA_BURN_FRACTION: "2" is not allowed; use a number from 0 to 1',
        ),
        (("--set", "GAIA_FINAL_FIELDS=2tt"), "is not a known field"),
        (("--set", "BURN_RATE=1", *BURN), "is given twice"),
        (("--rule-set", "gaia-9"), "use gaia-2.9 or gaia-next"),
    ],
)
def test_change_that_cannot_be_replayed_is_refused_in_a_sentence(
    gaia: Gaia, words: tuple[str, ...], complaint: str
) -> None:
    code, said, complained = gaia("what-if", *words)

    assert (code, said) == (ExitCode.BAD_SETTING, "")
    assert complaint in complained
    assert complained.count("\n") == 1


def test_run_that_lacks_its_measures_is_named_and_left_as_it_was(gaia: Gaia, stored: Stored) -> None:
    cell = "rule_set = 'gaia-2.9' AND kind = 'final' AND lead_hours = 24 AND run_id LIKE '%25T00Z'"
    change = f"UPDATE component_scores SET skill_climatology = skill_climatology {{}} 0.125 WHERE {cell}"
    asyncio.run(execute(stored.dsn, UNGUARDED, change.format("-")))
    try:
        code, said, _ = gaia("what-if", "--set", "GAIA_FINAL_FIELDS=2t")
        answer = asked(gaia, "--set", "GAIA_FINAL_FIELDS=2t")
    finally:
        asyncio.run(execute(stored.dsn, UNGUARDED, change.format("+")))

    assert code == 0
    assert answer["replayed"] == ["2026-03-26T00Z"]
    assert answer["not_replayed"] == {
        "2026-03-25T00Z": "the stored measures do not give 4 of its stored scores"
    }
    assert "1 of 2 in the window replayed, 1 left as stored" in said
    assert "2026-03-25T00Z" in said


def test_exit_code_says_that_no_run_could_be_replayed(gaia: Gaia) -> None:
    code, said, _ = gaia("what-if", "--set", "GAIA_FINAL_FIELDS=z500", "--json")

    answer = json.loads(said)
    assert (code, answer["replayed"], answer["changed"]) == (1, [], 0)
    assert set(answer["not_replayed"].values()) == {"z500 was not scored (final_fields)"}


def test_rules_that_scored_nothing_are_refused_and_those_that_scored_a_part_are_named(
    gaia: Gaia, stored: Stored
) -> None:
    tables = ("score_table", "lead_scores")
    away = "UPDATE {} SET rule_set = '{}' WHERE rule_set = '{}' AND run_id LIKE '{}'"

    def move(was: str, becomes: str, runs: str) -> None:
        asyncio.run(
            execute(stored.dsn, UNGUARDED, *(away.format(table, becomes, was, runs) for table in tables))
        )

    move("gaia-next", "gaia-gone", "%25T00Z")
    try:
        answer = asked(gaia, "--rule-set", "gaia-next")
        move("gaia-next", "gaia-gone", "%")
        code, said, complaint = gaia("what-if", "--rule-set", "gaia-next")
    finally:
        move("gaia-gone", "gaia-next", "%")

    assert answer["replayed"] == ["2026-03-26T00Z"]
    assert answer["left_out"] == {"2026-03-25T00Z": f"not scored under gaia-next, and {NOT_FETCHED}"}
    assert (code, said) == (1, "")
    assert complaint.startswith(
        f"nothing could be replayed: 2 runs in the window, not scored under gaia-next, and {NOT_FETCHED}"
    )
