"""The embedded store: one SQLite file, WAL, one durable transaction per batch."""
