"""Writes the kernel's machine code as libraries: `python scripts/generate/kernel_library.py [--folder FOLDER]`.

An image is built with them, so that numba and LLVM need not ship. It needs numba, and `ld` of binutils.
Each level of processors has a library of its own; all give the same bits.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gaia.tasks.defined_tasks.weather.validator.kernel_code import Program, programs
from gaia.tasks.defined_tasks.weather.validator.shipped_code import (
    BASELINE,
    DIGEST_FILE,
    FOLDER,
    LEVELS,
    source_digest,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write all libraries of this machine's family of processors."""
    parser = argparse.ArgumentParser(prog="kernel_library.py", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to write; default: in the package")
    folder: Path = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    modules = [_module(name, program) for name, program in programs().items()]
    for level in levels():
        _link(modules, level, folder / f"{level}.so")
    (folder / DIGEST_FILE).write_text(f"{source_digest()}\n", encoding="ascii")


def levels() -> list[str]:
    """Return the levels that this machine's family of processors has."""
    return list(LEVELS) if platform.machine() == "x86_64" else [BASELINE]


def _module(name: str, program: Program) -> str:
    """Return the function in LLVM's language, under a name that a program can look up."""
    import numba

    compile_for: Any = numba.njit
    # The two wrappers would call Python, and `_nrt` is the counting of references.
    without = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False}
    made = compile_for(program.signature, nogil=True, error_model="numpy", **without)(program.function)
    (overload,) = made.overloads.values()
    text = str(overload.library.get_llvm_str())
    return text.replace(overload.fndesc.llvm_func_name, f"gaia_{name}")


def _link(modules: Sequence[str], level: str, library: Path) -> None:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    baseline = "x86-64" if platform.machine() == "x86_64" else "generic"
    processor = baseline if level == BASELINE else level
    machine = target.create_target_machine(cpu=processor, opt=3, reloc="pic", codemodel="default")
    with tempfile.TemporaryDirectory() as scratch:
        objects = []
        for number, module in enumerate(modules):
            path = Path(scratch, f"{number}.o")
            path.write_bytes(machine.emit_object(llvm.parse_assembly(module)))
            objects.append(str(path))
        # The C library has all that is not in the objects; `defs` refuses what is in neither.
        options = [f"-z{each}" for each in ("defs", "noexecstack", "relro", "now")]
        command = ["ld", "-shared", "-s", *options, "--build-id=none", "-o", str(library)]
        subprocess.run([*command, *objects, "-l:libc.so.6"], check=True)


if __name__ == "__main__":
    main()
