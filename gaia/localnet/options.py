"""Options of a local subnet: its size, its calendar, and the resulting settings of the validator."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
from pydantic import SecretStr

from gaia.localnet.chain.beacon import KNOWN_ROUND
from gaia.localnet.population import DEFAULT_SIZE, Behaviour
from gaia.tasks.defined_tasks.weather.variables import SURFACE_FIELDS
from gaia.validator.utils.config import PREFIX, Settings, shown, variable_of

FIRST_INIT_TIME = datetime(2026, 3, 25, tzinfo=UTC)
"""Initial time of the first run."""
NETUID = 57
WALLET_NAME = "validator"
WALLET_HOTKEY = "default"
VALIDATOR_STAKE = 100_000.0
MINER_TIMEOUT_S = 3.0
"""Limit of one exchange with a miner, on a machine that nobody else uses."""
BLOCK_TIME_S = 0.25
TEMPO = 24
"""Blocks of an epoch. Weights are signed in its first 17, because their extrinsic must not outlive it."""
WEIGHTS_RATE_LIMIT = 2
WEIGHTS_INTERVAL_BLOCKS = 5
_MOST_SLOWNESS = 5.0
_HORIZON = timedelta(hours=240)
_ERA5_DELAY = timedelta(days=5, hours=6)
_MARGIN = timedelta(hours=12)
_REPOSITORY = Path(__file__).resolve().parents[2]
# Variables that a child may inherit: none that could change the validator's settings.
_INHERITED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TERM", "SYSTEMROOT", "LD_LIBRARY_PATH")
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLOSC_NTHREADS", "NUMEXPR_NUM_THREADS"), "1"
)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Choices of the user, stored in the state folder for the subnet's processes."""

    miners: int = DEFAULT_SIZE
    days: int = 1
    grid: Literal["0.25", "1.0"] = "1.0"
    seed: int = 0
    rule_set: Literal["gaia-2.9", "gaia-next"] = "gaia-2.9"
    recast: dict[int, Behaviour] = {}
    """Index of a miner -> behaviour that replaces the population's."""
    metrics_port: int = 0
    """Port on which the validator serves its metrics on loopback; 0: none."""
    commit_reveal: bool = False
    """Whether the chain takes weights only sealed."""
    has_pulses: bool = True
    """Whether the chain gets the beacon's pulses; without them it reveals nothing."""
    nodes: int = 1
    """Nodes through which the validator reads the chain."""
    lying_nodes: int = 0
    """Number of these, the last ones, that tell other weights of the validator than the chain has."""

    peers: int = 0
    """Other validators, each with as much stake as ours, who vote as ours did."""
    peers_turn_after: int = 0
    """Epochs after which they vote against it; 0: never."""

    @property
    def last_init_time(self) -> datetime:
        return FIRST_INIT_TIME + timedelta(days=self.days - 1)

    @property
    def clock_start(self) -> datetime:
        """Simulated time at the start: a minute before the first run opens."""
        return FIRST_INIT_TIME + timedelta(hours=17, minutes=59)

    @property
    def clock_end(self) -> datetime:
        """Simulated time at the end: hours after ERA5 for the last lead of the last run is due."""
        return self.last_init_time + _HORIZON + _ERA5_DELAY + _MARGIN

    def save(self, state_dir: Path) -> None:
        (state_dir / "options.json").write_bytes(msgspec.json.encode(self))

    @classmethod
    def load(cls, state_dir: Path) -> Options:
        return msgspec.json.decode((state_dir / "options.json").read_bytes(), type=cls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Addresses of the services of a local subnet."""

    chain: str
    more_of_chain: list[str] = field(default_factory=list)
    """Further nodes of the chain."""
    gfs: str
    cds: str
    cds_key: str
    climatology: str


def clock_file(state_dir: Path) -> Path:
    """Return the file of the simulated clock."""
    return state_dir / "clock.json"


def data_dir(state_dir: Path) -> Path:
    """Return the validator's data folder."""
    return state_dir / "validator"


def wallet_dir(state_dir: Path) -> Path:
    """Return the folder of the wallets."""
    return state_dir / "wallets"


def validator_settings(state_dir: Path, options: Options, addresses: Addresses) -> Settings:
    """Return the settings of the validator: real rules, but local addresses and short intervals."""
    return Settings(
        netuid=NETUID,
        chain_endpoint=addresses.chain,
        chain_more_endpoints=addresses.more_of_chain,
        chain_timeout_s=20.0,
        metagraph_interval_s=1.0,
        wallet_name=WALLET_NAME,
        wallet_hotkey=WALLET_HOTKEY,
        wallet_path=wallet_dir(state_dir),
        weights_interval_blocks=WEIGHTS_INTERVAL_BLOCKS,
        rule_set=options.rule_set,
        data_dir=data_dir(state_dir),
        data_min_free_mib=64,
        keep_inputs_days=365.0,
        backup_every_hours=0.0,
        last_run=options.last_init_time,
        run_jitter_minutes=0.0,
        tick_interval_s=0.1,
        clock_file=clock_file(state_dir),
        grid_degrees=options.grid,
        day1_fields=list(SURFACE_FIELDS),
        final_fields=list(SURFACE_FIELDS),
        beacon_round=KNOWN_ROUND,
        miner_timeout_s=MINER_TIMEOUT_S * slowness_of(os.getloadavg()[0], os.cpu_count() or 1),
        miner_query_retry_minutes=[15.0],
        allow_private_miners=True,
        gfs_url=addresses.gfs,
        cds_url=addresses.cds,
        cds_key=SecretStr(addresses.cds_key),
        climatology_url=addresses.climatology,
        source_timeout_s=20.0,
        metrics_port=options.metrics_port,
    )


def slowness_of(load: float, cores: int) -> float:
    """Return how many times longer a miner may take, so that no miner fails because others use the processor.

    >>> slowness_of(3.0, 2), slowness_of(8.0, 2), slowness_of(40.0, 2)
    (1.0, 3.0, 5.0)
    """
    return min(max(load / cores - 1.0, 1.0), _MOST_SLOWNESS)


def validator_environment(state_dir: Path, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment from which the validator reads exactly `values`, given by setting."""
    chosen = {variable_of(name): _revealed(value) for name, value in sorted(values.items())}
    return process_environment(state_dir) | chosen


def process_environment(state_dir: Path, source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an environment with its own home folder and without the user's settings."""
    home = state_dir / "home"
    home.mkdir(parents=True, exist_ok=True)
    inherited = {
        name: value
        for name, value in source.items()
        if not name.startswith(PREFIX) and (name in _INHERITED or name.startswith(("COV_", "COVERAGE_")))
    }
    paths = [str(_REPOSITORY), *filter(None, [source.get("PYTHONPATH")])]
    return inherited | _ONE_THREAD | {"HOME": str(home), "PYTHONPATH": os.pathsep.join(paths)}


def _revealed(value: Any) -> str:
    """Return a value as a process reads it, with what is secret in it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join(map(_revealed, value))
    return value.get_secret_value() if hasattr(value, "get_secret_value") else shown(value)
