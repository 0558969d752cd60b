"""Use cases that the command line and the API share: read models of runs, requests to whoever owns a run. No user code,
no adapters."""
