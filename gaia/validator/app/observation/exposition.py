"""The metrics that the Supervisor knows, in Prometheus' text format, written without a library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gaia.validator.app.observation.family import ROLES, Accounts, Family
from gaia.validator.app.supervision import Role

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Metric:
    name: str
    kind: str
    meaning: str
    samples: Iterable[tuple[Labels, float]]

    def lines(self) -> Iterable[str]:
        yield f"# HELP {self.name} {self.meaning}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in self.samples:
            shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
            yield f"{self.name}{{{shown}}} {value:.15g}"


def exposition(build: Labels, family: Family, accounts: Accounts) -> bytes:
    """Return the Supervisor's metrics: the same names and labels whoever lives.

    Parameters
    ----------
    build
        Labels of ``gaia_build_info``.
    """
    metrics = (
        _Metric("gaia_build_info", "gauge", "What runs: always 1.", [(build, 1)]),
        _Metric("gaia_child_up", "gauge", "Living processes of a role.", _by_role(ROLES, accounts.processes)),
        _Metric(
            "gaia_child_process_restarts_total",
            "counter",
            "Restarts of child processes, by role.",
            _by_role([str(role) for role in Role], family.restarts),
        ),
        _Metric(
            "gaia_process_memory_rss_bytes",
            "gauge",
            "Resident memory, summed over the processes of a role; shared pages count for each.",
            _by_role(ROLES, accounts.rss_bytes),
        ),
        _Metric(
            "gaia_process_cpu_seconds_total",
            "counter",
            "CPU seconds of all processes that a role ever had.",
            _by_role(ROLES, accounts.cpu_seconds()),
        ),
    )
    return "".join(f"{line}\n" for metric in metrics for line in metric.lines()).encode()


def _by_role(
    roles: Iterable[str], values: Mapping[str, int] | Mapping[str, float]
) -> list[tuple[Labels, float]]:
    return [({"role": role}, values.get(role, 0)) for role in roles]


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
