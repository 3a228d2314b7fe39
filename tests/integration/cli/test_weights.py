"""The preview shows the very vector that the setter journals, and signs nothing; the history shows what became of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from gaia.cli.__main__ import main
from gaia.validator.app.meeting.engine_note import EngineNotes
from gaia.validator.app.meeting.rendezvous import make_private, run_directory
from gaia.validator.core.clock import RealClock
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import TransientError
from tests.support.fakes import VALIDATOR
from tests.support.weight_setters import NOW, Setting

SCORES = {"5Best": 0.6, "5Second": 0.5, "5Third": 0.2}
Gaia = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def gaia(
    empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Gaia:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAIA_DATABASE_URL", empty_dsn)
    monkeypatch.setenv("GAIA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("GAIA_BURN_FRACTION", "0.5")

    async def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()  # what a setter of the test has logged
        code = await asyncio.to_thread(main, list(words))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
async def setting(database: Database) -> Setting:
    setting = Setting(database)
    await setting.record_run(NOW - timedelta(days=1), SCORES)
    return setting


@pytest.fixture
def noted(setting: Setting, tmp_path: Path) -> Setting:
    """A setter whose engine has left its note."""
    make_private(run_directory(tmp_path / "data"))
    notes = EngineNotes(tmp_path / "data", RealClock())
    notes.write(setting.metagraph.metagraph)
    return setting


async def test_preview_is_what_the_setter_then_signs(gaia: Gaia, noted: Setting) -> None:
    code, said, _ = await gaia("weights", "preview", "--json")
    found = json.loads(said)

    assert code == 0
    assert await noted.journal() == []
    await noted.setter.set_if_due(NOW)
    (entry,) = await noted.journal()
    assert (found["epoch"], found["vector_sha256"]) == (entry["epoch"], entry["vector_sha256"])
    shown = {(row["uid"], row["value"]) for row in found["weights"]}
    assert shown == set(noted.signer.signed[0])
    assert sum(row["share"] for row in found["weights"]) == pytest.approx(1.0)
    assert [row["hotkey"] for row in found["weights"] if row["is_burn"]] == [VALIDATOR]
    worths = {row["hotkey"]: row["worth"] for row in found["weights"]}
    assert worths == pytest.approx({VALIDATOR: None, "5Best": 0.6, "5Second": 0.5, "5Third": 0.2})
    assert found["unpaid"] == []


@pytest.mark.parametrize("width", [None, "80", "40"])
async def test_preview_for_people_cuts_no_hotkey(
    gaia: Gaia, noted: Setting, monkeypatch: pytest.MonkeyPatch, width: str | None
) -> None:
    if width is not None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("COLUMNS", width)
    code, said, _ = await gaia("weights", "preview")

    assert code == 0
    assert all(word in said for word in (VALIDATOR, "5Best", "65535", "burnt" if width != "80" else "share"))
    assert "…" not in said


async def test_preview_says_why_a_registered_miner_gets_nothing(gaia: Gaia, noted: Setting) -> None:
    async with noted.database.transaction() as connection:
        await connection.execute("UPDATE score_table SET overall = 0 WHERE hotkey = '5Third'")

    said = (await gaia("weights", "preview"))[1]

    assert "1 hotkey gets nothing" in said
    assert "its score is 0" in said


async def test_preview_names_the_vector_that_is_on_chain(gaia: Gaia, noted: Setting) -> None:
    assert "on chain  none of ours" in (await gaia("weights", "preview"))[1]

    await noted.setter.set_if_due(NOW)

    assert "block 1001" in (await gaia("weights", "preview"))[1]


async def test_preview_without_scores_says_why_there_is_none(
    gaia: Gaia, database: Database, tmp_path: Path
) -> None:
    make_private(run_directory(tmp_path / "data"))
    EngineNotes(tmp_path / "data", RealClock()).write(Setting(database).metagraph.metagraph)

    code, _, complaint = await gaia("weights", "preview")

    assert (code, complaint) == (1, "no weights would be set now: no score in the window.\n")


async def test_preview_before_an_engine_read_the_chain_says_so(gaia: Gaia, setting: Setting) -> None:
    code, _, complaint = await gaia("weights", "preview")

    assert code == 1
    assert "no engine has read the chain yet" in complaint


async def test_preview_under_rules_that_look_for_copies_signs_nothing_either(
    gaia: Gaia, noted: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAIA_RULE_SET", "gaia-next")
    await noted.record_run(
        NOW, SCORES, rule_set="gaia-next", leads={hotkey: {"24": score} for hotkey, score in SCORES.items()}
    )

    code, said, complaint = await gaia("weights", "preview", "--json")

    assert code == 0, complaint
    assert json.loads(said)["rule_set"] == "gaia-next"
    assert await noted.journal() == []


async def test_history_tells_what_became_of_each_vector(gaia: Gaia, setting: Setting) -> None:
    assert (await gaia("weights", "history"))[2] == "no weights were computed yet.\n"
    await setting.setter.set_if_due(NOW)
    setting.at_block(2000, last_update=1001)
    setting.signer.failures = [TransientError("the chain refused")]
    with pytest.raises(TransientError):
        await setting.setter.set_if_due(NOW)

    code, said, _ = await gaia("weights", "history", "--json")

    assert code == 0
    assert [(row["state"], row["block"], row["runs"]) for row in json.loads(said)] == [
        ("failed", None, 1),
        ("set", 1001, 1),
    ]
    text = (await gaia("weights", "history"))[1]
    assert "the chain refused" in text
    assert "1001-1" in text
    assert len(json.loads((await gaia("weights", "history", "--last", "1", "--json"))[1])) == 1
