"""Hosts of other releases, users, mounts, limits and environments."""
