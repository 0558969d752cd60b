"""Worker processes (`plait worker`) and their schedulers: the hub of a scheduler, the agent that connects to it."""
