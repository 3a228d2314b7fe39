"""Parts of the benchmarks of the database."""
