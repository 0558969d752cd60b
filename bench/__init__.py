"""Benchmarks. `python -m bench` runs the floor and every case; see `bench/__main__.py` for the rest. Results go to
`bench/results/` as JSON, and are printed as tables."""
