"""The runbook about the lease tells ours from another validator's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from gaia.cli.runbooks.branch import Branch
from gaia.cli.runbooks.database import HELD_BY_NOBODY, HELD_ELSEWHERE
from gaia.validator.db.access.lease import identity_of
from tests.support.runbook_facts import ROWS, a_lease


@pytest.mark.parametrize("branch", [HELD_ELSEWHERE, HELD_BY_NOBODY], ids=["another's", "nobody's"])
def test_lease_that_is_ours_is_no_cause(branch: Branch, tmp_path: Path) -> None:
    ours = replace(ROWS, lease=a_lease(15.0, identity_of(tmp_path)))

    few = SimpleNamespace(data_dir=tmp_path, rows=ours)

    assert branch.look(few) == ""  # type: ignore[arg-type] # all of the facts that they look at


def test_folder_that_is_not_there_has_no_identity(tmp_path: Path) -> None:
    assert identity_of(tmp_path / "nowhere") == ""
    assert identity_of(tmp_path) == identity_of(tmp_path) != ""
