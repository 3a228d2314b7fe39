"""Programs that check the validator and share no code with it."""
