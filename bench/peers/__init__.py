"""Other engines, running the same work."""
