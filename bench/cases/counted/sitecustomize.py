"""Counts the queries that a process sends to SQLite, for whoever starts it with this folder on PYTHONPATH: statements
but for those that begin and end transactions.

Every half second each of `plait scheduler` and `plait worker` writes how many there were so far to
`$PLAIT_BENCH_COUNTS/PID`. Their zygotes and helpers are left alone: those have to have no threads.
"""

import os
import sqlite3
import sys
import threading
import time
from functools import partial
from pathlib import Path


def _count() -> None:
    folder = Path(os.environ["PLAIT_BENCH_COUNTS"])
    seen = [0]

    def note(statement: str) -> None:
        seen[0] += not statement.startswith(("BEGIN", "COMMIT", "ROLLBACK"))

    class Counted(sqlite3.Connection):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.set_trace_callback(note)

    def write() -> None:
        while True:
            (folder / str(os.getpid())).write_text(str(seen[0]))
            time.sleep(0.5)

    sqlite3.connect = partial(sqlite3.connect, factory=Counted)
    threading.Thread(target=write, daemon=True).start()


if "PLAIT_BENCH_COUNTS" in os.environ and sys.orig_argv[1:3] == ["-m", "plait"] and "dev" not in sys.orig_argv:
    _count()
