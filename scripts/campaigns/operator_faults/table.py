"""The faults, and what each tool must say about them: written down before the tools are asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from monitored.faults import processes as process_faults
from monitored.faults import services as service_faults
from monitored.faults.scene import ENGINE, POSTGRES, SIGNER, WORKER

from campaigns.operator_faults import causes
from campaigns.operator_faults.place import Cause
from gaia.cli.runbooks import database, host, processes, shared, weather, weights
from gaia.cli.runbooks.branch import Branch
from gaia.localnet.archives.troubles import Source, Trouble

_QUICK: Final = frozenset({"ProcessRestarting"})
_MANY: Final = frozenset({"ProcessHighRestarts"})
_DOWN: Final = frozenset({"ProcessDown"})
_CHAIN: Final = frozenset({"SubstrateConnectionLost"})
_LATE: Final = frozenset({"WeightsStale"})
"""No weights are set while engine, signer or database are away, and blocks come fast here."""
_DATABASE: Final = frozenset({"DatabaseFailures"})
_DEATHS: Final = _QUICK | _MANY | _DOWN
_REFUSED: Final = frozenset({"TruthLate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault, and the right answer of each tool."""

    name: str
    what: str
    """What is done, as the page says it."""
    cause: Cause
    seconds: float
    """Detection time: `gaia status` must name the fault within it."""
    status: frozenset[str]
    """Troubles, without their prefix, one of which must be named."""
    beside: frozenset[str] = frozenset()
    """Troubles that are consequences, and may be named too."""
    doctor: frozenset[str] = frozenset()
    """Checks that must fail; empty: the fault is none of the machine's, and no check may fail."""
    doctor_beside: frozenset[str] = frozenset()
    """Checks that may fail too, because what they look at is gone."""
    alert: str
    """Runbook that is run, without the prefix."""
    branches: Sequence[Branch]
    """Causes one of which the runbook must name first."""
    is_in_a_run: bool = False
    """Whether it is about a run in progress, so that the calendar must go on for it."""


IN_RUNS: Final = (
    Fault(
        name="miners_silent",
        what="All miners are stopped after they accepted, until none can be in time.",
        cause=causes.silent_miners,
        seconds=20,
        status=frozenset({"VerificationFailures"}),
        alert="MinersUnresponsive",
        branches=[weather.MINERS_SILENT],
        is_in_a_run=True,
    ),
    Fault(
        name="gfs_refuses",
        what="The archive of GFS answers 403 without a word.",
        cause=causes.refusing(Source.GFS, Trouble.BLOCKED),
        seconds=20,
        status=_REFUSED,
        doctor=frozenset({"gfs"}),
        alert="TruthLate",
        branches=[weather.TRUTH_AWAITED],
        is_in_a_run=True,
    ),
    Fault(
        name="climatology_moved",
        what="The store of the climatology redirects to a host where nothing answers.",
        cause=causes.refusing(Source.CLIMATOLOGY, Trouble.MOVED),
        seconds=20,
        status=_REFUSED,
        doctor=frozenset({"climatology"}),
        alert="TruthLate",
        branches=[weather.TRUTH_AWAITED],
        is_in_a_run=True,
    ),
    Fault(
        name="era5_licence",
        what="The Climate Data Store answers 403: a licence must be accepted again.",
        cause=causes.refusing(Source.CDS, Trouble.LICENCE),
        seconds=20,
        status=_REFUSED,
        doctor=frozenset({"cds", "cds-accepted"}),
        alert="TruthLate",
        branches=[weather.TRUTH_AWAITED],
        is_in_a_run=True,
    ),
)
"""Faults while a run is in progress, in the order of the calendar."""

