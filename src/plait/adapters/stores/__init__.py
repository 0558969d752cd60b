"""Stores: where runs, task runs, events, limits, leases and the inbox lie. `open.py` opens one by its URL."""
