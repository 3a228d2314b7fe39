"""What bench_scoring.py measures, and with which fields."""
