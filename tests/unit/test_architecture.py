"""The rules of the house that can be run: what each process loads, and how long files and functions are."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from gaia.validator.utils import entry_points
from tests.support.repository import ROOT

SOURCES = sorted([*(ROOT / "gaia").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")])
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
FULLEST_FOLDER = 18
MOST_UNTYPED_DICTS = 39

NUMERICS = {"numpy", "xarray", "zarr"}
NETWORK = {"httpx", "asyncpg", "uvloop"}
MAY_NOT_LOAD = {
    "gaia.validator.app.supervisor": NUMERICS | NETWORK | {"asyncio", "bittensor"},
    "gaia.validator.app.io_engine": NUMERICS | {"bittensor"},
    "gaia.validator.app.compute_worker": NETWORK
    | {"bittensor", "gaia.validator.utils.config", "gaia.validator.utils.settings"},
    "gaia.tasks.defined_tasks.weather.validator.handlers": NETWORK | {"bittensor", "bittensor_core"},
    "gaia.tasks.defined_tasks.weather.validator.scoring": NETWORK | {"bittensor", "bittensor_core"},
    "gaia.tasks.defined_tasks.weather.wire.store_layout": NUMERICS
    | NETWORK
    | {"bittensor", "bittensor_core"},
    "gaia.tasks.defined_tasks.weather.task": NUMERICS | {"httpx", "bittensor"},
    "gaia.validator.core.miner_comms": NUMERICS | {"asyncpg", "bittensor"},
    "gaia.validator.validator": NUMERICS | NETWORK | {"asyncio", "bittensor"},
    "gaia.miner.server": {"asyncpg", "bittensor"},
}
"""Entry points of processes, and of what is loaded into them, with what must stay out."""

NOT_SETTINGS = {"PYTHONPATH", "PG_BINDIR"}
"""What the interpreter and PostgreSQL read anyway."""

MAY_HOLD_THE_ENVIRONMENT = {
    "gaia/localnet/options.py",  # hands it on to the validator it starts
    "gaia/miner/miner.py",  # hands it to the miner's settings
    "gaia/validator/app/children/preload.py",  # asks what children will find in it
    "gaia/validator/utils/config.py",
    "gaia/validator/utils/proxies.py",  # tells libraries what no proxy reaches
}

MAY_RENAME = {
    "gaia/tasks/defined_tasks/weather/validator/compiled.py",  # moves whole folders of compiled code
    "gaia/validator/app/children/embedded_postgres.py",  # moves the folder of a finished cluster
    "gaia/validator/app/sandbox/broker.py",  # carries out the renames that a sandbox allows
    "gaia/validator/utils/files.py",  # Draft, which everybody else uses
    "scripts/campaigns/run_faults/wire.py",  # moves a server's socket away, and back
}

MAY_NAME_BITTENSOR = {
    "gaia/validator/app/chain_signer.py",
    "gaia/validator/core/chain/bounded.py",
    "gaia/validator/core/chain/client.py",
    "gaia/validator/core/chain/commits.py",
    "gaia/validator/core/chain/hotkey.py",
    "gaia/validator/core/chain/nodes/broadcast.py",
    "gaia/validator/core/chain/nodes/quorum.py",
    "gaia/validator/core/chain/plain_weights.py",
    "gaia/validator/core/chain/reader.py",
    "gaia/validator/core/chain/weight_answers.py",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file is judged by; its tree is not kept."""

    docstring: str | None
    packages: frozenset[str]
    """First names of what it imports."""
    too_long: dict[str, int]
    """Function -> its lines."""
    renames: bool
    """It moves a file or a folder."""


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("entry_point", MAY_NOT_LOAD)
def test_each_process_loads_only_what_its_role_needs(entry_point: str) -> None:
    show = f"import sys, {entry_point}; print(*sys.modules)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}

    done = subprocess.run(
        [sys.executable, "-c", show], capture_output=True, text=True, cwd=ROOT, env=environment
    )

    assert done.returncode == 0, done.stderr
    assert not MAY_NOT_LOAD[entry_point] & set(done.stdout.split())


def test_only_the_signer_and_the_chain_client_load_the_chain_sdk() -> None:
    validator = [path for path in SOURCES if (ROOT / "gaia" / "validator") in path.parents]

    naming = {_relative(path) for path in validator if "bittensor" in _facts(path).packages}

    assert naming <= MAY_NAME_BITTENSOR


def test_variables_of_the_environment_are_settings_and_read_in_one_place() -> None:
    reading = re.compile(r"""(?:environ\.get\(|environ\[|getenv\()\s*["'](\w+)["'](?!\]\s*=)""")

    read = {
        (variable, _relative(path))
        for path in SOURCES
        if (ROOT / "gaia") in path.parents
        for variable in reading.findall(path.read_text())
    }

    assert {(variable, path) for variable, path in read if variable not in NOT_SETTINGS} == set()


