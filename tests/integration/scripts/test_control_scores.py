"""The control script, which shares no code with us, finds the same scores and the same vector."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numcodecs import Blosc

from gaia.localnet.archives.grib import era5_file, gfs_file
from gaia.miner.inference import ForecastField
from gaia.miner.store import StoreWriter
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, Component
from gaia.tasks.defined_tasks.weather.validator.handlers import resolve
from gaia.tasks.defined_tasks.weather.variables import GRIDS, VARIABLES, split_field
from gaia.tasks.defined_tasks.weather.wire.messages import store_name_of
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_path, metadata_path
from gaia.validator.core.weights.vector import Terms, quantise, registered, weights_of
from gaia.validator.utils.chain.metagraph import Metagraph, Neuron
from tests.support.forecast_stores import Values, a_field
from tests.support.patience import patience
from tests.support.repository import SCRIPTS

SCRIPT = SCRIPTS / "control_scores.py"
INPUTS = SCRIPTS / "control" / "inputs.py"
GRID, STEP_HOURS, STEPS = "1.0", 6, 8
INIT_TIME = datetime(2026, 4, 1, tzinfo=UTC)
RUN_ID = "2026-04-01T00Z"
FIELDS = ["2t", "msl", "z500", "z850", "z1000"]
DAY1_LEAD, FINAL_LEADS = 12, [24, 48]
SCALES = {"2t": (280.0, 8.0), "msl": (101_000.0, 900.0), "z": (30_000.0, 1500.0)}
OWNER, GOOD, FAIR, CLONE, REJECTED = ("owner", "good-miner", "fair-miner", "clone-mine", "liar-miner")
SETTINGS: dict[str, Any] = {
    "burn_fraction": 0.75,
    "burn_enabled": True,
    "burn_hotkey": "",
    "contrast_gamma": 1.3,
}


def a_state(field: str, seed: int, share: float = 1.0) -> Values:
    mean, spread = SCALES[split_field(field)[0]]
    return a_field(seed, mean, spread * share)


def truth_of(field: str, lead: int) -> Values:
    return a_state(field, lead)


def off(field: str, lead: int, seed: int, share: float) -> Values:
    """The truth with an error of a given share of its spread."""
    return truth_of(field, lead) + (a_state(field, seed + lead, share) - a_state(field, 0, 0.0))


def gfs_of(field: str, lead: int) -> Values:
    return off(field, lead, 1000, 0.3)


MODELS: dict[str, Callable[[str, int], Values]] = {
    GOOD: lambda field, lead: off(field, lead, 2000, 0.1),
    FAIR: lambda field, lead: off(field, lead, 3000, 0.6) + 0.05,
    CLONE: gfs_of,
}


def write_archives(root: Path) -> None:
    valid = INIT_TIME + timedelta(hours=DAY1_LEAD)
    for time, lead, values in ((valid, 0, truth_of), (INIT_TIME, DAY1_LEAD, gfs_of)):
        fields = {field: values(field, DAY1_LEAD) for field in FIELDS}
        path = gfs_path(root, time, lead)
        path.parent.mkdir(parents=True)
        path.write_bytes(gfs_file(fields, time, lead).content)
    (root / "era5").mkdir()
    for lead in FINAL_LEADS:
        time = INIT_TIME + timedelta(hours=lead)
        era5_path(root, lead).write_bytes(era5_file([(f, time, truth_of(f, lead)) for f in FIELDS]))
    write_climatology(root / "climatology" / "1990-2019_6h_360x181.zarr")


def gfs_path(root: Path, time: datetime, lead: int) -> Path:
    return root / f"gfs.{time:%Y%m%d}/{time:%H}/atmos/gfs.t{time:%H}z.pgrb2.1p00.f{lead:03d}"


def era5_path(root: Path, lead: int) -> Path:
    return root / "era5" / f"{INIT_TIME + timedelta(hours=lead):%Y%m%dT%H}-reanalysis.grib"


def write_climatology(path: Path) -> None:
    lats, lons = GRIDS[GRID]
    group = zarr.open_group(path, mode="w", zarr_format=2)
    levels = sorted({level for _, level in map(split_field, FIELDS) if level})
    axes = {
        "hour": np.arange(0, 24, 6),
        "dayofyear": np.arange(1, 367),
        "level": np.array(levels),
        "latitude": np.linspace(90, -90, lats),
        "longitude": np.arange(lons),
    }
    for name, values in axes.items():
        array = group.create_array(name, data=values, chunks=values.shape)
        array.attrs["_ARRAY_DIMENSIONS"] = [name]
    for variable in sorted({split_field(field)[0] for field in FIELDS}):
        has_levels = VARIABLES[variable].has_levels
        dims = [name for name in axes if has_levels or name != "level"]
        array = group.create_array(
            VARIABLES[variable].climatology_name,
            shape=[len(axes[name]) for name in dims],
            chunks=tuple(1 if name in ("hour", "dayofyear") else len(axes[name]) for name in dims),
            dtype="<f4",
            fill_value=float("nan"),
            compressors=Blosc("lz4", 5, 1),
        )
        array.attrs["_ARRAY_DIMENSIONS"] = dims
        for lead in (DAY1_LEAD, *FINAL_LEADS):
            moment = INIT_TIME + timedelta(hours=lead)
            place = moment.hour // 6, moment.timetuple().tm_yday - 1
            names = [f"{variable}{level}" for level in levels] if has_levels else [variable]
            planes = [a_state(name, 7, 0.4) for name in names]
            array[place] = np.stack(planes) if has_levels else planes[0]
    zarr.consolidate_metadata(path)


def write_forecast(root: Path, hotkey: str) -> tuple[Path, dict[str, str]]:
    store = root / hotkey / store_name_of(INIT_TIME, hotkey)
    writer = StoreWriter(store, INIT_TIME, GRID, range(STEP_HOURS, STEPS * STEP_HOURS + 1, STEP_HOURS))
    for lead in (DAY1_LEAD, *FINAL_LEADS):
        for field in FIELDS:
            writer.write(ForecastField(lead, field, MODELS[hotkey](field, lead)))
    return store, json.loads(writer.seal(hotkey, lambda _: bytes(64)))["files"]


def references(root: Path, out: Path, kind: str, lead: int) -> dict[str, dict[str, str]]:
    valid = INIT_TIME + timedelta(hours=lead)
    common = {"grid": GRID, "fields": FIELDS}
    store = str(next((root / "climatology").iterdir()))
    climatology = {"kind": "climatology", "store_dir": store, "valid_time": valid.isoformat()}
    requests: dict[str, tuple[str, dict[str, Any]]] = {
        "climatology": ("weather.hash.verification_compute", climatology)
    }
    if kind == "day1":
        for role, time, hours in (("truth", valid, 0), ("baseline", INIT_TIME, lead)):
            source = {"source_path": str(gfs_path(root, time, hours)), "init_time": time.isoformat()}
            requests[role] = ("weather.hash.gfs_compute", {**source, "lead_hours": hours})
    else:
        request = {"kind": "era5", "source_path": str(era5_path(root, lead)), "valid_time": valid.isoformat()}
        requests["truth"] = ("weather.hash.verification_compute", request)
    prepared = {}
    for role, (handler, request) in requests.items():
        value = resolve(handler)({**common, **request, "out_dir": str(out / f"{kind}-{lead}-{role}")})
        prepared[role] = {name: entry["path"] for name, entry in value["fields"].items()}
    return prepared


def scored(state: Path, hotkey: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Score one miner as the validator does; return its components and its row of the score table."""
    store, files = write_forecast(state / "miners", hotkey)
    rules, rows, leads, day1 = RULE_SETS["gaia-2.9"], [], {}, 0.0
    for kind, lead in (("day1", DAY1_LEAD), *(("final", lead) for lead in FINAL_LEADS)):
        paths = {path for f in FIELDS for path in (metadata_path(f), chunk_path(f, lead, STEP_HOURS))}
        payload = {
            "store_dir": str(store),
            "digests": {path: files[path] for path in paths},
            "grid": GRID,
            "steps": STEPS,
            "step_hours": STEP_HOURS,
            "lead_hours": lead,
            "fields": FIELDS,
            **references(state / "archives", state / "fields", kind, lead),
        }
        value = resolve("weather.score.day1" if kind == "day1" else "weather.score.era5_final")(payload)
        components = [Component(**row) for row in value["components"]]
        rows += [{"run_id": RUN_ID, "hotkey": hotkey, "kind": kind, **row} for row in value["components"]]
        if kind == "day1":
            day1 = rules.day1_score(components)
        else:
            leads[lead] = rules.lead_score(components, FIELDS)
    overall = rules.overall_score(day1, leads, FINAL_LEADS)
    score = {"run_id": RUN_ID, "hotkey": hotkey, "state": "scored"}
    return rows, score | {"day1": day1, "leads": leads, "overall": overall}


