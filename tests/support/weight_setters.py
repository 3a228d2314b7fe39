"""A setter of weights on a real database, with a signer and a chain that a test plays."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gaia.tasks.defined_tasks.base import FoundCopies
from gaia.validator.core.weights.setting import WeightSetter
from gaia.validator.db import history
from gaia.validator.db.connection import Database
from gaia.validator.db.rows import IncidentRow
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.signer_messages import (
    CommitAsked,
    CommitsRead,
    JournalledVector,
    SealedWeights,
    WeightsCommitted,
    WeightsRead,
    WeightsSet,
)
from tests.support.fakes import FakeMetagraph, a_metagraph

NOW = datetime(2026, 4, 10, tzinfo=UTC)
MINERS = ["5Best", "5Second", "5Third"]


class FakeSigner:
    """A signer and its chain; a test decides what the chain holds of us."""

    def __init__(self) -> None:
        self.signed: list[list[tuple[int, int]]] = []
        self.vectors: list[JournalledVector] = []
        self.paid: list[list[str]] = []
        """Hotkeys that each of these vectors was computed for."""
        self.failures: list[Exception] = []
        self.promised: list[int | None] = []
        self.held: WeightsRead | Exception = WeightsRead(
            request_id=1, block=1000, last_update=0, update_hash="0xcd", pairs=[]
        )
        self.epoch = 10
        self.reveal_round = 10**12
        """Round of the beacon for which vectors are sealed; far away."""
        self.sealed = 0
        """Number of vectors that were sealed."""
        self.committed: list[SealedWeights] = []
        self.asked: list[list[CommitAsked]] = []
        self.commits: CommitsRead | Exception = TransientError("no answer")
        self.foreign: list[Exception] = []
        """What it says of the next updates on chain; then all are its own."""
        self.checks = 0
        self.checked_block = 10**9
        """Block in which it reads the chain to say so."""

    async def read_weights(self) -> WeightsRead:
        if isinstance(self.held, Exception):
            raise self.held
        return self.held

    async def check_update(self) -> int:
        self.checks += 1
        if self.foreign:
            raise self.foreign.pop(0)
        return self.checked_block

    async def seal_weights(self, vector: JournalledVector) -> SealedWeights:
        if vector.epoch != self.epoch:
            raise TransientError(f"the chain is in epoch {self.epoch}")
        self.sealed += 1
        content = json.dumps([self.sealed, vector.uids, vector.weights, vector.version_key]).encode()
        return SealedWeights(
            ciphertext=content,
            reveal_round=self.reveal_round,
            epoch=vector.epoch,
            reveal_epoch=vector.epoch + 1,
        )

    async def commit_weights(self, vector: JournalledVector, sealed: SealedWeights) -> WeightsCommitted:
        self.committed.append(sealed)
        if self.failures:
            raise self.failures.pop()
        return WeightsCommitted(request_id=1, block=1001, block_hash="0xab", extrinsic="1001-1")

    async def read_commits(self, commits: Sequence[CommitAsked]) -> CommitsRead:
        self.asked.append(list(commits))
        if isinstance(self.commits, Exception):
            raise self.commits
        return self.commits

    async def set_weights(self, vector: JournalledVector, promised_block: int | None) -> WeightsSet:
        pairs = list(zip(vector.uids, vector.weights, strict=True))
        self.signed.append(pairs)
        self.vectors.append(vector)
        self.paid.append(list(vector.hotkeys))
        self.promised.append(promised_block)
        if self.failures:
            raise self.failures.pop()
        return WeightsSet(
            request_id=1,
            block=1001,
            block_hash="0xab",
            extrinsic="1001-1",
            read_back=[list(pair) for pair in pairs],
        )


class FakeCopies:
    """Finds what a test says, or is not done yet."""

    def __init__(self) -> None:
        self.asked: list[tuple[Mapping[str, Collection[str]], Sequence[str]]] = []
        self.found = FoundCopies(pairs=(), committed={}, products=())
        self.failures: list[Exception] = []

    async def find(
        self,
        members: Mapping[str, Collection[str]],
        earning: Sequence[str],
        renamed: Mapping[str, Mapping[str, str]],
    ) -> FoundCopies:
        self.asked.append((members, earning))
        if self.failures:
            raise self.failures.pop()
        return self.found


class FakeConsensus:
    """Notes the vectors that it is asked about."""

    def __init__(self) -> None:
        self.judged: list[list[list[int]]] = []

    async def judge(self, vector: Sequence[Sequence[int]], now: datetime) -> None:
        self.judged.append([list(pair) for pair in vector])


class Setting:
    """A setter on a database with one scored run."""

    def __init__(self, database: Database, **changes: Any) -> None:
        self.database = database
        self.signer = FakeSigner()
        self.metagraph = FakeMetagraph(a_metagraph(MINERS))
        self.copies = FakeCopies()
        self.consensus = FakeConsensus()
        self.settings = Settings(burn_fraction=0.5, **changes)
        self.setter = self.successor()

    def successor(self) -> WeightSetter:
        """A setter that knows what is in the database alone."""
        return WeightSetter(
            self.settings.chain,
            self.settings.weights,
            self.database,
            self.signer,
            self.metagraph,
            self.copies,
            consensus=self.consensus,
        )

    async def record_run(
        self,
        init_time: datetime,
        scores: Mapping[str, float],
        excused: Collection[str] = (),
        completed: bool = True,
        rule_set: str = "gaia-2.9",
        leads: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        run_id = f"{init_time:%Y-%m-%d}"
        async with self.database.transaction() as connection:
            await connection.execute(
                "INSERT INTO runs (run_id, init_time, rule_set, opened_at, state, completed_at)"
                " VALUES ($1, $2::timestamptz, $4, $2, $3::text, CASE $3 WHEN 'completed' THEN $2 END)",
                run_id,
                init_time,
                "completed" if completed else "open",
                rule_set,
            )
            for uid, (hotkey, overall) in enumerate(scores.items(), start=1):
                await connection.execute(
                    "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, opened_at, next_at, changed_at,"
                    " state, reason, manifest) VALUES ($1, $2, $3::int, $3::int, $4, $4, $4, $5, 'none', '')",
                    run_id,
                    hotkey,
                    uid,
                    init_time,
                    "excused" if hotkey in excused else "scored",
                )
                await connection.execute(
                    "INSERT INTO score_table (run_id, hotkey, rule_set, leads, overall, counted, updated_at)"
                    " VALUES ($1, $2, $6, $7, $3, $4, $5)",
                    run_id,
                    hotkey,
                    overall,
                    hotkey not in excused,
                    init_time,
                    rule_set,
                    (leads or {}).get(hotkey, {}),
                )

    async def journal(self) -> list[dict[str, Any]]:
        async with self.database.transaction() as connection:
            return [dict(row) for row in await connection.fetch("SELECT * FROM weight_journal")]

    async def incidents(self) -> list[IncidentRow]:
        """Open incidents."""
        async with self.database.transaction() as connection:
            return await history.incidents(connection)

    def at_block(self, block: int, last_update: int = 0) -> None:
        fresh = a_metagraph(MINERS, block=block)
        own = fresh.neurons[0]
        fields = {name: getattr(own, name) for name in own.__struct_fields__}
        fresh.neurons[0] = type(own)(**fields | {"last_update": last_update})
        self.metagraph.metagraph = fresh
