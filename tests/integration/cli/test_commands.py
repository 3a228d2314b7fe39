"""The command line on stored runs: what it says is so, and what was tampered with is noticed."""

import asyncio
import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from gaia.cli.__main__ import main
from gaia.cli.pictures import style
from gaia.cli.source import open_source
from gaia.localnet.population import Behaviour, population
from gaia.localnet.stored_runs import make_runs, small_settings
from gaia.validator.app.children.embedded_postgres import EmbeddedPostgres
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.core.status.troubles import Health
from gaia.validator.db.connection import Database
from gaia.validator.db.failures import DatabaseFailure
from gaia.validator.utils.errors import ExitCode
from tests.support.patience import patience
from tests.support.unguarded import UNGUARDED

INIT = datetime(2026, 3, 25, tzinfo=UTC)
KINDS = (Behaviour.HONEST, Behaviour.PERSISTENCE, Behaviour.COPY)
MINERS = [spec for spec in population(12) if spec.behaviour in KINDS][1:]
Stored = tuple[str, Path]
Gaia = Callable[..., tuple[int, str, str]]
CLIMATOLOGY = Path("fields", "climatology", "2026-03-26T00Z", "final")


def climatology(data_dir: Path) -> Path:
    """Return the one file of the field whose name carries its digest."""
    (path,) = (data_dir / CLIMATOLOGY).glob("2t.*.f32")
    return path


