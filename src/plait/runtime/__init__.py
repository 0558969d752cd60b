"""The shells around the engine: scheduler, sessions, leases. No user code runs in here except a session's own flow
bodies."""
