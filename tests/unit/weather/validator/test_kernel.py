"""The passes over fields give the same bits whatever the way there, and are kept on disk if they can be."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
from numba import types
from numba.core import event

from gaia.tasks.defined_tasks.weather.validator import compiled as compiling
from gaia.tasks.defined_tasks.weather.validator import kernel
from gaia.tasks.defined_tasks.weather.validator.areas import area_weights, cosine_weights, row_weights
from gaia.tasks.defined_tasks.weather.validator.compiled import compiled

Shape = tuple[int, int]
Kind = type[np.float32 | np.float64]
Compilable = Callable[[Any], None]
"""A function as numba compiles it, of one array that it changes."""
Places = Callable[..., None]

SHAPES = [(1, 1), (3, 16), (10, 10), (7, 31), (45, 90), (181, 360)]


def some_fields(shape: Shape, kind: Kind = np.float32, count: int = 5) -> list[npt.NDArray[np.floating]]:
    """Numbers of all sizes, so that sums are not exact; no library's generator, whose releases may differ."""
    rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    return [
        (((rows * 7919 + columns * 104729 + k * 15485863) % 8191 + 1.0) ** 2 / 65536.7).astype(kind)
        for k in range(count)
    ]


def all_sums(shape: Shape, kind: Kind = np.float32) -> list[npt.NDArray[np.float64]]:
    f, o, c, g, p = some_fields(shape, kind)
    return [*kernel.sum_both(f, o, c, g), kernel.sum_persistence(o, c, g, p)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_one_pass_gives_the_bits_of_two(shape: Shape, kind: Kind) -> None:
    f, o, c, g, _ = some_fields(shape, kind)

    of_forecast, of_truth = kernel.sum_both(f, o, c, g)

    assert of_forecast.tobytes() == kernel.sum_forecast(f, o, c, g).tobytes()
    assert of_truth.tobytes() == kernel.sum_truth(o, c, g).tobytes()


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_are_those_of_numpy(shape: Shape) -> None:
    f, o, c, g, p = (field.astype(np.float64) for field in some_fields(shape))
    s = o[shape[0] // 2, shape[1] // 2]

    of_forecast, of_truth, of_persistence = all_sums(shape)

    def expect(*terms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.stack([term.sum(axis=1) for term in terms], axis=1)

    e, b, d, q = f - o, c - o, g - o, p - o
    ends = np.stack([f.min(axis=1), f.max(axis=1)], axis=1)
    sums = expect(e, abs(e), e * e, (f - c) ** 2, (f - g) ** 2, (f - s) ** 2)
    assert of_forecast == pytest.approx(np.concatenate([sums, ends], axis=1), rel=1e-13, abs=1e-9)
    assert of_truth == pytest.approx(
        expect(o - s, b, d, b * b, d * d, b * d, (g - s) ** 2), rel=1e-13, abs=1e-9
    )
    assert of_persistence == pytest.approx(expect(q * q, q * b, q * d), rel=1e-13, abs=1e-9)


def test_lanes_are_summed_in_the_order_that_is_promised() -> None:
    f, o, *_ = some_fields((30, 43), np.float64)

    sums = kernel.sum_forecast(f, o, o, o)[:, 0].tolist()

    assert sums == [in_lanes(errors) for errors in (f - o).tolist()]
    assert sums != [sum(errors) for errors in (f - o).tolist()]


def in_lanes(values: list[float]) -> float:
    lanes = [0.0] * kernel.LANES
    for column, value in enumerate(values):
        lanes[column % kernel.LANES] += value
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [lanes[lane] + lanes[lane + half] for lane in range(half)]
    return lanes[0]


def test_bits_are_those_of_every_machine() -> None:
    digest = hashlib.sha256()
    for table in all_sums((91, 180)):
        digest.update(table.tobytes())
    for weighting in ("cos", "area"):
        weights = row_weights(721, weighting)
        digest.update(weights.tobytes())
        digest.update(np.array(kernel.weigh(all_sums((721, 3))[0], weights)[:6]).tobytes())

    assert digest.hexdigest() == "ca694b2a270925eded48939fe3a5ad63fd7649a7ff9d56bd119c74b29dba50c8"


def test_threads_do_not_disturb_each_other() -> None:
    alone = [table.tobytes() for table in all_sums((181, 360))]

    with ThreadPoolExecutor(4) as executor:
        together = list(executor.map(lambda _: [t.tobytes() for t in all_sums((181, 360))], range(16)))

    assert together == [alone] * 16


def test_weights_of_rows_are_cosines_and_areas() -> None:
    latitudes = np.linspace(90, -90, 181)

    cosines, areas = row_weights(181, "cos"), row_weights(181, "area")

    assert cosines.sum() == pytest.approx(1.0)
    assert cosines == pytest.approx(cosine_weights(latitudes) / cosine_weights(latitudes).sum(), abs=1e-15)
    assert areas == pytest.approx(area_weights(latitudes) / 2, abs=1e-15)
    assert (cosines[0], cosines[-1]) == (0.0, 0.0)
    assert areas[0] / areas[1] == pytest.approx(1 / 8, rel=1e-3)
    assert np.array_equal(areas, areas[::-1])


@pytest.mark.parametrize("weighting", ["cos", "area"])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_grid_of_poles_alone_is_weighted_evenly(rows: int, weighting: str) -> None:
    assert row_weights(rows, weighting).tolist() == [1.0 / rows] * rows


def test_latitudes_in_no_order_have_no_area() -> None:
    with pytest.raises(ValueError, match="neither rise nor fall"):
        area_weights([10.0, 30.0, 20.0])


# Where machine code is kept


def function_in(path: Path) -> Compilable:
    """A function of its own file, as one of ours would be."""
    path.parent.mkdir()
    path.write_text("def double(out):\n    out[0] = 21.0 + out[0]\n")
    space: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), space)
    double: Compilable = space["double"]
    double.__module__ = "double"
    return double


@pytest.fixture
def source(tmp_path: Path) -> tuple[Compilable, Path]:
    path = tmp_path / "package" / "double.py"
    return function_in(path), path


@pytest.fixture(scope="module")
def once_compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Compilable, Path]:
    """A function, and the folder where its machine code was kept."""
    folder = tmp_path_factory.mktemp("once")
    function = function_in(folder / "package" / "double.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "_parents", lambda source: iter([folder / "cache"]))
        compiling._place.cache_clear()
        doubles(function)
        compiling._place.cache_clear()
    return function, folder / "cache"


@pytest.fixture
def kept(once_compiled: tuple[Compilable, Path], places: Places, tmp_path: Path) -> tuple[Compilable, Path]:
    """A function, and a copy of what was kept of it, to be damaged."""
    function, pristine = once_compiled
    shutil.copytree(pristine, tmp_path / "cache")
    places(tmp_path / "cache")
    (entry,) = tmp_path.glob("cache/*/*")
    return function, entry


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Places]:
    """Folders that may be written, most wanted first; the places that were found are forgotten."""
    compiling._place.cache_clear()
    yield lambda *folders: monkeypatch.setattr(compiling, "_parents", lambda source: iter(folders))
    compiling._place.cache_clear()


