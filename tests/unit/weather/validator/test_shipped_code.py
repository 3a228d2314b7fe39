"""The kernel's library, made when an image is built, gives the bits of numba without numba."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from generate import kernel_library

from gaia.tasks.defined_tasks.weather.validator import compiled as compiling
from gaia.tasks.defined_tasks.weather.validator import shipped_code
from gaia.tasks.defined_tasks.weather.validator.kernel_code import programs
from tests.support.programs import program

ROOT = Path(__file__).resolve().parents[4]
NAMES = [
    "weigh",
    *(f"{name}_{kind}" for kind in "fd" for name in ("truth", "persistence", "forecast", "both")),
]
COLUMNS = {"truth": (7,), "persistence": (3,), "forecast": (8,), "both": (8, 7)}


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program("ld")
    folder = tmp_path_factory.mktemp("kernel_library")
    kernel_library.main(["--folder", str(folder)])
    return folder


def some_arguments(name: str, shape: tuple[int, int]) -> tuple[list[Any], list[npt.NDArray[np.float64]]]:
    """Return the arrays that a function reads, and those that it writes."""
    rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    fields = [((rows * 7919 + columns * 104729 + k * 15485863) % 8191 + 1.0) ** 2 / 65536.7 for k in range(5)]
    if name == "weigh":
        return [fields[0], fields[1][:, 0].copy()], [np.zeros(shape[1])]
    stem, kind = name.split("_")
    given = [field.astype(kind) for field in fields][: len(shipped_code.ARGUMENTS[stem]) - len(COLUMNS[stem])]
    return given, [np.empty((shape[0], count)) for count in COLUMNS[stem]]


def levels_here() -> list[str]:
    return list(shipped_code.levels_of(shipped_code.features()))


@pytest.mark.parametrize("level", levels_here())
@pytest.mark.parametrize("shape", [(1, 1), (3, 16), (7, 31), (181, 360)])
@pytest.mark.parametrize("name", NAMES)
def test_a_library_gives_the_bits_of_numba(
    libraries: Path, name: str, shape: tuple[int, int], level: str
) -> None:
    given, expected = some_arguments(name, shape)
    _, found = some_arguments(name, shape)
    library = ctypes.CDLL(str(libraries / f"{level}.so"))

    compiling.compiled(*programs()[name])(*given, *expected)
    shipped_code.function_of(library, name)(*given, *found)

    assert [each.tobytes() for each in found] == [each.tobytes() for each in expected]


def test_the_kernel_needs_no_numba_where_a_library_is_shipped(libraries: Path, tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "gaia", tmp_path / "gaia", ignore=shutil.ignore_patterns("__pycache__", "localnet", "cli")
    )
    shutil.copytree(libraries, tmp_path / shipped_code.FOLDER.relative_to(ROOT))
    program = (
        "import sys; sys.modules['numba'] = sys.modules['llvmlite'] = None\n"
        "import numpy as np\n"
        "from gaia.tasks.defined_tasks.weather.validator import kernel, scoring\n"
        "fields = [np.full((4, 20), k, 'f') for k in (3.0, 2.0, 1.0, 5.0)]\n"
        "print(kernel.sum_forecast(*fields).sum(), kernel.weigh(np.ones((2, 3)), np.ones(2)), kernel.__file__)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    # 80 points: 1, |1|, 1, 2^2, 2^2 and 1 each, and the smallest and largest value, 3, of four rows.
    assert done.stdout.split()[0] == str(80.0 * 12 + 4 * 6)
    assert str(tmp_path) in done.stdout


def test_a_library_of_another_source_is_not_used_and_the_log_says_so(
    libraries: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(libraries, tmp_path / "library")
    (folder / shipped_code.DIGEST_FILE).write_text("0" * 64)

    assert shipped_code.shipped_function("weigh", folder) is None
    assert [record.getMessage() for record in caplog.records] == ["compiled_code_unusable"]


def test_a_damaged_library_is_not_used_and_the_log_says_so(
    libraries: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(libraries, tmp_path / "library")
    for library in folder.glob("*.so"):
        library.write_bytes(b"not a library")

    assert shipped_code.shipped_function("weigh", folder) is None
    assert [record.getMessage() for record in caplog.records] == ["compiled_code_unusable"]


def test_without_a_folder_nothing_is_shipped(tmp_path: Path) -> None:
    assert shipped_code.shipped_function("weigh", tmp_path / "missing") is None


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((3, 4), "d"),
        np.zeros((3, 4), ">f4"),
        np.zeros(12, "f"),
        np.zeros((4, 3), "f").T,
        np.zeros((3, 8), "f")[:, ::2],
    ],
    ids=["another type", "another byte order", "another number of dimensions", "columns first", "gaps"],
)
def test_an_array_that_the_machine_code_would_misread_is_refused(
    libraries: Path, wrong: npt.NDArray[Any]
) -> None:
    field, table = np.zeros((3, 4), "f"), np.zeros((3, 7))
    function = shipped_code.shipped_function("truth_f", libraries)
    assert function is not None

    with pytest.raises(TypeError, match="is not what the kernel takes"):
        function(field, field, wrong, table)


def test_a_table_that_must_not_be_written_is_refused(libraries: Path) -> None:
    field, table = np.zeros((3, 4), "f"), np.zeros((3, 7))
    table.flags.writeable = False
    function = shipped_code.shipped_function("truth_f", libraries)
    assert function is not None

    with pytest.raises(TypeError, match="is not what the kernel takes"):
        function(field, field, field, table)


def test_a_processor_gets_the_best_level_that_it_has_in_full() -> None:
    third = shipped_code.LEVELS["x86-64-v3"]

    assert shipped_code.levels_of(frozenset()) == ["baseline"]
    assert shipped_code.levels_of(third | {"avx512f"}) == ["x86-64-v3", "baseline"]
    assert shipped_code.levels_of(third | shipped_code.LEVELS["x86-64-v4"])[0] == "x86-64-v4"