def a_neuron(uid: int, hotkey: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"uid": uid, "hotkey": hotkey, "coldkey": "", "ip": "127.0.0.1", "port": 1}
    return fields | {"stake": 0.0, "validator_permit": False, "last_update": 0, "registered_at": 0}


def summary_of(state: Path) -> dict[str, Any]:
    components, scores = [], []
    for hotkey in MODELS:
        rows, score = scored(state, hotkey)
        components += rows
        scores.append(score)
    rejected: dict[str, Any] = {
        "run_id": RUN_ID,
        "hotkey": REJECTED,
        "state": "rejected",
        "day1": None,
        "leads": {},
    }
    scores.append(rejected | {"overall": 0.0})
    neurons = [a_neuron(uid, hotkey) for uid, hotkey in enumerate([OWNER, *MODELS, REJECTED])]
    chain = {"netuid": 57, "block": 1000, "own_hotkey": "v", "own_uid": None, "owner_hotkey": OWNER}
    more: dict[str, Any] = {"tempo": 360, "weights_rate_limit": 100, "min_allowed_weights": 1}
    metagraph = Metagraph(
        **{
            **chain,
            **more,
            "weights_version": 0,
            "commit_reveal": False,
            "epoch": 2,
            "next_epoch_block": None,
        },
        neurons=[Neuron(**neuron) for neuron in neurons],
    )
    terms = Terms(rule="gaia-2.9", **SETTINGS)
    vector = weights_of([{row["hotkey"]: row["overall"] for row in scores}], registered(metagraph), terms)
    assert vector is not None
    return {
        "grid": GRID,
        "rule_set": "gaia-2.9",
        "runs": [{"run_id": RUN_ID, "init_time": INIT_TIME.isoformat()}],
        "day1_fields": FIELDS,
        "day1_leads": [DAY1_LEAD],
        "final_fields": FIELDS,
        "final_leads": FINAL_LEADS,
        "components": components,
        "scores": scores,
        "settings": {**SETTINGS, "forecast_step_hours": STEP_HOURS},
        "metagraph": {**chain, "neurons": neurons},
        "weights": {neurons[uid]["hotkey"]: weight for uid, weight in vector.items()},
        "weighed_run_ids": [RUN_ID],
        "vector": [list(pair) for pair in zip(*quantise(vector), strict=True)],
    }


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished rehearsal of three miners and one that was rejected."""
    state = tmp_path_factory.mktemp("rehearsal")
    write_archives(state / "archives")
    (state / "summary.json").write_text(json.dumps(summary_of(state)))
    return state


def control(state: Path) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, SCRIPT, state], capture_output=True, text=True, timeout=patience(120)
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_control_script_agrees_with_the_validator(state: Path) -> None:
    code, report = control(state)

    assert report["exceeded"] == []
    assert (code, report["agrees"], report["vector_equal"]) == (0, True, True)
    assert report["components"] == len(MODELS) * len(FIELDS) * 3
    assert report["differences"]["weight"] < 1e-9


def test_better_forecasts_rank_higher_and_the_clone_fails_day_1(state: Path) -> None:
    summary = json.loads((state / "summary.json").read_text())
    scores = {row["hotkey"]: row for row in summary["scores"]}

    assert scores[GOOD]["overall"] > scores[CLONE]["overall"] > scores[FAIR]["overall"]
    assert scores[CLONE]["day1"] <= 0.05 < 0.1 <= scores[GOOD]["day1"]


@pytest.mark.parametrize(
    ("path", "value", "exceeded"),
    [
        (("components", 0, "rmse"), 1.00001, "rmse"),
        (("components", -1, "acc"), 0.9999, "acc"),
        (("scores", 0, "overall"), 1.0001, "score_overall"),
        (("weights", OWNER), 1.00001, "weight"),
    ],
)
def test_a_difference_is_found(
    state: Path, tmp_path: Path, path: tuple[Any, ...], value: float, exceeded: str
) -> None:
    summary = json.loads((state / "summary.json").read_text())
    place = summary
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] *= value
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    for name in ("archives", "miners"):
        (tmp_path / name).symlink_to(state / name)

    code, report = control(tmp_path)

    assert code == 1
    assert report["exceeded"] == [exceeded]


def test_other_rules_than_it_knows_are_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"rule_set": "gaia-next"}))

    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, timeout=patience(120)
    )

    assert done.returncode == 1
    assert done.stderr == f"{tmp_path} was played under gaia-next; this program knows gaia-2.9 only\n"


def test_run_that_was_stopped_before_its_end_is_named_in_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, timeout=patience(120)
    )

    missing = tmp_path / "summary.json"
    assert done.returncode == 1
    assert done.stderr == f"{missing} is not there: a local subnet writes it when it has come to its end\n"


def test_the_control_script_imports_nothing_of_ours() -> None:
    lines = [line for path in (SCRIPT, INPUTS) for line in path.read_text().splitlines()]
    imports = [line for line in lines if "import" in line.split("#")[0].split()[:1]]
    sources = [line for line in lines if line.startswith("from ")]

    assert imports
    assert not any("gaia" in line or "tests" in line for line in imports + sources)
