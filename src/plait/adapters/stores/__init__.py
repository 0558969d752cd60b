"""Stores: where runs are kept. `open.open_store(url)` picks one."""
