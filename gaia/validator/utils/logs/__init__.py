"""What is bound to log lines, where they go, and which are withheld."""
