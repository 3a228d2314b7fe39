"""A deck of faults for one long life of a validator."""
