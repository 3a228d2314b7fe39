"""Every measure written out as a formula, for people to read and for the validator to be held against."""
