"""Where units of work may run, and the queue they wait in: protocols and their implementations."""
