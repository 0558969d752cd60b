"""The fast lane of a connection: all statements of a transaction in one message, all answers in another.

libpq's pipeline mode with named prepared statements and binary parameters, below psycopg's cursors: those cost 45 us of
CPU a statement, this 8, and a commit is one round trip. When a statement fails, the server skips the rest, COMMIT
included: so what failed was not committed.
"""

import select
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import pq

from plait.adapters.stores.postgres import arrays

Rows = list[tuple[str, ...]]
"""The rows of an answer, as text; a null is empty."""

DEALLOCATED = "26000"
"""The SQLSTATE of a prepared statement that somebody has deallocated (a pooler, for instance)."""
_WAIT_READ = select.POLLIN
_WAIT_BOTH = select.POLLIN | select.POLLOUT


class Statement(NamedTuple):
    """A statement, prepared under its name. Its parameters are arrays of these types, one for each column."""

    name: str
    text: str
    types: tuple[str, ...] = ()


class Call(NamedTuple):
    """A statement with its parameters, encoded."""

    statement: Statement
    parameters: list[bytes]


def call(statement: Statement, *columns: Sequence[Any]) -> Call:
    """A statement with a sequence of values for each of its parameters."""
    return Call(statement, arrays.encode(statement.types, columns))


def call_rows(statement: Statement, rows: Sequence[Sequence[Any]]) -> Call:
    """A statement with rows (one at least), whose columns are its parameters."""
    return Call(statement, arrays.encode(statement.types, zip(*rows, strict=True)))


class Refused(Exception):
    """A statement failed, and nothing after it was carried out."""

    def __init__(self, statement: Statement, sqlstate: str, text: str):
        super().__init__(text)
        self.statement, self.sqlstate = statement, sqlstate


class Broken(Exception):
    """The connection broke. `unknown`: all was sent, so the last statement may have been carried out."""

    def __init__(self, text: str, *, unknown: bool):
        super().__init__(text)
        self.unknown = unknown


class Pipeline:
    """Sends statements on a connection, by one thread at a time. `clean` is false after an interrupt in the middle, or
    when prepared statements are gone: then the connection is of no use any more."""

    def __init__(self, connection: psycopg.Connection[Any]):
        self._pg = connection.pgconn
        self._prepared: set[str] = set()
        self._poll = select.poll()
        self._poll.register(self._pg.socket, _WAIT_READ)
        self.clean = True

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, or has failed and waits for its ROLLBACK."""
        return self._pg.transaction_status != pq.TransactionStatus.IDLE

    @property
    def is_busy(self) -> bool:
        """Whether the server is still at what it was sent."""
        return self._pg.transaction_status == pq.TransactionStatus.ACTIVE

    def is_alive(self) -> bool:
        """Whether the connection is there, as far as the server has told: it says so when it shuts down."""
        try:
            while self.clean and self._pg.status == pq.ConnStatus.OK and self._poll.poll(0):
                self._pg.consume_input()
        except psycopg.OperationalError:
            return False
        return self.clean and self._pg.status == pq.ConnStatus.OK

    def run(self, calls: Sequence[Call]) -> list[Rows]:
        """Carry these out, one after the other; returns the rows of each. Raises `Refused` or `Broken`."""
        self.clean = False
        sent: list[Statement] = []
        results: list[pq.abc.PGresult] = []
        all_sent = False
        try:
            self._pg.enter_pipeline_mode()
            for each in calls:
                sent += self._send(each)
            all_sent = True
            self._pg.pipeline_sync()
            self._flush()
            results.extend(self._result() for _ in sent)
            self._result()  # that of the sync
            self._pg.exit_pipeline_mode()
        except psycopg.OperationalError as error:
            failed = any(result.status == pq.ExecStatus.FATAL_ERROR for result in results)
            raise Broken(str(error), unknown=all_sent and not failed) from error
        self.clean = True
        return self._answers(sent, results)

    def _send(self, each: Call) -> list[Statement]:
        """Send one; returns a statement for each answer that will come, without text for one that prepares."""
        (name, text, types), parameters = each
        sent = [each.statement]
        if name not in self._prepared:
            self._pg.send_prepare(name.encode(), text.encode())
            sent.insert(0, Statement(name, "", types))
        self._pg.send_query_prepared(name.encode(), parameters, [pq.Format.BINARY] * len(parameters))
        self._prepared.add(name)
        return sent

    def _flush(self) -> None:
        while self._pg.flush():
            self._poll.modify(self._pg.socket, _WAIT_BOTH)
            try:
                ready = self._poll.poll()
            finally:
                self._poll.modify(self._pg.socket, _WAIT_READ)
            if any(event != select.POLLOUT for _, event in ready):
                self._pg.consume_input()

    def _result(self) -> pq.abc.PGresult:
        """The next answer, with the end mark behind it (a sync has none)."""
        result = self._next()
        if result is None:
            raise psycopg.OperationalError(self._pg.get_error_message())
        if result.status != pq.ExecStatus.PIPELINE_SYNC:
            self._next()
        return result

    def _next(self) -> pq.abc.PGresult | None:
        while self._pg.is_busy():
            self._poll.poll()
            self._pg.consume_input()
        return self._pg.get_result()

    def _answers(self, sent: list[Statement], results: list[pq.abc.PGresult]) -> list[Rows]:
        answers: list[Rows] = []
        refused: Refused | None = None
        for statement, result in zip(sent, results, strict=True):
            if not statement.text and result.status != pq.ExecStatus.COMMAND_OK:
                self._prepared.discard(statement.name)
            if refused is None and result.status == pq.ExecStatus.FATAL_ERROR:
                state = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
                refused = Refused(statement, state.decode(), result.get_error_message())
                self.clean = refused.sqlstate != DEALLOCATED
            elif statement.text:
                answers.append(_rows(result))
        if refused is not None:
            raise refused
        return answers


def _rows(result: pq.abc.PGresult) -> Rows:
    columns = range(result.nfields)
    return [
        tuple((result.get_value(row, column) or b"").decode() for column in columns) for row in range(result.ntuples)
    ]
