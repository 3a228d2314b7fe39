#!/usr/bin/env python3
"""Prints the functions, classes, methods and constants of gaia/ that no production code uses.

    python3 scripts/unused.py

Production code is gaia/ and scripts/; tests do not count. A name counts as used where another
definition names it: after an import from its module, as an attribute, or in a string such as
"package.module:function". Exit code 1: something is unused.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_COMMANDED = "tests command the faults of the local subnet"
_TABLES = "tests compare each transition of the ledger with the tables that the docs draw"
_CONFORMANCE = "the conformance suite asks each backend what it can do"

EXCEPTIONS: Mapping[str, str] = {
    "gaia.localnet.archives.server:ArchiveServer.inject": _COMMANDED,
    "gaia.localnet.chain.blocks:BlockChain.retract": _COMMANDED,
    "gaia.localnet.chain.endpoint:Endpoint.announce_retracted": _COMMANDED,
    "gaia.localnet.chain.node:LocalChain.retract": _COMMANDED,
    "gaia.localnet.chain.pool:Pool.put_back": _COMMANDED,
    "gaia.localnet.population:HOSTILE": "names the behaviours that tests alone recast miners to",
    "gaia.validator.app.backends.dask_backend:DaskBackend.capabilities": _CONFORMANCE,
    "gaia.validator.app.pool.compute_pool:ComputePool.capabilities": _CONFORMANCE,
    "gaia.validator.app.pool.protocols:Capability.RECYCLE": _CONFORMANCE,
    "gaia.validator.app.pool.protocols:Capability.SANDBOX": _CONFORMANCE,
    "gaia.validator.app.pool.protocols:ComputeBackend.capabilities": _CONFORMANCE,
    "gaia.validator.app.pool.job_records:PoolRecord.job_state": _TABLES,
    "gaia.validator.app.pool.job_records:PoolRecord.worker_state": _TABLES,
}
"""Module and name, or a module alone -> reason to keep it although no production code uses it."""

CALLED_BY_LIBRARIES: Mapping[str, str] = {
    "_interface": "bittensor",
    "capture_signals": "uvicorn",
    "connection_lost": "asyncio",
    "connection_made": "asyncio",
    "data_received": "asyncio",
    "handleError": "logging",
    "model_config": "pydantic",
    "settings_customise_sources": "pydantic",
    "shouldRollover": "logging",
}
"""Members that a library finds by name."""

REGISTERING = {"field_validator", "model_validator"}
"""Decorators that register their function with a library."""

_WORD = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition in gaia/."""

    path: Path
    line: int
    module: str
    name: str
    """Name in the module; "Class.method" for a method."""
    node: ast.stmt

    @property
    def last(self) -> str:
        """The name that other code uses."""
        return self.name.rpartition(".")[2]

    @property
    def lines(self) -> set[int]:
        """Path and line."""
        return set(range(self.node.lineno, (self.node.end_lineno or self.node.lineno) + 1))

    @property
    def is_member(self) -> bool:
        """Whether it belongs to a class."""
        return "." in self.name

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.name}"


