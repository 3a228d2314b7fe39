"""Units of a stored run read the data folder that replay is given, wherever the run was scored."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gaia.cli.replay.units import InputMissing, StoredUnit, units_of
from gaia.tasks.defined_tasks.weather.units import LeadUnit, ScoreFinal
from gaia.validator.db.history import StoredRun
from gaia.validator.db.rows import InputsRow
from gaia.validator.utils.identities import RunId
from tests.support.fakes import FakeMiner
from tests.support.stored_rows import a_component_row, a_forecast_row
from tests.unit.cli.replay.test_runs import a_stored_run

TRUTH = "fields/era5/2026-03-26T00Z/final/2t.f32"


def units_here(data_dir: Path, truth: str, **changed: None) -> list[StoredUnit]:
    """The units of a run whose row names its truth by the path `truth`; `changed` columns are of its forecast."""
    miner = FakeMiner("//Miner/0")
    lead = LeadUnit(
        grid="1.0",
        steps=40,
        step_hours=6,
        lead_hours=24,
        fields=["2t"],
        truth={"2t": truth},
        climatology={"2t": truth.replace("era5", "climatology")},
    )
    given = InputsRow(
        run_id=RunId("r"),
        rule_set="gaia-2.9",
        kind="final",
        lead_hours=24,
        handler=ScoreFinal.handler,
        payload=msgspec.to_builtins(lead),
        digests={"truth": {"2t": "a" * 64}, "climatology": {"2t": "b" * 64}},
    )
    manifest: dict[str, Any] = {
        "manifest": miner.manifest,
        "signature": miner.key.sign(miner.manifest),
        "manifest_sha256": hashlib.sha256(miner.manifest).hexdigest(),
    }
    run: StoredRun = replace(
        a_stored_run(),
        forecasts=[a_forecast_row(hotkey=miner.hotkey, **(manifest | changed))],
        components=[a_component_row({}, hotkey=miner.hotkey)],
        inputs=[given],
    )
    return units_of(run, data_dir)


@pytest.mark.parametrize("root", ["", "/gone/validator/", "/here/"], ids=["relative", "elsewhere", "here"])
def test_fields_are_read_from_the_present_data_folder(root: str) -> None:
    (stored,) = units_here(Path("/here"), f"{root}{TRUTH}")

    assert stored.unit.truth == {"2t": f"/here/{TRUTH}"}
    assert stored.digests[f"/here/{TRUTH}"] == "a" * 64
    assert stored.unit.store_dir.startswith("/here/spool/r/")


def test_manifest_that_was_removed_is_named_with_the_setting_that_removed_it() -> None:
    with pytest.raises(
        InputMissing, match=r"^manifest of 5\w+ was removed, as GAIA_KEEP_MANIFESTS_DAYS says$"
    ):
        units_here(Path("/here"), TRUTH, manifest=None, signature=None)