def doubles(function: Compilable) -> bool:
    out = np.array([21.0])
    compiled(function, types.void(types.float64[::1]))(out)
    return bool(out[0] == 42.0)


def test_machine_code_is_kept_in_the_first_place_that_can_be_written(
    source: tuple[Compilable, Path], places: Places, tmp_path: Path
) -> None:
    function, _ = source
    (tmp_path / "file").touch()
    places(tmp_path / "file" / "no folder", tmp_path / "cache")

    assert doubles(function)

    assert list((tmp_path / "cache").rglob("*.nbi"))


def test_nowhere_to_keep_it_is_no_reason_to_fail(
    source: tuple[Compilable, Path], places: Places, tmp_path: Path
) -> None:
    function, _ = source
    (tmp_path / "file").touch()
    places(tmp_path / "file" / "no folder")

    assert doubles(function)


def overwritten(entry: Path) -> None:
    """One bit of the machine code is another; all else is as it was."""
    (path,) = entry.rglob("*.nbc")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncated(entry: Path) -> None:
    (path,) = entry.rglob("*.nbc")
    os.truncate(path, path.stat().st_size // 2)


def index_emptied(entry: Path) -> None:
    (path,) = entry.rglob("*.nbi")
    os.truncate(path, 0)


def machine_code_lost(entry: Path) -> None:
    (path,) = entry.rglob("*.nbc")
    path.unlink()


def seal_lost(entry: Path) -> None:
    (entry / "SEAL").unlink()


def made_by_another_version(entry: Path) -> None:
    """Whole and sealed, but of another numba."""
    (path,) = entry.rglob("*.nbi")
    with path.open("rb") as file:
        pickle.load(file)
        rest = file.read()
    path.write_bytes(pickle.dumps("0.1.2") + rest)
    (entry / "SEAL").write_text(compiling._seal_of(entry))


def no_pickle(entry: Path) -> None:
    """Whole and sealed, but nothing that numba could read."""
    (path,) = entry.rglob("*.nbi")
    path.write_bytes(b"damaged")
    (entry / "SEAL").write_text(compiling._seal_of(entry))


@pytest.mark.parametrize(
    "damage",
    [
        overwritten,
        truncated,
        index_emptied,
        machine_code_lost,
        seal_lost,
        made_by_another_version,
        no_pickle,
    ],
)
def test_damaged_machine_code_is_reported_once_and_replaced(
    kept: tuple[Compilable, Path], caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    function, entry = kept
    damage(entry)

    first, second = doubles(function), compilations_of(function)

    assert (first, second) == (True, 0)
    assert [record.getMessage() for record in caplog.records] == ["compiled_code_unusable"]
    assert vars(caplog.records[0])["values"]["path"] == str(entry)
    assert list(entry.parent.iterdir()) == [entry]


def test_damaged_machine_code_is_never_run(kept: tuple[Compilable, Path]) -> None:
    function, entry = kept
    (code,) = entry.rglob("*.nbc")
    right, wrong = (np.float64(value).tobytes() for value in (21.0, 22.0))
    content = code.read_bytes()
    assert right in content
    code.write_bytes(content.replace(right, wrong))

    assert doubles(function)


def test_machine_code_that_cannot_be_replaced_is_reported_and_made_anew(
    kept: tuple[Compilable, Path], caplog: pytest.LogCaptureFixture
) -> None:
    function, entry = kept
    compiling._place(Path(function.__code__.co_filename))
    shutil.rmtree(entry.parent)
    entry.parent.touch()

    assert doubles(function)

    assert [record.getMessage() for record in caplog.records] == ["compiled_code_not_kept"]
    assert "NotADirectoryError" in vars(caplog.records[0])["values"]["reason"]


def test_what_a_killed_process_left_half_made_is_removed(kept: tuple[Compilable, Path]) -> None:
    function, entry = kept
    seal_lost(entry)
    old, new = entry.with_name("making-old"), entry.with_name("making-new")
    for draft in (old, new):
        draft.mkdir()
    os.utime(old, (0, 0))

    doubles(function)

    assert not old.exists()
    assert new.exists()


def compilations_of(function: Compilable) -> int:
    listener = event.RecordingListener()  # type: ignore[no-untyped-call] # numba has no annotations
    with event.install_listener("numba:compile", listener) as heard:
        assert doubles(function)
    return len(heard.buffer)


def test_other_source_of_the_same_size_and_time_has_other_machine_code(
    source: tuple[Compilable, Path], places: Places, tmp_path: Path
) -> None:
    function, path = source
    places(tmp_path / "cache")
    doubles(function)
    path.write_text(path.read_text().replace("21.0", "22.0"))
    compiling._place.cache_clear()

    doubles(function)

    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_mistake_in_the_function_is_not_taken_for_a_broken_cache(places: Places, tmp_path: Path) -> None:
    places(tmp_path / "cache")

    with pytest.raises(numba.core.errors.NumbaError):
        compiled(lambda out: out.nonsense(), types.void(types.float64[::1]))


def test_the_places_are_the_users_wish_the_package_and_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    parents = list(compiling._parents(Path("/package/kernel.py")))

    assert parents[:2] == [tmp_path, Path("/package/__pycache__")]
    assert len(parents) == 3
