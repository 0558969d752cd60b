"""Which assets are to be made now, by their conditions, and why."""
