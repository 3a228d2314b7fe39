"""Runbooks about the validator's processes, and what they take from the machine."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Final

import psutil

from gaia.cli.runbooks import shared
from gaia.cli.runbooks.branch import Branch, Runbook
from gaia.cli.runbooks.facts import WORKER
from gaia.validator.core.status.troubles import MANY_FILES

if TYPE_CHECKING:
    from collections.abc import Callable

    from gaia.cli.runbooks.facts import Facts

MUCH_MEMORY: Final = 2 * 2**30
"""Bytes above which ValidatorHighMemoryUsage fires."""
_FEW_FILES: Final = 4096


def _died_of(*causes: str) -> Callable[[Facts], str]:
    """Return a look for deaths of the last hour whose cause begins with one of `causes`."""

    def look(facts: Facts) -> str:
        found = [death for death in facts.deaths() if death.cause.startswith(causes)]
        return f"{len(found)} in the last hour; the newest: {found[0].sentence}" if found else ""

    return look


def _holds(*prefixes: str) -> Callable[[Facts], str]:
    """Return a look for the largest process, if it is one of these and holds much memory."""

    def look(facts: Facts) -> str:
        name, size = next(iter(facts.memory().items()), ("", 0))
        is_it = size > MUCH_MEMORY and name.startswith(prefixes)
        return f"{name} holds {size / 2**30:.1f} GiB" if is_it else ""

    return look


def _files(facts: Facts, *, is_low: bool) -> str:
    for pid, name in facts.roles().items():
        try:
            used = facts.processes[pid].num_fds()
            limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
        except (psutil.Error, OSError):
            continue  # it ended meanwhile, or belongs to another user
        if used > MANY_FILES * limit and (limit < _FEW_FILES) is is_low:
            return f"{name} has {used} of {limit} open"
    return ""


MEMORY_DEATHS = Branch(
    sentence="Processes die because they reach their memory limit.",
    remedy="Raise `GAIA_WORKER_HARD_LIMIT_MIB`, or lower `GAIA_BATCH_MINERS`, so that a unit needs less.",
    look=_died_of("memory"),
)
DEADLINE_DEATHS = Branch(
    sentence="Workers are killed because their units take too long.",
    remedy="Raise `GAIA_UNIT_TIMEOUT_S`, or give the machine less other work.",
    look=_died_of("deadline"),
)
SILENT_DEATHS = Branch(
    sentence="Processes are killed because they stopped answering.",
    remedy="Look for what stops or slows them: a full machine, a suspended virtual machine, or a debugger.",
    look=_died_of("silent"),
)
STARTUP_DEATHS = Branch(
    sentence="Processes do not come up.",
    remedy="Read `gaia logs --level warning`. It names what is missing: a file, memory, or the sandbox.",
    look=_died_of("startup"),
)
SIGNAL_DEATHS = Branch(
    sentence="A signal ended processes.",
    remedy=(
        "SIGKILL comes from a person or from the kernel; `dmesg` says whether memory was short."
        " SIGSEGV is a bug in a library: report the stack in the log."
    ),
    look=_died_of("signal"),
)
EXIT_DEATHS = Branch(
    sentence="Processes ended with an error of their own.",
    remedy="Read `gaia logs --level warning`. [Exit codes](../reference/exit-codes.md) explains the code.",
    look=_died_of("exit"),
)
_DEATHS: Final = (
    MEMORY_DEATHS,
    DEADLINE_DEATHS,
    SILENT_DEATHS,
    STARTUP_DEATHS,
    SIGNAL_DEATHS,
    EXIT_DEATHS,
)
BIG_WORKER = Branch(
    sentence="A compute worker holds the most memory.",
    remedy="It is replaced above `GAIA_WORKER_SOFT_LIMIT_MIB`. Lower `GAIA_BATCH_MINERS`, so that a unit needs less.",
    look=_holds(WORKER),
)
BIG_DATABASE = Branch(
    sentence="The embedded database holds the most memory.",
    remedy="Look for a session of yours that runs a large query, and end it. Else restart the validator.",
    look=_holds("postgres"),
)
BIG_ENGINE = Branch(
    sentence="The IO-Engine or the chain signer holds the most memory.",
    remedy="Report it with the file that `gaia debug bundle` writes, then restart: these processes hold no fields.",
    look=_holds("io_engine", "chain_signer", "standby"),
)
LOW_LIMIT = Branch(
    sentence="The limit of open files is low.",
    remedy="Raise it: `LimitNOFILE=65536` in the unit of systemd, or `ulimit -n 65536` before the start.",
    look=lambda facts: _files(facts, is_low=True),
)
LEAK = Branch(
    sentence="A process has very many files open.",
    remedy="Restart the validator, and report it with the output of `ls -l /proc/PID/fd`.",
    look=lambda facts: _files(facts, is_low=False),
)

RUNBOOKS: Final = (
    Runbook(
        alert="ProcessDown",
        meaning="For a minute there has been no process of one role. The Supervisor usually replaces one in seconds.",
        impact=(
            "Without an IO-Engine nothing happens; without a signer no weights are set; without workers nothing is"
            " scored; without the embedded database all of that stands still. Without a standby the next"
            " replacement of the IO-Engine takes seconds longer."
        ),
        branches=(
            shared.STOPPED,
            shared.ENGINE_DOWN,
            shared.SIGNER_DOWN,
            shared.WORKERS_DOWN,
            shared.POSTGRES_DOWN,
            shared.DISK_FULL,
            *_DEATHS,
        ),
    ),
    Runbook(
        alert="ProcessRestarting",
        meaning="A process died without having been told to, and was replaced.",
        impact="None, if it stays one: the unit it held is computed again.",
        branches=(shared.STOPPED, *_DEATHS),
    ),
    Runbook(
        alert="ProcessHighRestarts",
        meaning="Processes of one role died more than five times in an hour.",
        impact="Scores come later. A unit that kills its workers is quarantined, and its forecast is not scored.",
        branches=(shared.STOPPED, *_DEATHS, shared.HOST_FULL, shared.DISK_FULL),
    ),
    Runbook(
        alert="CrashLoop",
        meaning="Processes other than workers, or the whole validator, start and die again and again.",
        impact="Nothing is finished. After 12 deaths of one process in a row the validator ends with exit code 18.",
        branches=(
            shared.STOPPED,
            shared.DISK_FULL,
            shared.DATABASE_AWAY,
            *_DEATHS,
            shared.HOST_FULL,
        ),
    ),
    *(
        Runbook(
            alert=alert,
            meaning=f"A process holds more than {gib} GiB of memory. Compute workers count one by one.",
            impact="If the machine runs out of memory, the kernel kills a process of its choice.",
            branches=(shared.STOPPED, BIG_WORKER, BIG_DATABASE, BIG_ENGINE, shared.HOST_FULL),
        )
        for alert, gib in (("HighMemoryUsage", 2), ("CriticalMemoryUsage", 4))
    ),
    *(
        Runbook(
            alert=alert,
            meaning=f"The IO-Engine, its standby, the chain signer or the Supervisor uses {share} of a core.",
            impact="Its loop comes late: answers of miners and heartbeats wait.",
            branches=(
                shared.STOPPED,
                shared.ENGINE_BUSY,
                shared.SIGNER_BUSY,
                shared.SUPERVISOR_BUSY,
                shared.HOST_BUSY,
            ),
        )
        for alert, share in (("HighCPUUsage", "80 %"), ("CriticalCPUUsage", "95 %"))
    ),
    Runbook(
        alert="OpenFilesHigh",
        meaning="A process uses more than 80 % of the files that it may open.",
        impact="At the limit no connection can be opened: miners, archives and the database fail.",
        branches=(shared.STOPPED, LOW_LIMIT, LEAK),
    ),
)
