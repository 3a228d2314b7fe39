"""The schema: numbered migrations, what a database has of them, and how they are applied and taken back."""
