"""From forecasts to who shares work: sketches beside scores, products of a lead, overlaps of a window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaia.tasks.defined_tasks.weather.validator.copies.sketches import POINTS, error_sketch
from gaia.validator.utils.errors import MinerFault, TransientError
from tests.support.forecast_stores import a_field, a_store, packed, put, reference_files
from tests.support.weather_handlers import (
    compute_gram_matrix,
    pairwise_overlaps,
    score_batch,
    score_era5_final,
)

FIELDS = {"2t": 280.0, "z500": 55_000.0}
MINERS = ("alpha", "beta", "copy")


@pytest.fixture
def world(tmp_path: Path) -> dict[str, Any]:
    """Payload of a batch of three forecasts, of which the last is the first with a little noise over it."""
    noise = np.random.default_rng(0)
    truth = {name: a_field(1, mean) for name, mean in FIELDS.items()}

    def forecast(seed: int, size: float) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        return {
            name: (field + size * rng.standard_normal(field.shape)).astype(np.float32)
            for name, field in truth.items()
        }

    roles = {
        role: reference_files(tmp_path / role, fields)
        for role, fields in {
            "truth": truth,
            "climatology": forecast(2, 3.0),
            "baseline": forecast(3, 2.0),
            "persistence": forecast(4, 4.0),
        }.items()
    }
    made = {"alpha": forecast(5, 1.0), "beta": forecast(6, 1.0)}
    made["copy"] = {
        name: (field + 0.1 * noise.standard_normal(field.shape)).astype(np.float32)
        for name, field in made["alpha"].items()
    }
    stores = {hotkey: a_store(tmp_path / hotkey, fields) for hotkey, fields in made.items()}
    shared = {key: value for key, value in stores["alpha"].items() if key not in ("store_dir", "digests")}
    folder = tmp_path / "sketches"
    return (
        shared
        | roles
        | {
            "kind": "final",
            "measures": "plain",
            "forecasts": {
                hotkey: {
                    "store_dir": store["store_dir"],
                    "digests": store["digests"],
                    "sketch": str(folder / f"{hotkey}.f32"),
                }
                for hotkey, store in stores.items()
            },
        }
    )


def alone(world: dict[str, Any], hotkey: str) -> dict[str, Any]:
    shared = {key: value for key, value in world.items() if key not in ("kind", "forecasts")}
    own: dict[str, Any] = world["forecasts"][hotkey]
    return shared | own


def folder_of(world: dict[str, Any]) -> Path:
    return Path(world["forecasts"]["alpha"]["sketch"]).parent


def read(path: Path) -> Any:
    return np.fromfile(path, "<f4").reshape(len(FIELDS), -1, POINTS)


def products(world: dict[str, Any], tmp_path: Path, hotkeys: tuple[str, ...] = MINERS) -> dict[str, Any]:
    return compute_gram_matrix(
        {
            "folder": str(folder_of(world)),
            "hotkeys": list(hotkeys),
            "fields": len(FIELDS),
            "out_dir": str(tmp_path / "products"),
        }
    )


def triangle(value: dict[str, Any], tmp_path: Path) -> Any:
    """Products of whole errors, of which the lower triangle is 0."""
    size = len(value["hotkeys"])
    whole = np.zeros((size, size))
    content = np.fromfile(tmp_path / "products" / f"{value['sha256']}.f64", "<f8")
    whole[np.triu_indices(size)] = content[: len(content) // 2]
    return whole


def kept(value: dict[str, Any], tmp_path: Path, *places: int | None) -> dict[str, Any]:
    return {
        "path": str(tmp_path / "products" / f"{value['sha256']}.f64"),
        "sha256": value["sha256"],
        "size": len(value["hotkeys"]),
        "places": list(places),
    }


def test_a_wrecked_field_counts_for_a_few_units_and_changes_nothing_for_others(
    world: dict[str, Any], tmp_path: Path
) -> None:
    score_batch(world)
    before = triangle(products(world, tmp_path), tmp_path)
    wrecked = read(folder_of(world) / "beta.f32")
    wrecked[0] *= 1e6
    wrecked.tofile(folder_of(world) / "beta.f32")

    after = triangle(products(world, tmp_path), tmp_path)

    assert before[1, 1] < after[1, 1] <= 3.125 * len(FIELDS)
    assert np.array_equal(after[::2, ::2], before[::2, ::2])


def test_scoring_leaves_the_errors_of_each_forecast_and_of_what_is_public(world: dict[str, Any]) -> None:
    score_batch(world)

    truth = np.fromfile(world["truth"]["2t"], "<f4").reshape(181, 360)
    gfs = np.fromfile(world["baseline"]["2t"], "<f4").reshape(181, 360)
    assert {path.name for path in folder_of(world).iterdir()} == {
        "public.f32",
        *(f"{name}.f32" for name in MINERS),
    }
    assert np.array_equal(read(folder_of(world) / "public.f32")[0, 0], error_sketch(gfs, truth))
    assert read(folder_of(world) / "public.f32").shape[1] == 3
    assert read(folder_of(world) / "alpha.f32").shape[1] == 1


def test_sketches_change_no_score_and_are_the_same_alone(world: dict[str, Any]) -> None:
    together = score_batch(world)
    files = {path.name: path.read_bytes() for path in folder_of(world).iterdir()}
    for path in folder_of(world).iterdir():
        path.unlink()

    assert score_era5_final(alone(world, "alpha")) == together["alpha"]
    assert score_era5_final(alone(world, "alpha") | {"sketch": ""}) == together["alpha"]
    assert {path.name: path.read_bytes() for path in folder_of(world).iterdir()} == {
        name: files[name] for name in ("alpha.f32", "public.f32")
    }


def test_without_a_wish_for_sketches_nothing_is_written(world: dict[str, Any]) -> None:
    for spooled in world["forecasts"].values():
        spooled["sketch"] = ""

    score_batch(world)

    assert not (Path(world["truth"]["2t"]).parents[1] / "sketches").exists()


@pytest.mark.parametrize("is_alone", [True, False])
def test_a_forecast_that_fails_half_way_leaves_nothing(world: dict[str, Any], is_alone: bool) -> None:
    spoilt = world["forecasts"]["beta"]
    nothing = packed(np.full((181, 360), np.nan, np.float32))
    put(Path(spoilt["store_dir"]), spoilt["digests"], "z/1.7.0.0", nothing)

    if is_alone:
        with pytest.raises(MinerFault):
            score_era5_final(alone(world, "beta"))
        assert list(folder_of(world).iterdir()) == []
    else:
        assert "failure" in score_batch(world)["beta"]
        assert {path.name for path in folder_of(world).iterdir()} == {
            "alpha.f32",
            "copy.f32",
            "public.f32",
        }


def test_a_disk_that_fails_is_nobodys_fault(world: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "sketches").write_text("in the way")

    with pytest.raises(TransientError, match="cannot be written"):
        score_batch(world)


def test_a_copy_overlaps_its_original_and_others_do_not(world: dict[str, Any], tmp_path: Path) -> None:
    score_batch(world)

    found = pairwise_overlaps(
        {"hotkeys": list(MINERS), "products": [kept(products(world, tmp_path), tmp_path, 0, 1, 2)]}
    )

    assert found["missing"] == []
    ((one, other, part),) = found["pairs"]
    assert (one, other) == ("alpha", "copy")
    assert part > 0.9


def test_products_made_twice_are_one_file(world: dict[str, Any], tmp_path: Path) -> None:
    score_batch(world)

    assert products(world, tmp_path) == products(world, tmp_path)
    assert len(list((tmp_path / "products").iterdir())) == 1


def test_whose_sketch_is_gone_or_cut_short_is_absent(world: dict[str, Any], tmp_path: Path) -> None:
    score_batch(world)
    (folder_of(world) / "beta.f32").unlink()
    with (folder_of(world) / "copy.f32").open("r+b") as file:
        file.truncate(100)

    value = products(world, tmp_path)

    assert (value["hotkeys"], value["absent"]) == (["alpha"], ["beta", "copy"])


def test_without_public_errors_there_are_no_products(world: dict[str, Any], tmp_path: Path) -> None:
    score_batch(world)
    (folder_of(world) / "public.f32").unlink()

    assert products(world, tmp_path)["hotkeys"] == []


def test_who_does_not_count_in_a_run_shares_nothing_there(world: dict[str, Any], tmp_path: Path) -> None:
    score_batch(world)
    value = products(world, tmp_path)

    found = pairwise_overlaps(
        {
            "hotkeys": ["copy", "alpha"],
            "products": [kept(value, tmp_path, 2, None), kept(value, tmp_path, None, 0)],
        }
    )

    assert found["pairs"] == []


def a_lead(tmp_path: Path, number: int, errors: dict[str, Any], public: Any) -> dict[str, Any]:
    """Keep the products of errors (field, point) that are given directly."""
    folder = tmp_path / f"lead-{number}"
    folder.mkdir()
    public.astype("<f4").tofile(folder / "public.f32")
    for name, values in errors.items():
        values.astype("<f4").tofile(folder / f"{name}.f32")
    return compute_gram_matrix(
        {"folder": str(folder), "hotkeys": list(errors), "fields": 2, "out_dir": str(tmp_path / "products")}
    )


def test_a_newcomer_shares_as_much_as_it_has_forecast(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    errors = {f"honest-{number}": rng.standard_normal((2, POINTS)) for number in range(12)}
    everybody = [*errors, "new"]
    value = a_lead(tmp_path, 1, errors | {"new": errors["honest-0"]}, rng.standard_normal((2, 3, POINTS)))
    before, after = kept(value, tmp_path, *range(12), None), kept(value, tmp_path, *range(13))

    found = pairwise_overlaps({"hotkeys": everybody, "products": [before] * 3 + [after]})

    ((one, other, part),) = found["pairs"]
    assert (one, other) == ("honest-0", "new")
    assert 0.35 < part < 0.5


def test_many_noisy_copies_do_not_pass_for_the_mean_by_being_new(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    honest, sybils = [f"honest-{n}" for n in range(12)], [f"sybil-{n}" for n in range(40)]
    products = []
    for lead in range(4):
        common, model = (np.sqrt(part) * rng.standard_normal((2, POINTS)) for part in (0.8, 0.2))
        errors = {name: common + np.sqrt(0.2) * rng.standard_normal((2, POINTS)) for name in honest}
        if lead == 3:
            errors |= {name: common + model + 0.45 * rng.standard_normal((2, POINTS)) for name in sybils}
        value = a_lead(tmp_path, lead, errors, 2 * rng.standard_normal((2, 3, POINTS)))
        products.append(kept(value, tmp_path, *range(12), *(range(12, 52) if lead == 3 else [None] * 40)))

    pairs = pairwise_overlaps({"hotkeys": honest + sybils, "products": products})["pairs"]

    assert len(pairs) == 40 * 39 / 2
    assert all(one in sybils and other in sybils and part > 0.2 for one, other, part in pairs)


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_products_that_are_not_what_was_kept_are_left_out_and_named(
    world: dict[str, Any], tmp_path: Path, damage: str
) -> None:
    score_batch(world)
    entry = kept(products(world, tmp_path), tmp_path, 0, 1, 2)
    path = Path(entry["path"])
    content = path.read_bytes()
    path.unlink() if damage == "gone" else path.write_bytes(bytes([content[0] ^ 1]) + content[1:])

    assert pairwise_overlaps({"hotkeys": list(MINERS), "products": [entry]}) == {
        "pairs": [],
        "missing": [entry["sha256"]],
    }


def test_nobody_who_earns_shares_with_nobody() -> None:
    assert pairwise_overlaps({"hotkeys": [], "products": []}) == {"pairs": [], "missing": []}
