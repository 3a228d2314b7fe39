"""Every command on every state that a living validator's runs really have: an answer, or one sentence."""

from __future__ import annotations

import asyncio
import json
import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gaia.cli.__main__ import main
from gaia.localnet import stored_runs
from gaia.localnet.population import Behaviour, MinerSpec, population
from gaia.localnet.weather.replay import WeatherReplay
from gaia.tasks.defined_tasks.base import SignedManifest, StoreAccess
from gaia.validator.app.meeting.engine_note import EngineNotes
from gaia.validator.app.meeting.rendezvous import make_private, run_directory
from gaia.validator.core.clock import RealClock
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import NotYetAvailable
from gaia.validator.utils.identities import MinerJobId
from tests.support.patience import patience
from tests.support.site_pages import read

INIT = datetime(2026, 3, 25, tzinfo=UTC)
HONEST = [spec for spec in population(12) if spec.behaviour is Behaviour.HONEST][:2]
REFUSED = next(spec for spec in population(12) if spec.behaviour is Behaviour.PERSISTENCE)
PICTURES = ("scorecard", "skill", "error-map", "leaderboard", "clones")

NOTHING_SCORED = "SELECT NOT EXISTS (SELECT FROM lead_scores)"
NEWEST = "SELECT run_id FROM runs ORDER BY init_time DESC LIMIT 1"
STATES = {
    # name: (days, what must be so for the validator to be looked at)
    "no run": (0, ""),
    "opened": (1, "SELECT EXISTS (SELECT FROM runs WHERE contract IS NULL)"),
    "refused": (1, f"SELECT EXISTS (SELECT FROM forecasts WHERE state = 'rejected') AND ({NOTHING_SCORED})"),
    "day 1": (1, "SELECT count(*) = 2 FROM forecasts WHERE state = 'scored_day1'"),
    "half": (
        1,
        "SELECT EXISTS (SELECT FROM lead_scores WHERE kind = 'final') AND EXISTS (SELECT FROM runs WHERE state = 'open')",
    ),
    "mix": (
        9,
        f"""SELECT EXISTS (SELECT FROM runs WHERE state = 'completed')
        AND NOT EXISTS (SELECT FROM lead_scores WHERE run_id = ({NEWEST}))
        AND EXISTS (SELECT FROM forecasts WHERE state = 'rejected' AND run_id = ({NEWEST}))""",
    ),
}
ANSWERS = {
    "no run": set(),
    "opened": {"explain newest"},
    "refused": {"scores newest", "explain newest"},
    "day 1": {
        "scores newest",
        "replay newest",
        "explain newest",
        "scorecard newest",
        "error-map newest",
        "clones newest",
    },
    "half": {
        "scores newest",
        "replay newest",
        "explain newest",
        "scorecard newest",
        "skill newest",
        "error-map newest",
        "clones newest",
    },
    "mix": {
        *(f"{name} {word}" for name in ("scores", "replay", "explain") for word in ("last", "newest")),
        "replay all",
        "scores all",
        *(f"{name} {word}" for name in PICTURES for word in ("last", "all")),
    }
    - {"replay newest"},
}
"""Questions that have an answer; "last" and "all" of a single run are as that run itself."""


Stood = tuple[str, str, Path, str]
Gaia = Callable[..., tuple[int, str, str]]


class Reached(Exception):
    """The validator stands where it is to be looked at."""


async def play(days: int, condition: str, database: Database, data_dir: Path, scratch: Path) -> None:
    """Play the validator until `condition` holds; one miner's signature is never its own."""

    seen = INIT

    class Watched(stored_runs._Clock):
        def now(self) -> datetime:
            nonlocal seen
            seen = super().now()
            return seen

        async def idle_until(self, moment: datetime | None) -> None:
            async with database.transaction() as connection:
                if await connection.fetchval(condition):
                    raise Reached
            await super().idle_until(moment)

    class Archive(stored_runs._Archive):
        async def fetch(self, moment: datetime, *others: Any) -> None:
            # GFS comes late enough that runs wait a day for their first score.
            if isinstance(others[0], int) and (published := moment + timedelta(hours=24)) > seen:
                raise NotYetAvailable("GFS", published)

    class Miners(stored_runs._Miners):
        async def forecast_ready(self, miner: Any, job_id: MinerJobId) -> bool:
            return condition != STATES["opened"][1] and await super().forecast_ready(miner, job_id)

        async def fetch_manifest(self, miner: Any, access: StoreAccess) -> SignedManifest:
            signed = await super().fetch_manifest(miner, access)
            return replace(signed, signature=b"?" * 64) if miner.uid == REFUSED.index + 1 else signed

    settings = stored_runs.small_settings(data_dir, INIT, days, final_lead_hours=[24, 48])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_runs, "_Clock", Watched)
        patch.setattr(stored_runs, "_Archive", Archive)
        patch.setattr(stored_runs, "_Miners", Miners)
        with pytest.raises(Reached):
            await stored_runs.make_runs(settings.weather, database, [*HONEST, REFUSED], INIT, scratch)


