"""Says which user the validator's files must belong to, and the step that gives them to that user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaia.validator.doctor.sight import Trouble, seen
from gaia.validator.doctor.steps import Step, do, run

if TYPE_CHECKING:
    from pathlib import Path

    from gaia.validator.doctor.facts import Facts

ROOT = 0


def validators_user(facts: Facts) -> int | None:
    """Return the user that runs the validator; None if nothing here tells it.

    Root may look for another user: the one who runs it now, else the owner of the data folder.
    """
    uid, folder = seen(facts.places).uid, facts.folder
    if uid != ROOT:
        return uid
    if isinstance(folder, Trouble):
        return None
    if folder.holder_uid is not None:
        return folder.holder_uid
    return None if folder.entry is None else folder.entry.uid


def owners_step(facts: Facts, owner: int, path: Path, *, is_deep: bool = False) -> Step | None:
    """Return the step after which a file of user `owner` is the validator's; None if it is so already.

    Parameters
    ----------
    is_deep
        Whether everything in a folder is meant.
    """
    user = validators_user(facts)
    if user == owner and not is_deep:
        return None
    if user is None:
        if owner == ROOT and not is_deep:
            return None  # nobody else can change it, and who runs as root can read it
        return do(f"give {path} to the user that runs the validator, or run this as that user")
    step = run("chown", "-R", user, path) if is_deep else run("chown", user, path)
    return step if seen(facts.places).uid == ROOT else do(f"as root: {step.command}")