CALM: Final = (
    Fault(
        name="chain_down",
        what="The node of the chain goes away; its port is closed.",
        cause=causes.lying("down", "up"),
        seconds=30,
        status=_CHAIN,
        beside=_LATE | {"VectorInDoubt"},
        doctor=frozenset({"chain"}),
        doctor_beside=frozenset({"subnet"}),
        alert="SubstrateConnectionLost",
        branches=[shared.CHAIN_CLOSED],
    ),
    Fault(
        name="chain_denies_the_subnet",
        what="The node answers that the subnet does not exist.",
        cause=causes.lying("null_metagraph"),
        seconds=30,
        status=_CHAIN,
        beside=_LATE,
        doctor=frozenset({"subnet"}),
        alert="SubstrateConnectionLost",
        branches=[shared.CHAIN_AWAY],
    ),
    Fault(
        name="hotkey_deregistered",
        what="Another hotkey has our place in the metagraph.",
        cause=causes.lying("deregister"),
        seconds=20,
        status=frozenset({"NotRegistered"}),
        beside=_LATE | _CHAIN,
        doctor=frozenset({"registered"}),
        alert="WeightsStale",
        branches=[weights.NOT_REGISTERED],
    ),
    Fault(
        name="permit_lost",
        what="Our uid has no validator permit any more.",
        cause=causes.lying("no_permit", "permit"),
        seconds=20,
        status=frozenset({"NoPermit"}),
        beside=_LATE,
        doctor=frozenset({"permit"}),
        alert="WeightsStale",
        branches=[weights.NO_PERMIT],
    ),
    Fault(
        name="weights_refused",
        what="The node refuses each vector, with custom error 6.",
        cause=causes.lying("refuse_weights"),
        seconds=30,
        status=_LATE,
        beside=frozenset({"VectorInDoubt"}),
        alert="WeightsStale",
        branches=[weights.FAILING, weights.REFUSED],
    ),
    Fault(
        name="vector_in_doubt",
        what="The node is stopped while a vector is being submitted.",
        cause=service_faults.stopped_chain,
        seconds=40,
        status=frozenset({"VectorInDoubt"}),
        beside=_LATE | _CHAIN,
        doctor=frozenset({"chain"}),
        doctor_beside=frozenset({"subnet", "in-time"}),
        alert="VectorInDoubt",
        branches=[shared.CHAIN_AWAY, shared.CHAIN_CLOSED],
    ),
    Fault(
        name="tables_locked",
        what="Another session locks the tables of the validator.",
        cause=service_faults.locked_tables,
        seconds=20,
        status=_DATABASE,
        beside=_LATE,
        doctor=frozenset({"database"}),
        alert="DatabaseFailures",
        branches=[shared.BLOCKED],
    ),
    Fault(
        name="table_renamed",
        what="A table has another name, as in a schema of another release.",
        cause=service_faults.renamed_table,
        seconds=20,
        status=_DATABASE,
        beside=_LATE,
        alert="DatabaseFailures",
        branches=[shared.UNREADABLE, database.REFUSED],
    ),
    Fault(
        name="connections_exhausted",
        what="A forgotten program holds all connections of the database server.",
        cause=causes.full_server,
        seconds=20,
        status=_DATABASE,
        beside=_LATE,
        doctor=frozenset({"database"}),
        alert="DatabaseConnectionsExhausted",
        branches=[database.SERVER_FULL],
    ),
    Fault(
        name="few_files",
        what="The limit of open files of the IO-Engine is lowered to four more than it has.",
        cause=process_faults.few_files,
        seconds=20,
        status=frozenset({"OpenFilesHigh"}),
        alert="OpenFilesHigh",
        branches=[processes.LOW_LIMIT],
    ),
    Fault(
        name="disk_nearly_full",
        what="A file outside the data folder fills its disk but for 40 MiB.",
        cause=causes.full_disk,
        seconds=20,
        status=frozenset({"DiskSpaceCritical"}),
        doctor=frozenset({"data-space"}),
        doctor_beside=frozenset({"data-growth"}),
        alert="DiskSpaceCritical",
        branches=[host.ELSEWHERE_FULL],
    ),
    Fault(
        name="postgres_stopped",
        what="The embedded database server and its sessions are stopped with SIGSTOP.",
        cause=causes.stopped_postgres,
        seconds=30,
        status=_DATABASE,
        beside=_LATE | _DEATHS,
        doctor=frozenset({"database"}),
        alert="DatabaseFailures",
        branches=[shared.FROZEN],
    ),
    Fault(
        name="worker_stopped",
        what="A compute worker is stopped with SIGSTOP.",
        cause=causes.stopped_once(WORKER),
        seconds=15,
        status=frozenset({"PoolSeatsMissing"}),
        alert="PoolSeatsMissing",
        branches=[shared.FROZEN],
    ),
    Fault(
        name="signer_stopped",
        what="The chain signer is stopped with SIGSTOP.",
        cause=causes.stopped_once(SIGNER),
        seconds=15,
        status=_CHAIN,
        beside=_LATE | {"VectorInDoubt"},
        alert="SubstrateConnectionLost",
        branches=[shared.FROZEN],
    ),
    Fault(
        name="engine_killed",
        what="The IO-Engine is killed once.",
        cause=causes.killed_once(ENGINE),
        seconds=20,
        status=_QUICK,
        beside=_LATE,
        alert="ProcessRestarting",
        branches=[processes.SIGNAL_DEATHS],
    ),
    Fault(
        name="workers_killed",
        what="Compute workers are killed again and again, more than five times.",
        cause=process_faults.killed_workers,
        seconds=60,
        status=_MANY,
        beside=frozenset({"PoolSeatsMissing"}),
        alert="ProcessHighRestarts",
        branches=[processes.SIGNAL_DEATHS],
    ),
    Fault(
        name="port_taken",
        what="Another program has the port of the metrics when the validator starts.",
        cause=causes.taken_port,
        seconds=40,
        status=_DOWN,
        doctor=frozenset({"metrics-port"}),
        alert="MetricsAbsent",
        branches=[shared.STOPPED],
    ),
    Fault(
        name="validator_dead",
        what="The Supervisor is killed, and everything ends with it.",
        cause=process_faults.dead_validator,
        seconds=30,
        status=_DOWN,
        alert="MetricsAbsent",
        branches=[shared.STOPPED],
    ),
    Fault(
        name="engine_stopped",
        what="The IO-Engine is stopped with SIGSTOP.",
        cause=causes.stopped_once(ENGINE),
        seconds=15,
        status=frozenset({"CriticalEventLoopLag"}),
        beside=_CHAIN | _LATE | {"MetricsAbsent"},
        alert="CriticalEventLoopLag",
        branches=[shared.FROZEN],
    ),
    Fault(
        name="signer_killed",
        what="The chain signer is killed whenever it comes up.",
        cause=process_faults.killed_signer,
        seconds=60,
        status=_DOWN | _MANY,
        beside=_QUICK | _CHAIN | _LATE | {"VectorInDoubt", "PoolSeatsMissing"},
        alert="CrashLoop",
        branches=[processes.SIGNAL_DEATHS],
    ),
    Fault(
        name="hotkey_lost",
        what="The hotkey's file is moved away, and the signer must start again.",
        cause=causes.lost_hotkey,
        seconds=40,
        status=_DOWN,
        beside=_DEATHS | _CHAIN | _LATE,
        doctor=frozenset({"hotkey-file"}),
        doctor_beside=frozenset({"wallet", "registered", "hotkey-content"}),
        alert="ProcessDown",
        branches=[shared.STOPPED, shared.SIGNER_DOWN],
    ),
    Fault(
        name="postgres_killed",
        what="The embedded database server is killed.",
        cause=causes.killed_once(POSTGRES),
        seconds=20,
        status=_QUICK | _DOWN,
        beside=_DATABASE | _LATE,
        alert="ProcessRestarting",
        branches=[processes.SIGNAL_DEATHS],
    ),
)
"""Faults of a validator that has set its weights and whose calendar stands still."""

FAULTS: Final = (*IN_RUNS, *CALM)
