"""Checks judge facts and look at nothing themselves, so that any machine can be judged in a test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.repository import ROOT

CHECKS = sorted((ROOT / "gaia" / "validator" / "doctor" / "checks").glob("*.py"))
LOOKING = {
    "asyncio", "fcntl", "glob", "httpx", "os", "pathlib", "psutil", "shutil", "socket", "subprocess", "tempfile", "time"
}  # fmt: skip
"""Modules that see or change the machine."""
QUESTIONS = {"exists", "is_dir", "is_file", "iterdir", "open", "read_bytes", "read_text", "resolve", "stat"}
"""Questions that a path asks of the disk."""


def imported(tree: ast.Module) -> set[str]:
    """Return the modules that are imported when the module is, not for types alone."""
    found: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            found |= {name.name.partition(".")[0] for name in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            module = statement.module or ""
            found.add(module if module.startswith("gaia.") else module.partition(".")[0])
    return found


@pytest.mark.parametrize("path", CHECKS, ids=lambda path: path.stem)
def test_checks_neither_look_nor_ask_the_disk(path: Path) -> None:
    tree = ast.parse(path.read_text())
    asked = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }

    assert imported(tree) & LOOKING == set()
    assert not [module for module in imported(tree) if ".doctor.looks" in module]
    assert asked & QUESTIONS == set()
