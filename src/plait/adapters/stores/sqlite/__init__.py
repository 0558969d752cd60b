"""The store in one SQLite file. See docs/decisions/0003-sqlite-store.md."""
