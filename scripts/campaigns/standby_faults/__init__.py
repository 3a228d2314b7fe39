"""Two validators on one database, of which the active one is paused and killed."""