@dataclass(slots=True)
class Uses:
    """Names that one file uses, with their lines."""

    names: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Name -> lines on which it is read."""
    attributes: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Attribute or keyword argument -> lines."""
    words: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Word of a string that is not a sentence -> lines."""
    imported: dict[tuple[str, str], str] = field(default_factory=dict)
    """(Module, name) -> its name in this file."""


def main() -> int:
    """Print unused definitions and needless exceptions; return the exit code."""
    without = unused(ROOT, exceptions=())
    left = unused(ROOT, EXCEPTIONS)
    needless = [name for name in EXCEPTIONS if not any(_is_named(one, {name}) for one in without)]
    for line in (*left, *(f"{name} is no exception: it is used, or gone" for name in needless)):
        print(line)
    print(
        f"{len(left)} definitions of gaia/ are used by no production code, beside {len(EXCEPTIONS)} exceptions."
    )
    return 1 if left or needless else 0


def unused(root: Path, exceptions: Collection[str]) -> list[Definition]:
    """Return the definitions below `root`/gaia that no code in `root`/gaia and `root`/scripts uses.

    Definitions that only unused ones use are unused too; `exceptions` count as used.
    """
    trees = {
        path: ast.parse(path.read_text())
        for folder in ("gaia", "scripts")
        for path in sorted((root / folder).rglob("*.py"))
        if path.name != Path(__file__).name
    }
    uses = {path: _uses(tree) for path, tree in trees.items()}
    homes = _homes({_module(path, root): found for path, found in uses.items()})
    asked = [
        definition
        for path, tree in trees.items()
        if path.is_relative_to(root / "gaia")
        for definition in _definitions(path, tree, _module(path, root))
        if not _is_named(definition, exceptions)
    ]
    dead: dict[Path, set[int]] = {path: set() for path in trees}
    left: list[Definition] = []
    while found := [one for one in asked if one not in left and not _is_used(one, uses, homes, dead)]:
        left += found
        for one in found:
            dead[one.path] |= one.lines
    return sorted(left, key=lambda one: (one.path, one.line))


def _module(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _definitions(path: Path, tree: ast.Module, module: str) -> Iterator[Definition]:
    for node in tree.body:
        if (name := _name_of(node)) is not None:
            yield Definition(path, node.lineno, module, name, node)
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                # An annotated name is a field, which may be written without being read here.
                name = None if isinstance(member, ast.AnnAssign) else _name_of(member)
                if name is not None and name not in CALLED_BY_LIBRARIES and not _is_registered(member):
                    yield Definition(path, member.lineno, module, f"{node.name}.{name}", member)


def _name_of(node: ast.stmt) -> str | None:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            found = name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            found = name
        case _:
            return None
    return None if found.startswith("__") and found.endswith("__") else found


def _is_registered(node: ast.stmt) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any(isinstance(one, ast.Call) and getattr(one.func, "id", "") in REGISTERING for one in decorators)


def _uses(tree: ast.Module) -> Uses:
    found = Uses()
    sentences = {id(each) for each in _docstrings(tree)}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                found.names[name].add(node.lineno)
            case ast.Attribute(attr=name):
                found.attributes[name].add(node.lineno)
            case ast.keyword(arg=str(name)):
                found.attributes[name].add(node.value.lineno)
            case ast.Constant(value=str(text)) if id(node) not in sentences and not re.search(r"\s", text):
                for word in _WORD.findall(text):
                    found.words[word].add(node.lineno)
            case ast.ImportFrom(module=str(source), names=aliases, level=0):
                for alias in aliases:
                    found.imported[source, alias.name] = alias.asname or alias.name
            case _:
                pass
    return found


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _is_used(
    definition: Definition,
    uses: Mapping[Path, Uses],
    homes: Mapping[str, set[str]],
    dead: Mapping[Path, set[int]],
) -> bool:
    """Return whether lines outside the definition and not `dead` name it."""
    last = definition.last
    importable_from = homes.get(f"{definition.module}:{last}", set()) | {definition.module}
    for path, found in uses.items():
        lines = set(found.words.get(last, ()))
        if definition.is_member:
            lines |= found.attributes.get(last, set())
        if path == definition.path:
            lines |= found.names.get(last, set())
            lines -= definition.lines
        elif not definition.is_member:
            lines |= _lines_of(last, importable_from, found)
        if lines - dead[path]:
            return True
    return False


def _lines_of(name: str, homes: set[str], found: Uses) -> set[int]:
    """Return the lines that use `name`, imported from one of `homes` or as an attribute of one."""
    lines: set[int] = set()
    for home in homes:
        package, _, module = home.rpartition(".")
        if (home, name) in found.imported:
            lines |= found.names.get(found.imported[home, name], set())
        if (package, module) in found.imported:
            lines |= found.attributes.get(name, set())
    return lines


def _homes(uses: Mapping[str, Uses]) -> dict[str, set[str]]:
    """Return "module:name" -> modules from which it can be imported, including re-exports."""
    homes: dict[str, set[str]] = defaultdict(set)
    for module, found in uses.items():
        for source, name in found.imported:
            homes[f"{source}:{name}"] |= {source, module}
    for name, modules in homes.items():
        last = name.partition(":")[2]
        for module in list(modules):
            modules.update(homes.get(f"{module}:{last}", set()))
    return homes


def _is_named(definition: Definition, exceptions: Collection[str]) -> bool:
    return definition.module in exceptions or f"{definition.module}:{definition.name}" in exceptions


if __name__ == "__main__":
    sys.exit(main())
