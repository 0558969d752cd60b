"""The connections of a store: one that writes, a few that read, and what happens when the server goes away.

A connection that the server has ended is replaced, and what was not carried out is done again: reading, and writing as
long as COMMIT had not been sent. Where it had, nobody knows whether it was carried out, and the caller is told so.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from plait.adapters.stores.postgres import batches
from plait.adapters.stores.postgres.failures import GONE, RETRIED, state_of, told
from plait.adapters.stores.postgres.pipeline import Broken, Call, Pipeline, Refused, Rows, call
from plait.adapters.stores.postgres.server import Connection, Server, patiently
from plait.model.errors import StoreError

Result = TypeVar("Result")

READERS = 8
"""Connections that read at the same time, at most."""
TRIES = 5
"""How often something is begun anew because its connection broke, or others were in the way."""


def pause(left: int) -> None:
    """Let the others go first; not for the same time in every process."""
    jitter = (time.perf_counter_ns() >> 6) % 1024 / 1024
    time.sleep(0.001 * (TRIES - left) * (0.5 + jitter))


def is_lost(connection: Connection, error: psycopg.Error) -> bool:
    """Whether the connection is of no use any more."""
    return connection.closed or connection.broken or state_of(error) in GONE


class Readers:
    """A few connections that only read, opened on demand, shared by all threads."""

    def __init__(self, server: Server):
        self._server = server
        self._idle: list[Connection] = []
        self._turns = threading.BoundedSemaphore(READERS)
        self._closed = False

    def ask(self, act: Callable[[Connection], Result]) -> Result:
        """Read something, again on a new connection if the old one breaks. What PostgreSQL complains of comes out as
        StoreError."""
        with self._turns:
            for left in reversed(range(TRIES)):
                connection = self._take()
                try:
                    result = act(connection)
                except psycopg.Error as error:
                    lost = is_lost(connection, error)
                    self._put_aside(connection)
                    if not (lost and left):
                        raise told(error, self._server.shown) from error
                    self._close_idle()  # they are of the same server
                except BaseException:
                    connection.close()
                    raise
                else:
                    self._put_aside(connection)
                    return result
        raise AssertionError("the last try returns or raises")

    def _take(self) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return patiently(self._server.reader)

    def _put_aside(self, connection: Connection) -> None:
        if connection.info.transaction_status == TransactionStatus.IDLE and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()

    def _close_idle(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def close(self) -> None:
        """Close all; those that read just now are closed when they are done."""
        self._closed = True
        self._close_idle()


class Writer:
    """The connection that writes, with its fast lane. Used by one thread at a time."""

    def __init__(self, server: Server, first: Connection):
        self._server = server
        self._connection = first
        self._pipeline = Pipeline(first)

    def pipeline(self) -> Pipeline:
        """The fast lane of a connection that is there, as far as is known."""
        if not self._pipeline.is_alive():
            self._connection.close()
            self._connection = patiently(self._server.writer)
            self._pipeline = Pipeline(self._connection)
        return self._pipeline

    def connection(self) -> Connection:
        """The same connection, for psycopg's cursors."""
        self.pipeline()
        return self._connection

    def current(self) -> Connection:
        """The same connection, in the middle of a transaction."""
        return self._connection

    def ask(self, calls: Sequence[Call]) -> tuple[Pipeline, list[Rows]]:
        """Carry out statements that change nothing for good (they may begin a transaction), again if the connection
        breaks; returns where, and the answers."""
        for left in reversed(range(TRIES)):
            lane = self.pipeline()
            try:
                return lane, lane.run(calls)
            except (Broken, Refused) as error:
                self.leave()
                if not left or not (isinstance(error, Broken) or error.sqlstate in RETRIED | GONE):
                    raise self.told(error) from error
                pause(left)
        raise AssertionError("the last try returns or raises")

    def transact(self, act: Callable[[Connection], Result], hook: Callable[[str], None] | None) -> Result:
        """Do something in a transaction of its own, again if others were in its way or the connection broke before the
        commit."""
        for left in reversed(range(TRIES)):
            connection = self.connection()
            committing = False
            try:
                connection.execute("BEGIN")
                result = act(connection)
                if hook is not None:
                    hook("before_commit")
                committing = True
                connection.execute("COMMIT")
            except psycopg.Error as error:
                lost = is_lost(connection, error)
                self.leave()
                if lost and committing and not state_of(error):  # it has not even refused
                    raise self.told(Broken(str(error), unknown=True)) from error
                if not left or not (lost or state_of(error) in RETRIED):
                    raise told(error, self._server.shown) from error
                pause(left)
            except BaseException:
                self.leave()
                raise
            else:
                if hook is not None:
                    hook("after_commit")
                return result
        raise AssertionError("the last try returns or raises")

    def leave(self) -> None:
        """Roll back what is open; a connection where that does not work is closed, and what it is at is cancelled."""
        lane = self._pipeline
        try:
            if lane.clean and lane.in_transaction:
                lane.run([call(batches.ROLLBACK)])
        except (Broken, Refused):
            self.close()
        if not lane.clean:
            if lane.is_busy:  # after an interrupt: it would go on, and commit
                with contextlib.suppress(psycopg.Error):
                    self._connection.cancel_safe(timeout=5)
            self.close()

    def told(self, error: Broken | Refused | psycopg.Error) -> StoreError:
        """As a StoreError that says what to do."""
        if not isinstance(error, Broken):
            return told(error, self._server.shown)
        if error.unknown:
            return StoreError(
                f"the connection to {self._server.shown} broke at a commit, and nobody knows whether it was carried "
                f"out: look at what is there before doing it again ({error})"
            )
        return StoreError(f"the connection to {self._server.shown} broke, and nothing was written ({error})")

    def close(self) -> None:
        """Close it; the next use opens another one."""
        self._connection.close()
