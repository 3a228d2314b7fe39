"""Checks, and what they say: a result, a sentence, and the steps that correct it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from gaia.validator.doctor.facts import Facts
from gaia.validator.doctor.sight import Unseen
from gaia.validator.doctor.steps import Step


class Result(StrEnum):
    """Result of one check."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    SKIPPED = "skipped"


class Group(StrEnum):
    """What a check looks at."""

    CONFIGURATION = "configuration"
    HOST = "host"
    ISOLATION = "sandbox"
    FILES = "files"
    HOTKEY = "hotkey"
    CHAIN = "chain"
    DATABASE = "database"
    SOURCES = "sources"
    PORTS = "ports"
    TIME = "time"
    NOTIFY = "notify"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check on this machine."""

    result: Result
    words: str
    """What was found, without a final full stop."""
    steps: tuple[Step, ...] = ()


def ok(words: str) -> Finding:
    """Return that all is well."""
    return Finding(Result.OK, words)


def warning(words: str, *steps: Step) -> Finding:
    """Return what the operator should know; the validator works all the same."""
    return Finding(Result.WARNING, words, steps)


def failure(words: str, *steps: Step) -> Finding:
    """Return what keeps the validator from starting, or from earning."""
    return Finding(Result.FAILURE, words, steps)


def skipped(words: str) -> Finding:
    """Return why a check does not apply, or could not be made."""
    return Finding(Result.SKIPPED, words)


@dataclass(frozen=True, slots=True)
class Check:
    """One check: a pure function of the facts, and what the reference page says of it."""

    name: str
    group: Group
    looks_at: str
    remedy: str
    judge: Callable[[Facts], Finding]

    def finding(self, facts: Facts) -> Finding:
        """Return the finding; skipped if a fact that it needs could not be had."""
        try:
            return self.judge(facts)
        except Unseen as error:
            return skipped(str(error))