def test_the_environment_as_a_whole_is_in_the_hands_of_those_who_read_settings() -> None:
    whole = re.compile(r"os\.environ(?![\w.\[])")

    holding = {
        _relative(path)
        for path in SOURCES
        if (ROOT / "gaia") in path.parents and whole.search(path.read_text())
    }

    assert holding == MAY_HOLD_THE_ENVIRONMENT


def test_files_are_put_in_their_place_by_one_module() -> None:
    renaming = {_relative(path) for path in SOURCES if _facts(path).renames}

    assert renaming == MAY_RENAME


def test_files_are_short() -> None:
    lines = {_relative(path): len(path.read_text().splitlines()) for path in (*SOURCES, *TESTS)}

    too_long = {path: count for path, count in lines.items() if count > LONGEST_FILE}

    assert too_long == {}


def test_folders_hold_few_files() -> None:
    counts = Counter(_relative(path.parent) for path in SOURCES)

    assert {folder: count for folder, count in counts.items() if count > FULLEST_FOLDER} == {}


def test_room_of_the_processes_has_few_entries() -> None:
    app = ROOT / "gaia" / "validator" / "app"
    packages = {path.relative_to(app).parts[0] for path in SOURCES if app in path.parents}

    assert len(packages - {"__init__.py"}) <= FULLEST_FOLDER


def test_dictionaries_of_anything_are_few() -> None:
    found = [
        _relative(path)
        for path in SOURCES
        if (ROOT / "gaia") in path.parents
        for _ in range(path.read_text().count("dict[str, Any]"))
    ]

    assert len(found) <= MOST_UNTYPED_DICTS, "a Struct says what it holds"


@pytest.mark.parametrize("path", SOURCES, ids=_relative)
def test_file_says_what_it_is_for(path: Path) -> None:
    if path.read_text().strip():
        assert _facts(path).docstring, "the first line of a module says what it is for"


@pytest.mark.parametrize("path", SOURCES, ids=_relative)
def test_functions_are_short(path: Path) -> None:
    assert _facts(path).too_long == {}


def test_modules_are_named_as_text_in_one_table_alone() -> None:
    naming = {
        _relative(path): found
        for path in SOURCES
        if (ROOT / "gaia") in path.parents and (found := _modules_named_as_text(path))
    }

    assert set(naming) == {"gaia/validator/utils/entry_points.py"}


def _modules_named_as_text(path: Path) -> set[str]:
    strings = {
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {string for string in strings if re.fullmatch(r"gaia(\.\w+)+(:\w+)?", string)}


@pytest.mark.parametrize("name", sorted(name for name in vars(entry_points) if name.isupper()))
def test_entry_point_is_a_module_or_function_that_exists(name: str) -> None:
    module, _, function = getattr(entry_points, name).partition(":")

    assert not function or callable(getattr(importlib.import_module(module), function))
    assert importlib.util.find_spec(module) is not None


def test_every_exception_from_a_lint_rule_has_its_reason_beside_it() -> None:
    lint = (ROOT / "pyproject.toml").read_text().split("[tool.ruff.lint]")[1].split("[tool.mypy]")[0]
    rules = [line for line in lint.splitlines() if re.match(r' +"[A-Z]+[0-9]*",(?! ")', line)]
    in_code = [
        (_relative(path), line)
        for path in (*SOURCES, *TESTS)
        for line in path.read_text().splitlines()
        if re.search(r"#\s*noqa\b", line)
    ]

    assert len(rules) > 20
    assert [line for line in rules if not re.search(r"# \S", line)] == []
    assert [found for found in in_code if not re.search(r"#\s*noqa: [A-Z0-9, ]+ - \w", found[1])] == []


def test_import_contracts_name_packages_that_exist() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = {
        name
        for each in contracts
        for key in ("source_modules", "forbidden_modules", "containers")
        for name in each.get(key, ())
    }

    assert [name for name in named if importlib.util.find_spec(name) is None] == []


@cache
def _facts(path: Path) -> Facts:
    tree = ast.parse(path.read_text())
    packages: set[str] = set()
    too_long: dict[str, int] = {}
    renames = False
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                packages.update(alias.name.split(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module)):
                packages.add(module.split(".")[0])
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    too_long[node.name] = length
            # Those of strings and of structs have more arguments, or named ones.
            case ast.Call(func=ast.Attribute(attr="replace"), args=[_], keywords=[]):
                renames = True
            case ast.Call(func=ast.Attribute(value=ast.Name("os"), attr="replace" | "link")):
                renames = True
            case ast.Call(func=ast.Attribute(attr="rename" | "renames" | "hardlink_to")):
                renames = True
            case ast.Call(func=ast.Attribute(value=ast.Name("shutil"), attr="move")):
                renames = True
    return Facts(ast.get_docstring(tree), frozenset(packages), too_long, renames)
