"""Inputs and peers of the benchmark "scoring"."""
