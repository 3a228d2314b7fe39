"""Parts of the benchmark of resuming."""
