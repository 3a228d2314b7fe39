"""Program of a lane's Supervisor: the real one, with the engine of the campaign."""

from __future__ import annotations

import json
import os
import pickle
import sys


def supervise() -> None:
    """Run the Supervisor of a lane, as the environment describes it."""
    from gaia.validator.app.logging_config import configure_logging
    from gaia.validator.app.supervision import Role
    from gaia.validator.app.supervisor import TARGETS, Options, Supervisor
    from gaia.validator.utils.machine.parent_death import die_with_parent

    die_with_parent(os.getppid())
    options, settings = json.loads(os.environ["POOL_CHAOS"])
    targets = {
        Role.ENGINE: "campaigns.pool_faults.engine:run_chaos_engine",
        Role.WORKER: TARGETS[Role.WORKER],
    }
    configure_logging("INFO", "json", role="supervisor")
    sealed = pickle.dumps(settings)
    sys.exit(Supervisor(Options(**options, settings=sealed, signer_settings=sealed), targets).run())
