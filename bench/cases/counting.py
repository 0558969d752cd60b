"""Counting what goes to a SQLite database."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock


class Counts:
    """Statements by their first word, and rows of task runs that are written, on all connections opened meanwhile."""

    def __init__(self) -> None:
        self.statements: Counter[str] = Counter()
        self.task_rows = 0

    def note(self, statement: str) -> None:
        """A statement is executed (each row of an `executemany` is one)."""
        self.statements[statement.split(None, 1)[0].upper()] += 1
        self.task_rows += statement.startswith("INSERT INTO tasks")

    @property
    def transactions(self) -> int:
        """Transactions that were committed."""
        return self.statements["COMMIT"]

    @property
    def queries(self) -> int:
        """All statements but those that begin and end transactions."""
        return self.statements.total() - sum(self.statements[word] for word in ("BEGIN", "COMMIT", "ROLLBACK"))


@contextmanager
def counting() -> Iterator[Counts]:
    """Count on every connection that this process opens in the block, as long as the connection lives."""
    counts = Counts()

    class Counted(sqlite3.Connection):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **kwargs)
            self.set_trace_callback(counts.note)

    with mock.patch.object(sqlite3, "connect", partial(sqlite3.connect, factory=Counted)):
        yield counts
