"""A PostgreSQL to measure on: every commit is on the disk (fsync, synchronous_commit), nothing else is tuned."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests import pg

SETTINGS = {"max_connections": "50", "wal_level": "minimal", "max_wal_senders": "0"}
DURABLE = ("fsync", "synchronous_commit", "full_page_writes")


@contextmanager
def start() -> Iterator[str]:
    """The URL of a server: the one that $PLAIT_TEST_PG names, or one that lives as long as the block. Raises
    RuntimeError for one that may lose what it has committed."""
    server = None if os.environ.get(pg.GIVEN) else pg.Server(**SETTINGS)
    url = os.environ.get(pg.GIVEN) or server.url  # type: ignore[union-attr]  # one of the two is there
    try:
        _check(url)
        yield url
    finally:
        if server is not None:
            server.close()


def _check(url: str) -> None:
    with psycopg.connect(url) as connection:
        for setting in DURABLE:
            found = connection.execute(f"SHOW {setting}").fetchone()  # pyright: ignore[reportArgumentType, reportCallIssue]  a name of ours
            if found != ("on",):
                raise RuntimeError(f"{url} has {setting} = {found}: what is measured there is not durable")
