"""Implementations of the ports: stores, executors, results, logs, bus."""
