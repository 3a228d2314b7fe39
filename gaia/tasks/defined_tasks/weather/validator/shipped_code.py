"""Finds the kernel's machine code in a library that was made when an image was built, so that numba is not needed."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

FOLDER: Final = Path(__file__).parent / "kernel_library"
"""Folder of the libraries, one for each level of processor; it is missing where numba compiles."""
SOURCES: Final = ("kernel_code.py", "sums.py")
"""Files from which the machine code follows."""
DIGEST_FILE: Final = "SOURCE"
BASELINE: Final = "baseline"
LEVELS: Final[Mapping[str, frozenset[str]]] = {
    "x86-64-v4": frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    "x86-64-v3": frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}),
    BASELINE: frozenset(),
}
"""Levels of processors, best first, and the features that Linux must list beyond those of the next level."""
ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "weigh": ("d2", "d1", "d1!"),
    "truth": ("*2", "*2", "*2", "d2!"),
    "persistence": ("*2", "*2", "*2", "*2", "d2!"),
    "forecast": ("*2", "*2", "*2", "*2", "d2!"),
    "both": ("*2", "*2", "*2", "*2", "d2!", "d2!"),
}
"""Type and dimensions of each argument; `*` is the type of the fields, and `!` an array that is written."""

_log = logging.getLogger("application")


def shipped_function(name: str, folder: Path = FOLDER) -> Callable[..., None] | None:
    """Return a function of the library that fits this processor, such as "truth_f"; None if none is shipped.

    A library that another source made is not used, and the log says so.
    """
    library = _library(folder)
    return None if library is None else function_of(library, name)


def function_of(library: ctypes.CDLL, name: str) -> Callable[..., None]:
    """Return a function of `library` that takes arrays, and that refuses all but the types it was made for."""
    kind = name.partition("_")[2]
    arrays = [each.replace("*", kind) for each in ARGUMENTS[name.partition("_")[0]]]
    native = getattr(library, f"gaia_{name}")
    native.restype = ctypes.c_int
    returned = ctypes.create_string_buffer(16)  # the address of a result that is always nothing

    def call(*given: np.ndarray[Any, Any]) -> None:
        for array, wanted in zip(given, arrays, strict=True):
            _require(array, wanted)
        words = [word for array in given for word in _words(array)]
        status = native(ctypes.byref(returned), None, *map(ctypes.c_ssize_t, words))
        if status != 0:
            raise RuntimeError(f"the kernel's function {name} ended with status {status}")

    return call


def source_digest(folder: Path = Path(__file__).parent) -> str:
    """Return the digest of the files from which the machine code follows."""
    digest = hashlib.sha256()
    for name in SOURCES:
        content = (folder / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def levels_of(features: frozenset[str]) -> Sequence[str]:
    """Return the levels that a processor with these features has, best first."""
    best = next(index for index in range(len(LEVELS)) if _needed(index) <= features)
    return list(LEVELS)[best:]


def features() -> frozenset[str]:
    """Return the features of this processor that Linux lists; none where it is not of the family x86-64."""
    if platform.machine() != "x86_64":
        return frozenset()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return frozenset(flags.split())


@cache
def _library(folder: Path) -> ctypes.CDLL | None:
    if not folder.is_dir():
        return None
    try:
        return ctypes.CDLL(str(_fitting(folder)))
    except OSError as error:
        reason = str(error)
        _log.warning("compiled_code_unusable", extra={"values": {"path": str(folder), "reason": reason}})
        return None


def _fitting(folder: Path) -> Path:
    """Return the best library for this processor; raise `OSError` if there is none of this source."""
    if (folder / DIGEST_FILE).read_text(encoding="ascii").strip() != source_digest():
        raise OSError("another source made it")
    files = [folder / f"{level}.so" for level in levels_of(features())]
    found = next((file for file in files if file.exists()), None)
    if found is None:
        raise OSError("it has no library for this processor")
    return found


def _needed(index: int) -> frozenset[str]:
    return frozenset().union(*list(LEVELS.values())[index:])


def _require(array: np.ndarray[Any, Any], wanted: str) -> None:
    kind, dimensions, is_written = np.dtype(wanted[0]), int(wanted[1]), wanted.endswith("!")
    flags = array.flags
    fits = array.dtype == kind and array.ndim == dimensions and flags.c_contiguous and flags.aligned
    if not fits or (is_written and not flags.writeable):
        raise TypeError(f"an array {array.dtype}{list(array.shape)} is not what the kernel takes: {wanted}")


def _words(array: np.ndarray[Any, Any]) -> tuple[int, ...]:
    """Return an array as numba passes it: no owner, no parent, items, bytes an item, address, shape, strides."""
    return (0, 0, array.size, array.itemsize, array.ctypes.data, *array.shape, *array.strides)
