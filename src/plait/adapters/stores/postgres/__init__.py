"""The store on a PostgreSQL server. See docs/decisions/0008-postgres-store.md."""
