"""Gaia: a validator and a reference miner for the weather-forecasting subnet."""

__version__ = "4.0.0"
