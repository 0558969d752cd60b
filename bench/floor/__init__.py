"""The floor: what the disk, two processes and pipes allow, with no engine at all."""
