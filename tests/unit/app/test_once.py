"""A line that is said once names a subject and its words, or a subject alone: the log takes nothing else."""

from __future__ import annotations

import ast

from tests.support.repository import ROOT


def test_lines_that_are_said_once_have_a_subject_and_words() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{keyword.value.lineno}": keyword.value
        for path in sorted((ROOT / "gaia").rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "once"
    }
    tuples = {place: value.elts for place, value in found.items() if isinstance(value, ast.Tuple)}

    assert len(tuples) > 8
    assert not [
        place
        for place, parts in tuples.items()
        if len(parts) != 2 or any(isinstance(p, ast.Starred) for p in parts)
    ]
