"""Writes that the server's guards refuse, for tests of what becomes of a row that should not be there."""

from __future__ import annotations

from typing import Final

UNGUARDED: Final = "SET session_replication_role = replica"
"""Statement after which a session's writes pass the triggers; constraints still hold."""
UNGUARDED_HERE: Final = "SET LOCAL session_replication_role = replica"
"""The same until the end of the transaction."""
