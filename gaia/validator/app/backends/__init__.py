"""Units of work on a cluster of Dask workers: a second set of hands for the job ledger."""
