"""Restores of random moments of a validator's life."""
