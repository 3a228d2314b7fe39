"""Chaos: units flow through the real pool while everything in it is killed; then the books are checked."""