@pytest.fixture(scope="module", params=STATES)
def state(
    request: pytest.FixtureRequest, postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> Stood:
    """A validator's database and folder as they are in one state: (name, URL, folder, the newest run)."""
    days, condition = STATES[request.param]
    name = f"state_{uuid.uuid4().hex[:12]}"
    dsn, data_dir = postgres_dsn.replace("/postgres?", f"/{name}?"), tmp_path_factory.mktemp("data")

    async def make() -> str:
        administrator = await asyncpg.connect(postgres_dsn)
        await administrator.execute(f"CREATE DATABASE {name}")
        await administrator.close()
        database = await Database.connect(dsn, timeout_s=patience(10), pool_size=4)
        await run_comprehensive_database_setup(database)
        if days:
            await play(days, condition, database, data_dir, tmp_path_factory.mktemp("miners"))
        async with database.transaction() as connection:
            newest = await connection.fetchval(NEWEST)
        await database.close()
        return newest or "2026-03-25"

    return request.param, dsn, data_dir, asyncio.run(make())


@pytest.fixture
def gaia(
    state: Stood, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Gaia:
    """Run a command as an operator would; return (exit code, standard output, standard error)."""
    _, dsn, data_dir, _ = state
    monkeypatch.setenv("GAIA_DATABASE_URL", dsn)
    monkeypatch.setenv("GAIA_DATA_DIR", str(data_dir))
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def answered(gaia: Gaia, state: Stood, command: str, *words: object) -> set[str]:
    """Ask, and check what holds of every answer; return "command run" if there was one."""
    name, _, _, newest = state
    found = set()
    for word in ("last", "all", "newest"):
        run = newest if word == "newest" else word
        code, said, complaint = gaia(*[run if each == "RUN" else each for each in words])
        assert code in (0, 1), (command, word, said, complaint)
        if code == 0:
            assert said
            found.add(f"{command} {word}")
        else:
            *_, sentence = complaint.splitlines()
            assert sentence.endswith("."), complaint
            assert said == "" or "DIFFERS" not in said
    if name == "mix":
        return found
    # A single run is the last, the newest, and all there is.
    assert {each.split()[-1] for each in found} in (set(), {"last", "all", "newest"}, {"last", "newest"})
    return {each for each in found if each.endswith("newest")}


def expected(state: Stood, command: str) -> set[str]:
    return {each for each in ANSWERS[state[0]] if each.rsplit(" ", 1)[0] == command}


def test_runs_and_status_are_listed_in_every_state(gaia: Gaia, state: Stood) -> None:
    # The state was made without a Supervisor, so the validator does not run.
    for command, expected_code in (("runs", 0), ("status", 2)):
        assert gaia(command)[0] == expected_code
        code, said, _ = gaia(command, "--json")
        assert code == expected_code
        json.loads(said)


def test_newest_run_is_shown_as_far_as_it_has_come(gaia: Gaia, state: Stood) -> None:
    name, _, _, newest = state
    code, said, complaint = gaia("runs", "show", "last")

    if name == "no run":
        assert (code, complaint) == (1, "no run is called last; there are none yet.\n")
        return
    assert code == 0
    assert said.startswith(f"run        {newest}, open; its scores are not final\n")
    found = json.loads(gaia("runs", "show", newest, "--json")[1])
    assert {row["uid"] for row in found["forecasts"]} == {spec.index + 1 for spec in (*HONEST, REFUSED)}
    assert gaia("runs", "show", "all")[0] == (1 if name == "mix" else 0)


def test_site_is_exported_in_every_state(gaia: Gaia, state: Stood, tmp_path: Path) -> None:
    name, _, data_dir, newest = state
    code, said, complaint = gaia("export", "site", tmp_path / "site", "--pictures", "1", "--json")

    assert (code, complaint) == (0, "")
    told = json.loads(said)
    files = {
        path.relative_to(tmp_path / "site").as_posix(): path for path in (tmp_path / "site").rglob("*.*")
    }
    assert told["files"] == len(files) - 1  # the list of files is not one of them
    assert told["runs"] == sum(path.startswith("runs/") for path in files)
    assert (told["runs"] == 0) == (name == "no run")
    for path, file in files.items():
        assert str(data_dir).encode() not in file.read_bytes()
        if path.endswith(".html"):
            read(file.read_bytes())
    if name != "no run":
        found = json.loads(files[f"data/runs/{newest}.json"].read_bytes())
        assert {(row["score"] or {}).get("kind") for row in found["outcomes"]} <= {None, "open"}
    drawn = {path for path in files if path.endswith(".png")}
    assert len(drawn) == told["pictures"] == (2 if name == "mix" else 0)
    assert gaia("export", "site", tmp_path / "site", "--pictures", "0")[0] == 0
    assert not any(files[path].exists() for path in drawn)


def test_weights_are_previewed_or_missed_in_a_sentence(gaia: Gaia, state: Stood) -> None:
    code, _, complaint = gaia("weights", "preview")
    assert (code, complaint.count("\n")) == (1, 1)
    assert "no engine has read the chain yet" in complaint
    assert gaia("weights", "history")[2] == "no weights were computed yet.\n"


def test_what_if_is_answered_once_something_is_scored(gaia: Gaia, state: Stood, tmp_path: Path) -> None:
    name, _, data_dir, newest = state
    words = ("what-if", "--set", "GAIA_FINAL_LEAD_HOURS=24", "--set", "GAIA_BURN_FRACTION=0.5")
    assert "no engine has read the chain yet" in gaia(*words)[2]

    settings = stored_runs.small_settings(data_dir, INIT, 1)
    specs = [*HONEST, REFUSED]
    world = stored_runs._Miners(settings.contract, specs, WeatherReplay(), tmp_path)
    make_private(run_directory(data_dir))
    EngineNotes(data_dir, RealClock()).write(world.latest())
    try:
        code, said, complaint = gaia(*words, "--json")
    finally:
        shutil.rmtree(run_directory(data_dir))

    if name not in ("day 1", "half", "mix"):
        assert (code, complaint) == (1, "nothing could be replayed: no score in the window.\n")
        return
    answer = json.loads(said)
    assert (code, complaint, answer["not_replayed"]) == (0, "", {})
    assert (newest in answer["replayed"]) == (name != "mix")
    assert {row["uid"] for row in answer["miners"]} >= {0, *(spec.index + 1 for spec in HONEST)}


@pytest.mark.parametrize("width", [80, 40])
def test_nothing_is_cut_on_a_terminal(
    gaia: Gaia, state: Stood, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the console is told of is a terminal of that width."""
    name, _, _, newest = state
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    for words in (
        ("status",),
        ("runs",),
        ("runs", "show", newest),
        ("scores", "list", newest),
        ("explain", newest, HONEST[0].index + 1),
    ):
        code, said, _ = gaia(*words)
        assert "…" not in said
        if code == 0 and name != "no run":
            # Ids and numbers are whole words wherever they stand.
            assert newest in said.replace(",", " ").split(), (words, said)


def test_scores_are_listed_or_missed_in_a_sentence(gaia: Gaia, state: Stood) -> None:
    assert answered(gaia, state, "scores", "scores", "list", "RUN") == expected(state, "scores")


def test_replay_computes_what_there_is(gaia: Gaia, state: Stood) -> None:
    assert answered(gaia, state, "replay", "replay", "RUN", "--workers", 1) == expected(state, "replay")


def test_comparison_wants_finished_runs(gaia: Gaia, state: Stood) -> None:
    code, _, complaint = gaia("scores", "compare", "--shadow", "gaia-next")

    assert code == 1
    unfinished = state[0] in ("refused", "day 1", "half")
    assert complaint.startswith(
        "no run is finished yet" if unfinished else "no finished run was scored by both"
    )


@pytest.mark.parametrize("spec", [HONEST[0], REFUSED], ids=["honest", "refused"])
def test_miner_is_explained_as_far_as_its_run_has_come(gaia: Gaia, state: Stood, spec: MinerSpec) -> None:
    found = answered(gaia, state, "explain", "explain", "RUN", spec.index + 1)

    assert found - {"explain all"} == expected(state, "explain")


@pytest.mark.parametrize("picture", PICTURES)
def test_picture_is_drawn_or_missed_in_a_sentence(gaia: Gaia, state: Stood, picture: str) -> None:
    found = answered(gaia, state, picture, "plot", picture, "RUN", "-o", "p.png")

    assert found == expected(state, picture)


def test_last_is_the_newest_finished_run_and_says_so(gaia: Gaia, state: Stood) -> None:
    name, _, _, newest = state
    code, said, note = gaia("scores", "list", "last")

    if name == "mix":
        assert code == 0
        assert "2026-03-25T00Z" in said
        assert newest not in said
        assert note.startswith("last means 2026-03-25T00Z, the newest with final scores; ")
    elif name in ("day 1", "half"):
        assert f"last means {newest}: no run is finished yet" in note
        assert f"{newest} (open)" in said


def test_leaderboard_leaves_open_runs_out_and_says_so(gaia: Gaia, state: Stood) -> None:
    code, said, complaint = gaia("plot", "leaderboard", "all", "-o", "p.png")

    if state[0] == "mix":
        assert code == 0
        assert "of them open" in said
    elif state[0] in ("day 1", "half"):
        assert complaint == "none of these runs is finished, and the leaderboard shows finished runs only.\n"


def test_explanation_of_an_open_run_says_that_nothing_is_final(gaia: Gaia, state: Stood) -> None:
    name, _, _, newest = state
    if name != "no run":
        assert "open: these numbers are not final" in gaia("explain", newest, REFUSED.index + 1)[1]
