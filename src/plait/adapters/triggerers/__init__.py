"""Where the triggers of user code are awaited: in a process of their own, or in a thread of this one."""
