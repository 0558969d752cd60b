"""The server that a URL names, and how a connection to it is made."""

import os
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from plait.adapters.stores import urls
from plait.adapters.stores.postgres.failures import NotThere, told_of_connecting
from plait.model.errors import StoreError

Connection = psycopg.Connection[tuple[Any, ...]]
Result = TypeVar("Result")

PATIENCE = 60.0
"""Seconds for which a server that has gone is waited for; it may be restarting."""
OLDEST = 140000
"""The oldest version that may be used, as libpq tells it: 14."""
COMMITS = ("on", "off", "local", "remote_write", "remote_apply")
_DEFAULTS = {"connect_timeout": "10", "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3"}
"""A host that has vanished is noticed after half a minute, not after two hours."""
_SESSION = (
    r"-c default_transaction_isolation=read\ committed "
    "-c idle_in_transaction_session_timeout=15s -c idle_session_timeout=0 "
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
)
"""What the server does for us: it ends a transaction whose process is stopped or gone, so that its locks are free."""
_LONGEST_PAUSE = 0.5


class Server:
    """A database on a server, with the schema that plait's tables are in.

    `synchronous_commit` is the server's, but `on` where it says `off`: a commit is on disk when it returns.
    """

    def __init__(self, address: urls.Address):
        self.schema = address.options.get("schema", "plait")
        if not re.fullmatch("[a-z_][a-z0-9_]{0,50}", self.schema):
            raise StoreError(f"schema={self.schema} cannot be: use small letters, digits and _, at most 50 of them")
        self.synchronous_commit = address.options.get("synchronous_commit")
        if self.synchronous_commit not in (None, *COMMITS):
            raise StoreError(
                f"synchronous_commit={self.synchronous_commit} is not known; it is one of {', '.join(COMMITS)}"
            )
        self._parameters = _parameters(address.server)
        self.database = str(self._parameters.get("dbname") or self._parameters.get("user") or "")
        options = "&".join(f"{name}={value}" for name, value in address.options.items())
        whole = address.server + (("&" if "?" in address.server else "?") + options if options else "")
        self.shown = urls.shown(whole)
        """Its URL as people may see it."""

    def reader(self) -> Connection:
        """A connection that reads; psycopg prepares what it sees again."""
        return self._connect(None, prepare=True)

    def writer(self, synchronous_commit: str | None = None) -> Connection:
        """A connection that writes. psycopg prepares nothing on it, so that it never drops what `Pipeline` prepared."""
        asked = synchronous_commit or self.synchronous_commit
        made = self._connect(asked, prepare=False)
        if asked is None and made.execute("SHOW synchronous_commit").fetchone() == ("off",):
            made.execute("SET synchronous_commit = on")
        return made

    def _connect(self, synchronous_commit: str | None, *, prepare: bool) -> Connection:
        session = f"{_SESSION} -c search_path={self.schema}" + (
            f" -c synchronous_commit={synchronous_commit}" if synchronous_commit else ""
        )
        given = self._parameters.get("options") or os.environ.get("PGOPTIONS", "")
        try:
            made = psycopg.connect(
                **{**self._parameters, "options": f"{given} {session}".strip()},
                autocommit=True,
                prepare_threshold=2 if prepare else None,
            )
        except psycopg.Error as error:
            raise told_of_connecting(error, self.shown, self.database) from error
        try:
            self._check(made)
        except BaseException:
            made.close()
            raise
        return made

    def _check(self, made: Connection) -> None:
        if made.info.server_version < OLDEST:
            raise StoreError(f"plait needs PostgreSQL 14 or newer; {self.shown} is {made.info.server_version // 10000}")
        encoding = made.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StoreError(
                f"the database of {self.shown} has the encoding {encoding}: create one with ENCODING 'UTF8' "
                "TEMPLATE template0"
            )


def _parameters(server: str) -> dict[str, Any]:
    """What the URL says, as libpq reads it. A part that cannot be read is not repeated: it may be of a password."""
    try:
        found = conninfo_to_dict(server)
    except psycopg.ProgrammingError as error:
        unknown = re.search('invalid URI query parameter: "([^"]*)"', str(error))
        if unknown:
            raise StoreError(f"{urls.shown(server)}: PostgreSQL knows no option {unknown[1]!r}") from None
        raise StoreError(
            f"{urls.shown(server)} cannot be read; it is postgresql://user:password@host:5432/database, "
            "and in user and password %, /, ?, #, : and @ are written as %25, %2F, %3F, %23, %3A and %40"
        ) from None
    host, port = str(found.get("host") or ""), str(found.get("port") or "")
    if "@" in host or not all(part.isdigit() or not part for part in port.split(",")):
        raise StoreError(
            f"{urls.shown(server)} names no host and port; in a password, : and @ are written as %3A and %40"
        )
    return {**_DEFAULTS, "fallback_application_name": "plait", "client_encoding": "utf8", **found}


def execute(connection: Connection, statement: str, values: Any = ()) -> psycopg.Cursor[tuple[Any, ...]]:
    """Carry out one of `queries.py` with a cursor of psycopg."""
    return connection.execute(statement.encode(), values, binary=True)


def patiently(act: Callable[[], Result], trouble: type[NotThere] = NotThere) -> Result:
    """Do something that connects, again as long as there is this trouble, for `PATIENCE` seconds."""
    end = time.monotonic() + PATIENCE
    pause = 0.02
    while True:
        try:
            return act()
        except trouble:
            if time.monotonic() + pause > end:
                raise
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
