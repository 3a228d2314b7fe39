"""Faults of a validator's own parts in a whole local subnet, and their effect on the miners' scores."""
