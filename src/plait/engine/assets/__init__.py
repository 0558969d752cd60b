"""Decisions about assets: what a run makes of them, what is selected, stale, fresh."""
