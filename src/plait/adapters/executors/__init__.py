"""Executors: inline (the calling thread), threads, warm worker processes."""
