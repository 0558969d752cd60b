"""Parts alone: a store, the executors, results. Each is a command: `python -m bench.parts.store`, `.executors`,
`.results`."""
