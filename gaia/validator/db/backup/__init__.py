"""Backups: what is in one, how it is made, compared and restored."""
