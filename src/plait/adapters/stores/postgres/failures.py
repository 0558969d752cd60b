"""What PostgreSQL says, told so that the reader knows what to do."""

import re

import psycopg

from plait.adapters.stores.postgres.pipeline import DEALLOCATED, Refused
from plait.model.errors import StoreError

RETRIED = frozenset({"40001", "40P01", DEALLOCATED})
"""Serialization failure, deadlock, a prepared statement that somebody has deallocated: trying again helps."""
GONE = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "08000", "08003", "08006"})
"""The server has ended the connection: shutdown, crash, timeouts of idle sessions."""

_TOLD = {
    "25006": "is read-only, a standby perhaps: name the primary, or several hosts with target_session_attrs=read-write",
    "42501": "does not allow this user to do that: grant it, or use another user",
    "53100": "has no space left on its disk: free some; nothing that was recorded is lost",
    "53200": "is out of memory: look at the server's log",
    "53300": "has too many connections: raise max_connections, or end some",
    "55P03": "has this row locked by another process for too long: look into pg_stat_activity for who holds it",
    "57014": "has cancelled the statement: statement_timeout of the server, the user or the database is too short",
    "42P01": "has no tables of plait any more: run `plait db upgrade`",
    "3F000": "has no schema of plait any more: run `plait db upgrade`",
}
_CONNECTING = (
    ("no password supplied", "asks for a password: put it into the URL, PGPASSWORD or ~/.pgpass"),
    ("password authentication failed", "does not take this user with this password"),
    ("no pg_hba.conf entry", "does not let this user in from here: its pg_hba.conf decides that"),
    ("role .* does not exist", "does not know this user: create it (CREATE ROLE ... LOGIN), or name another one"),
    ("permission denied for database", "does not let this user connect to the database: GRANT CONNECT"),
    ("could not translate host name|failed to resolve host", "has a host that is not known: check its name"),
    ("server does not support SSL", "has no TLS, which sslmode asks for"),
    ("certificate", "has a TLS certificate that does not satisfy sslmode"),
)
_STARTING = "starting up|recovery mode|not yet accepting"
_NOT_THERE = (
    ("shutting down|administrator command", "is shutting down"),
    ("too many clients|remaining connection slots|too many connections", "has too many connections: raise "
     "max_connections, or end some"),
    ("refused|No such file|timeout expired|unreachable|No route|closed the connection|reset by peer",
     "cannot be reached: is the server running there, and does it listen on that address?"),
)  # fmt: skip


class NotThere(StoreError):
    """The server is not there just now; it may come back."""


class Starting(NotThere):
    """The server is on its way up."""


def told_of_connecting(error: psycopg.Error, shown: str, database: str) -> StoreError:
    """Why there is no connection, as a StoreError that says what to do. `shown` is the URL without a password."""
    text = " ".join(str(error).split())
    if re.search(_STARTING, text):
        return Starting(f"{shown} is starting, and was not ready in time ({text})")
    for pattern, advice in _NOT_THERE:
        if re.search(pattern, text):
            return NotThere(f"{shown} {advice} ({text})")
    if re.search("database .* does not exist", text):
        return StoreError(
            f"{shown}: there is no database {database!r} on that server: create it (createdb {database}), "
            f"or name another one ({text})"
        )
    for pattern, advice in _CONNECTING:
        if re.search(pattern, text):
            return StoreError(f"{shown} {advice} ({text})")
    return StoreError(f"{shown} cannot be connected to: {text}")


def state_of(error: psycopg.Error | Refused) -> str:
    """The SQLSTATE, empty where the server did not say one."""
    return error.sqlstate or ""


def told(error: psycopg.Error | Refused, shown: str) -> StoreError:
    """The same as a StoreError that says what to do."""
    state, text = state_of(error), " ".join(str(error).split())
    if state in _TOLD:
        return StoreError(f"{shown} {_TOLD[state]} ({text})")
    if state.startswith("23"):
        return StoreError(f"{shown} refuses a row that contradicts what is there ({text})")
    return StoreError(f"{shown}: {text}")
