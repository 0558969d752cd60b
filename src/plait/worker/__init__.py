"""Where user code runs: loading definitions, running one execution. No SQL, no scheduling."""
