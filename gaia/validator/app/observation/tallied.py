"""Shows what deeper code counts, and what the signer tells, without knowledge of metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from gaia.tasks.defined_tasks.weather.forecasts.faults import VERIFICATION_FAILURES
from gaia.tasks.defined_tasks.weather.sources.transfer import RECEIVED_BYTES as FROM_SOURCES
from gaia.validator.app.logging_config import lines_logged
from gaia.validator.app.observation.registry import REGISTRY
from gaia.validator.core.background.notifier import NOTIFICATIONS
from gaia.validator.core.miners.http import MINERS_TALLY, RECEIVED_BYTES, TIMEOUTS
from gaia.validator.core.weights.committing import COMMITS
from gaia.validator.core.weights.setting import REFUSALS, SUBMISSIONS
from gaia.validator.db.connection import TRANSACTION_SECONDS
from gaia.validator.db.failures import FAILURES
from gaia.validator.utils.borders import UNFORESEEN
from gaia.validator.utils.signer_messages import NodeState

if TYPE_CHECKING:
    from prometheus_client import Metric

    from gaia.validator.utils.tallies import Durations


class _Tallied(NamedTuple):
    """A counter whose totals are elsewhere."""

    name: str
    meaning: str
    label: str
    """Name of its label; "" for none."""
    totals: Callable[[], Iterable[tuple[str, float]]]
    """Returns (label value, total) of each series."""


def _from_miners(key: str) -> Callable[[], Iterable[tuple[str, float]]]:
    return lambda: [entry for entry in MINERS_TALLY.items() if entry[0] == key]


_COUNTERS: Final[Sequence[_Tallied]] = (
    _Tallied(
        "gaia_db_failures_total",
        "Transactions that failed through the database, by kind of failure.",
        "kind",
        FAILURES.items,
    ),
    _Tallied(
        "gaia_verification_failures_total",
        "Forecasts rejected, and leads forfeited, through a fault of the miner, by reason.",
        "reason",
        VERIFICATION_FAILURES.items,
    ),
    _Tallied(
        "gaia_miner_received_bytes_total",
        "Bytes of bodies received from miners, whether they were of use or not.",
        "",
        _from_miners(RECEIVED_BYTES),
    ),
    _Tallied(
        "gaia_miner_communication_timeouts_total",
        "Exchanges with miners that were given up because the miner was too slow.",
        "",
        _from_miners(TIMEOUTS),
    ),
    _Tallied(
        "gaia_source_received_bytes_total",
        "Bytes of bodies received from data sources, whether they were of use or not.",
        "source",
        FROM_SOURCES.items,
    ),
    _Tallied(
        "gaia_weights_submissions_total",
        "Attempts to set weights, by outcome: held means not computable yet; refused, by our signer; unknown, in doubt.",
        "outcome",
        SUBMISSIONS.items,
    ),
    _Tallied(
        "gaia_weights_refusals_total",
        "Attempts to set weights that the chain refused, or would have refused, by who must act.",
        "cause",
        REFUSALS.items,
    ),
    _Tallied(
        "gaia_weights_commits_total",
        "Sealed weight vectors whose reveal is over, by outcome: lost means that the chain did not reveal it.",
        "outcome",
        COMMITS.items,
    ),
    _Tallied(
        "gaia_notifications_total",
        "Messages to the operator, once for each address, by outcome.",
        "outcome",
        NOTIFICATIONS.items,
    ),
    _Tallied(
        "gaia_log_lines_total",
        "Log lines of the IO-Engine, by level.",
        "level",
        lambda: lines_logged().items(),
    ),
    _Tallied(
        "gaia_unforeseen_errors_total",
        "Unexpected exceptions in the IO-Engine, by the party involved.",
        "party",
        UNFORESEEN.items,
    ),
)


class _Tallies(Collector):
    """Collects the tallies at each exposition."""

    def collect(self) -> Iterator[Metric]:
        for tallied in _COUNTERS:
            family = CounterMetricFamily(
                tallied.name, tallied.meaning, labels=[tallied.label] if tallied.label else []
            )
            for value, total in tallied.totals():
                family.add_metric([value] if tallied.label else [], total)
            yield family
        yield _histogram(
            "gaia_db_transaction_seconds",
            "Seconds of a transaction, with the wait for a connection.",
            TRANSACTION_SECONDS,
        )


def _histogram(name: str, meaning: str, durations: Durations) -> Metric:
    buckets = [
        ("+Inf" if bound == float("inf") else str(bound), float(count))
        for bound, count in durations.buckets()
    ]
    return HistogramMetricFamily(name, meaning, buckets, sum_value=durations.sum_s)


class TellsNodes(Protocol):
    """Knows how the nodes of the chain do."""

    async def read_nodes(self) -> Sequence[NodeState]: ...


class ChainNodes(Collector):
    """Shows the nodes as they were last told."""

    def __init__(self) -> None:
        self._states: Sequence[NodeState] = ()

    def expect(self, names: Iterable[str]) -> None:
        """Show these nodes as silent and believed, until the signer tells how they do."""
        self._states = [
            NodeState(name=name, block=0, is_up=False, is_trusted=True, contradictions=0, problem="")
            for name in names
        ]

    async def look(self, signer: TellsNodes) -> None:
        """Ask how the nodes do.

        Raises
        ------
        OwnFailure
            If the signer does not answer; the states stay as they were.
        """
        self._states = await signer.read_nodes()

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "gaia_chain_node_state",
            "Node of the chain: 2 answers and is believed, 1 answers but contradicted most nodes, 0 is silent.",
            labels=["node"],
        )
        for state in self._states:
            family.add_metric([state.name], float(state.is_up) + float(state.is_up and state.is_trusted))
        yield family


CHAIN_NODES: Final = ChainNodes()

REGISTRY.register(_Tallies())
REGISTRY.register(CHAIN_NODES)
