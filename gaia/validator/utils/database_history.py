"""Payload of the unit that draws the history of the database; its two sides share nothing else."""

from __future__ import annotations

import msgspec

HANDLER = "database.draw_history"
"""Name of the handler; a worker imports it on its first use, because it loads a drawing library."""

CACHE = "matplotlib"
"""Folder of the drawing library's own files, below the data folder."""


class DatabaseSample(msgspec.Struct, frozen=True, kw_only=True):
    """The database at one moment."""

    at: float
    """Unix seconds."""
    active: int
    idle: int
    waiting: int
    answer_s: float
    longest_transaction_s: float
    size_bytes: int
    transactions: int
    """Commits and rollbacks since the server's statistics began."""
    blocks_hit: int
    blocks_read: int


class MemorySample(msgspec.Struct, frozen=True, kw_only=True):
    """Private memory of the processes of one role, at one moment."""

    at: float
    private_bytes: int


class DrawDatabaseHistory(msgspec.Struct, frozen=True, kw_only=True):
    """Draw the history of the database and of the memory to one PNG."""

    cache_dir: str
    """Folder in which the drawing library may keep its files."""
    samples: list[DatabaseSample]
    """Oldest first."""
    memory: dict[str, list[MemorySample]]
    """Role -> its samples, oldest first."""
