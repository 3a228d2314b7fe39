"""What the benchmark "scoring" measures, and with which fields."""
