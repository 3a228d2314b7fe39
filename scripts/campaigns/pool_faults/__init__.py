"""Campaign on the pool: processes are killed while units run, and all answers are checked at the end."""
