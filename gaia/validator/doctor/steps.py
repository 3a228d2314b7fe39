"""Steps that correct what a check found: for the shell, for the settings, or for a person."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class StepKind(StrEnum):
    """How a step is carried out."""

    RUN = "run"
    """A command for the shell that starts the validator."""
    SET = "set"
    """A setting gets a value."""
    UNSET = "unset"
    """A setting is removed."""
    DO = "do"
    """Something that no command of this machine does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a correction."""

    kind: StepKind
    command: str = ""
    variable: str = ""
    value: str = ""
    """New value of `variable`; "" if only the operator knows it."""
    place: str = ""
    """File of the setting; "" for the environment."""
    words: str = ""

    def __str__(self) -> str:
        where = f"in {self.place}" if self.place else "in the environment"
        match self.kind:
            case StepKind.RUN:
                return self.command
            case StepKind.SET:
                return f"set {self.variable}={self.value} {where}{f' ({self.words})' if self.words else ''}"
            case StepKind.UNSET:
                return f"remove {self.variable} {where.replace('in ', 'from ', 1)}"
        return self.words


def run(*words: str | Path | int) -> Step:
    """Return a step that runs one program with these arguments."""
    return Step(kind=StepKind.RUN, command=shlex.join(str(word) for word in words))


def shell(command: str) -> Step:
    """Return a step that runs a line of shell."""
    return Step(kind=StepKind.RUN, command=command)


def do(words: str) -> Step:
    """Return a step that a person carries out."""
    return Step(kind=StepKind.DO, words=words)
