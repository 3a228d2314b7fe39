"""Peers of the compute pool, each measured in a process of its own."""
