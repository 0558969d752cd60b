"""Benchmarks: one module each, run by `python -m bench [NAME ...]`. Results go to `bench/results/` as JSON, and as a
table."""