async def run_sql(dsn: str, *statements: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return [await connection.fetch(statement) for statement in statements][-1]
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def stored(postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Two runs of a few miners, made once: (URL, data folder)."""
    name = f"stored_{uuid.uuid4().hex[:12]}"
    dsn, data_dir = postgres_dsn.replace("/postgres?", f"/{name}?"), tmp_path_factory.mktemp("stored")

    async def make() -> None:
        await run_sql(postgres_dsn, f"CREATE DATABASE {name}")
        database = await Database.connect(dsn, timeout_s=patience(10), pool_size=4)
        await run_comprehensive_database_setup(database)
        settings = small_settings(data_dir, INIT, 2, shadow_rule_set="gaia-next")
        await make_runs(settings.weather, database, MINERS, INIT, tmp_path_factory.mktemp("miners"))
        await database.close()

    asyncio.run(make())
    return dsn, data_dir


@pytest.fixture
def gaia(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Gaia:
    """Run a command as an operator would; return (exit code, standard output, standard error)."""
    dsn, data_dir = stored
    monkeypatch.setenv("GAIA_DATABASE_URL", dsn)
    monkeypatch.setenv("GAIA_DATA_DIR", str(data_dir))
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


class Tampering:
    """Changes the database or a file, and changes them back."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._undo: list[Callable[[], object]] = []

    def __call__(self, statement: str, back: str) -> None:
        self._undo.append(lambda: asyncio.run(run_sql(self._dsn, UNGUARDED, back)))
        asyncio.run(run_sql(self._dsn, UNGUARDED, statement))

    def file(self, path: Path, edit: Callable[[Path], object]) -> None:
        before = path.read_bytes()
        self._undo.append(lambda: path.write_bytes(before))
        edit(path)

    def undo(self) -> None:
        for step in reversed(self._undo):
            step()


@pytest.fixture
def tampered(stored: Stored) -> Iterator[Tampering]:
    """Change the database or a file for one test only."""
    tampering = Tampering(stored[0])
    yield tampering
    tampering.undo()


def test_status_says_where_the_newest_run_stands(gaia: Gaia) -> None:
    code, said, _ = gaia("status", "--json")

    found = json.loads(said)
    # The runs were made without a Supervisor.
    assert (code, found["exit_code"], found["health"]) == (Health.STUCK, Health.STUCK, "stuck")
    assert found["newest_run"]["run_id"] == "2026-03-26T00Z"
    assert (found["runs"], found["open_runs"], found["weights"]) == (2, [], None)
    assert f"{len(MINERS)} of {len(MINERS)} scored" in gaia("status")[1]


def test_status_says_nothing_is_waited_for_while_all_serve(gaia: Gaia) -> None:
    found = json.loads(gaia("status", "--json")[1])

    assert (found["incidents"], found["archives"], found["weights_in_doubt"]) == ([], [], [])
    assert "waits for" not in gaia("status")[1]


def test_status_says_whom_it_waits_for_since_when_and_what_they_said_last(
    gaia: Gaia, tampered: Tampering
) -> None:
    tampered(
        "INSERT INTO incidents (party, began_at, last_at, evidence) VALUES"
        " ('chain', '2026-03-26T12:00Z', '2026-03-26T12:05Z', E'no answer\\x1b[31m\nat all'),"
        " ('weights', '2026-03-26T11:00Z', '2026-03-26T11:05Z', 'refused')",
        "DELETE FROM incidents",
    )
    tampered("UPDATE incidents SET ended_at = last_at WHERE party = 'weights'", "SELECT 1")
    tampered(
        "INSERT INTO reference_sets (reference_id, attempts, retry_at, last_error) VALUES"
        " ('era5/2026-04-01T00Z', 3, '2026-04-02T06:00Z', 'status 503'),"
        " ('era5/2026-04-02T00Z', 1, '2026-04-02T07:00Z', 'not published')",
        "DELETE FROM reference_sets WHERE last_error IS NOT NULL",
    )

    said = gaia("status")[1]
    found = json.loads(gaia("status", "--json")[1])

    assert "chain fails since 2026-03-26 12:00Z: no answer [31m at all\n" in said
    assert "  do        gaia runbook ValidatorSubstrateConnectionLost\n" in said
    assert "waits for   era5, 2 sets, next try 2026-04-02 06:00Z: status 503" in said
    assert "refused" not in said
    assert [row["party"] for row in found["incidents"]] == ["chain"]
    assert [(row["source"], row["sets"]) for row in found["archives"]] == [("era5", 2)]


def test_status_tells_what_stands_on_chain_from_what_is_in_doubt(gaia: Gaia, tampered: Tampering) -> None:
    columns = (
        "netuid, mechid, epoch, rule_set, vector, vector_sha256, weights, run_ids, completed_ids, intended_at"
    )
    row = "'gaia-2.9', '[]', 'abc', '{}', '[]', '[]', '2026-03-27T06:00Z'"
    tampered(
        f"INSERT INTO weight_journal ({columns}, state, block) VALUES (57, 0, 8, {row}, 'set', 77),"
        f" (57, 0, 9, {row}, 'failed', NULL), (57, 0, 10, {row}, 'intended', NULL), (57, 0, 7, {row}, 'lost', NULL)",
        "DELETE FROM weight_journal",
    )

    said = gaia("status")[1]
    found = json.loads(gaia("status", "--json")[1])

    assert "weights     epoch 10 intended, gaia-2.9, from 0 runs, 2026-03-27 06:00Z\n" in said
    assert "last set    epoch 8, block 77" in said
    assert "in doubt    2: epoch 9, 10" in said
    assert found["weights_set"]["epoch"] == 8
    assert [row["epoch"] for row in found["weights_in_doubt"]] == [9, 10]


def test_runs_and_scores_are_listed(gaia: Gaia) -> None:
    assert "2026-03-25T00Z" in gaia("runs")[1]

    rows = json.loads(gaia("scores", "list", "last", "--rule-set", "gaia-2.9", "--json")[1])

    assert [row["overall"] for row in rows] == sorted((row["overall"] for row in rows), reverse=True)
    assert {row["rule_set"] for row in rows} == {"gaia-2.9"}
    assert str(rows[0]["uid"]) in gaia("scores", "list")[1]


def test_shadow_rules_agree_about_who_is_better_and_their_cost_is_known(gaia: Gaia) -> None:
    code, said, _ = gaia("scores", "compare", "--json")

    found = json.loads(said)
    assert (code, found["active"], found["shadow"]) == (0, "gaia-2.9", "gaia-next")
    assert [run["miners"] for run in found["runs"]] == [len(MINERS)] * 2
    assert found["summary"]["kendall"] > 0.8
    assert found["summary"]["active_cpu_s"] > 0
    assert found["summary"]["shadow_cpu_s"] > 0
    assert "Spearman" in gaia("scores", "compare", "--shadow", "gaia-next")[1]


def test_rule_set_that_never_scored_is_refused_in_a_sentence(gaia: Gaia) -> None:
    code, _, complaint = gaia("scores", "compare", "--shadow", "gaia-9")

    assert code == 1
    assert "no finished run was scored by both gaia-2.9 and gaia-9" in complaint


@pytest.mark.parametrize("workers", [1, 3])
def test_replay_finds_every_bit_as_it_was(gaia: Gaia, workers: int) -> None:
    code, said, _ = gaia("replay", "all", "--workers", workers, "--json")

    found = json.loads(said)
    assert (code, found["differing"]) == (0, 0)
    assert found["numbers"] > 1000
    assert all(run["same"] for run in found["runs"])


def test_replay_shows_the_one_number_that_was_changed(gaia: Gaia, tampered: Tampering) -> None:
    cell = "rule_set = 'gaia-2.9' AND kind = 'final' AND lead_hours = 24 AND field = '2t' AND run_id LIKE '%25T00Z'"
    change = f"UPDATE component_scores SET mae = mae {{}} 1e-12 WHERE {cell} AND hotkey = (SELECT min(hotkey) FROM forecasts)"
    tampered(change.format("+"), change.format("-"))

    code, said, _ = gaia("replay", "2026-03-25", "--diff")

    assert code == 1
    assert "DIFFERS" in said
    assert "gaia-2.9 final +24h 2t mae" in said
    assert "1 differ" in said
    assert "units in the last place apart" in said


def test_replay_notices_a_truth_that_is_not_what_it_was(
    gaia: Gaia, stored: Stored, tampered: Tampering
) -> None:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[4000] ^= 1
        path.write_bytes(content)

    tampered.file(climatology(stored[1]), flip)

    code, said, _ = gaia("replay", "2026-03-25")

    assert code == 1
    assert "INCOMPLETE" in said
    assert "was scored against" in said


def test_replay_notices_a_chunk_that_is_not_what_the_miner_signed(
    gaia: Gaia, stored: Stored, tampered: Tampering
) -> None:
    chunk = next((stored[1] / "spool" / "2026-03-25T00Z").glob("*/2t/3.0.0"))
    tampered.file(chunk, lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"))

    code, said, _ = gaia("replay", "2026-03-25")

    assert code == 1
    assert "DigestMismatch" in said


def test_replay_says_so_when_nothing_was_kept(gaia: Gaia, stored: Stored, tampered: Tampering) -> None:
    path = climatology(stored[1])
    tampered.file(path, Path.unlink)

    code, said, _ = gaia("replay", "2026-03-25", "--json")

    assert code == 1
    assert "was not kept" in said


def test_replay_does_not_trust_a_manifest_whose_signature_is_not_the_miners(
    gaia: Gaia, tampered: Tampering
) -> None:
    tampered(
        "UPDATE forecasts SET signature = set_byte(signature, 3, get_byte(signature, 3) # 1)",
        "UPDATE forecasts SET signature = set_byte(signature, 3, get_byte(signature, 3) # 1)",
    )

    code, said, _ = gaia("replay", "last")

    assert code == 1
    assert "signature is not the miner's" in said


def test_explanation_leads_from_the_score_to_the_digests_of_what_it_was_made_from(
    gaia: Gaia, stored: Stored
) -> None:
    code, said, _ = gaia("explain", "2026-03-25", MINERS[0].index + 1, "--json")

    story = json.loads(said)
    lead = next(lead for lead in story["leads"] if lead["lead_hours"] == 24)
    component = next(row for row in lead["components"] if row["field"] == "2t")
    assert code == 0
    assert story["miner"]["state"] == "scored"
    assert len(story["manifest"]["sha256"]) == 64
    assert story["overall"]["overall"] > 0
    digests = {name: value for name, value in component.items() if name.endswith("_digest")}
    assert set(digests) == {"forecast_digest", "truth_digest", "climatology_digest"}
    assert digests["climatology_digest"] == hashlib.sha256(climatology(stored[1]).read_bytes()).hexdigest()


def test_explanation_of_a_weight_names_the_runs_it_was_made_from(gaia: Gaia, tampered: Tampering) -> None:
    tampered(
        "INSERT INTO weight_journal (netuid, mechid, epoch, rule_set, vector, vector_sha256, weights, run_ids,"
        " completed_ids, state, intended_at, settled_at, block, block_hash) SELECT 57, 0, 9, 'gaia-2.9', '[]', 'abc',"
        " jsonb_object_agg(hotkey, 0.25), '[\"2026-03-25T00Z\", \"2026-03-26T00Z\"]', '[]', 'set', now(), now(), 77, '0x1'"
        " FROM forecasts WHERE run_id = '2026-03-25T00Z'",
        "DELETE FROM weight_journal",
    )

    said = gaia("explain", "2026-03-26", MINERS[0].index + 1, "--lead", 24)[1]

    assert "0.250000 of the vector of epoch 9, block 77" in said
    assert "from 2 runs, mean" in said
    assert "epoch 9 set, gaia-2.9, from 2 runs, block 77" in gaia("status")[1]


@pytest.mark.parametrize("picture", ["scorecard", "skill", "error-map", "leaderboard", "clones"])
def test_picture_is_drawn_from_what_is_stored(gaia: Gaia, picture: str, tmp_path: Path) -> None:
    code, said, _ = gaia("plot", picture, "all", "-o", tmp_path / "p.png")

    assert code == 0
    assert f"{picture}, 2 runs" in said
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("runs", "valid"), [("2026-03-25", "2026-03-26 00Z"), ("all", "2026-03-26 00Z to 2026-03-27 00Z")]
)
def test_error_map_is_valid_a_lead_after_the_start_of_its_run(
    gaia: Gaia, monkeypatch: pytest.MonkeyPatch, runs: str, valid: str
) -> None:
    heads: list[str] = []
    monkeypatch.setattr(style, "head", lambda _, __, subtitle: heads.append(subtitle))

    assert gaia("plot", "error-map", runs, "--lead", 24, "-o", "p.png")[0] == 0
    assert f"; valid {valid}; " in heads[0]


def test_scorecard_can_be_held_against_another_miner(gaia: Gaia, tmp_path: Path) -> None:
    words = ("--miner", MINERS[0].index + 1, "--against", MINERS[1].index + 1, "--json")

    code, said, _ = gaia("plot", "scorecard", "all", "-o", tmp_path / "p.png", *words)

    assert (code, json.loads(said)["runs"]) == (0, 2)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("replay", "2031"), "no run is called 2031"),
        (("explain", "last", "99"), "99 means 0 miners"),
        (("explain", "all", "1"), "name one"),
        (("plot", "skill", "all", "-o", "p.png", "--rule-set", "gaia-9"), "nothing is scored by gaia-9"),
        (("plot", "scorecard", "all", "-o", "p.png", "--against", "persistence"), "are not stored"),
    ],
)
def test_question_without_an_answer_gets_a_sentence(gaia: Gaia, words: list[str], complaint: str) -> None:
    code, _, said = gaia(*words)

    assert code == 1
    assert complaint in said


def test_folder_without_a_database_is_refused_in_a_sentence(gaia: Gaia, tmp_path: Path) -> None:
    code, _, complaint = gaia("status", "--state", tmp_path)

    assert code == ExitCode.BAD_SETTING
    assert "there is no database" in complaint


def test_nothing_can_be_written_through_the_command_line(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn, data_dir = stored
    monkeypatch.setenv("GAIA_DATABASE_URL", dsn)
    monkeypatch.setenv("GAIA_DATA_DIR", str(data_dir))

    with open_source(None) as source, pytest.raises(DatabaseFailure, match="read-only transaction"):
        source.read(lambda connection: connection.execute("DELETE FROM runs"))


def test_server_of_a_stopped_rehearsal_runs_for_the_time_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir = tmp_path / "validator"
    server = EmbeddedPostgres(data_dir)
    server.prepare()

    code = main(["runs", "--state", str(tmp_path)])

    said = capsys.readouterr()
    assert code == ExitCode.DATABASE_UNREACHABLE
    assert "start the validator of this release once" in said.err
    assert server.is_free(0.0)
    shutil.rmtree(data_dir)
