"""Runs units of work on a cluster of Dask workers, with the same job ledger."""
