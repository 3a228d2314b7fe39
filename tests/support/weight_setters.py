"""A setter of weights on a real database, with a signer and a chain that a test plays."""

from datetime import UTC, datetime

from gaia.tasks.defined_tasks.base import FoundCopies
from gaia.validator.core.weights.setting import WeightSetter
from gaia.validator.utils.config import Settings
from gaia.validator.utils.ipc_types import WeightsRead, WeightsSet
from tests.support.fakes import FakeMetagraph, a_metagraph

NOW = datetime(2026, 4, 10, tzinfo=UTC)
MINERS = ["5Best", "5Second", "5Third"]


class FakeSigner:
    """A signer and its chain; a test decides what the chain holds of us."""

    def __init__(self):
        self.signed = []
        self.failures = []
        self.promised = []
        self.held = WeightsRead(request_id=1, block=1000, last_update=0, update_hash="0xcd", pairs=[])

    async def read_weights(self):
        if isinstance(self.held, Exception):
            raise self.held
        return self.held

    async def set_weights(self, uids, weights, version_key, promised_block):
        self.signed.append(list(zip(uids, weights, strict=True)))
        self.promised.append(promised_block)
        if self.failures:
            raise self.failures.pop()
        return WeightsSet(
            request_id=1,
            block=1001,
            block_hash="0xab",
            extrinsic="1001-1",
            read_back=[[uid, value] for uid, value in zip(uids, weights, strict=True)],
        )


class FakeCopies:
    """Finds what a test says, or is not done yet."""

    def __init__(self):
        self.asked = []
        self.found = FoundCopies(pairs=(), committed={}, products=())
        self.failures = []

    async def find(self, members, earning):
        self.asked.append((members, earning))
        if self.failures:
            raise self.failures.pop()
        return self.found


class Setting:
    """A setter on a database with one scored run."""

    def __init__(self, database, **changes):
        self.database = database
        self.signer = FakeSigner()
        self.metagraph = FakeMetagraph(a_metagraph(MINERS))
        self.copies = FakeCopies()
        self.settings = Settings(burn_fraction=0.5, **changes)
        self.setter = self.successor()

    def successor(self):
        """A setter that knows what is in the database alone."""
        return WeightSetter(
            self.settings.chain,
            self.settings.weights,
            self.database,
            self.signer,
            self.metagraph,
            self.copies,
        )

    async def record_run(
        self, init_time, scores, excused=(), completed=True, rule_set="gaia-2.9", leads=None
    ):
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

    async def journal(self):
        async with self.database.transaction() as connection:
            return [dict(row) for row in await connection.fetch("SELECT * FROM weight_journal")]

    def at_block(self, block, last_update=0):
        fresh = a_metagraph(MINERS, block=block)
        own = fresh.neurons[0]
        fields = {name: getattr(own, name) for name in own.__struct_fields__}
        fresh.neurons[0] = type(own)(**fields | {"last_update": last_update})
        self.metagraph.metagraph = fresh
