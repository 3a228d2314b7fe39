"""Faults of a validator's own things while a whole local subnet works, and what became of the miners' scores."""
