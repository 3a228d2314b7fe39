"""Modules that one process names to another as text; no other file may name a module of ours as text.

A module named as text is imported only in the process that needs it. Import rules cannot see such names,
so a test imports each entry of this table.
"""

from __future__ import annotations

VALIDATOR = "gaia.validator.validator"
"""Program: reads the settings, then becomes the Supervisor."""
SUPERVISOR = "gaia.validator.app"
"""Program: the Supervisor, with options that are already read."""
RELOAD = "gaia.validator.app.startup.reload"
"""Program: reads the settings again for a running Supervisor."""

IO_ENGINE = "gaia.validator.app.io_engine:run_io_engine"
SIGNER = "gaia.validator.app.chain_signer:run_chain_signer"
COMPUTE_WORKER = "gaia.validator.app.compute_worker:run_compute_worker"
"""Function that a child process runs, imported in that child alone."""

FORK_SERVER = "gaia.validator.app.children.preload"
"""Module that the fork server imports before it forks compute workers."""
HANDLERS = "gaia.tasks.defined_tasks.weather.validator.handlers"
"""Module whose `HANDLERS` maps the name of a handler to its function."""
DATABASE_PICTURE = "gaia.cli.pictures.database:draw_history"
"""Handler that loads a drawing library; only the worker that draws imports it."""

LOCALNET_SERVICES = "gaia.localnet.services"
"""Program: one service of the local subnet."""
LOCALNET_TETHER = "gaia.localnet.tether"
"""Program: runs a command that ends when the local subnet does."""
